#include <map>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "feature_server/materialization_queue_internal.h"
#include "feature_server/server_fixture_test.h"
#include "feature_server/store_health_internal.h"
#include "tests/support/process.h"

namespace gnomon::feature_server {
namespace {

constexpr const char* kDay =
    R"({"start_ts": "2026-01-01T00:00:00", "end_ts": "2026-01-02T23:00:00+00:00", "feature_views": ["latest"]})";

feature::MaterializationJob JobOf(const Fixture& fixture, const net::HttpReply& reply) {
  return ValueOf(
      fixture.store->GetMaterialization(std::string(reply.Header("Gnomon-Materialization"))));
}

/// Rows that are newer than those of the fixture's own materialization.
void AddRow(const Fixture& fixture) {
  test::RequireOk(
      WriteFileAtomic(fixture.folder.path() + "/stats.csv",
                      Concat(kStats, "2,2026-01-02T10:30:00Z,2026-01-02T10:30:00Z,0.1,99\n")));
}

json TripsOfTwo(Fixture& fixture) {
  return ValuesOf(
      fixture.Online(R"({"entities": {"driver_id": [2]}, "features": ["latest:trips"]})"), "trips");
}

/// The state of a job once it has ended.
feature::JobState EndOf(const Fixture& fixture, const net::HttpReply& reply) {
  const double end = MonotonicSeconds() + 60 * test::TimeScale();
  for (;;) {
    const feature::JobState state = JobOf(fixture, reply).state;
    if (state != feature::JobState::kRunning || MonotonicSeconds() > end) return state;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

/// A job of another process stands in the way of the view `latest`.
void PutRunningJob(Fixture& fixture, const std::string& id) {
  feature::MaterializationJob job;
  job.id = id;
  job.views = {"latest"};
  job.progress = {{"latest", {0, INT64_MAX / 2}, false, 0, {}}};
  job.owner = feature::JobOwner::ThisProcess();
  auto registry = ValueOf(feature::Registry::Open(
      fixture.context, fixture.store->config().registry.path, fixture.store->config().project));
  test::RequireOk(registry->PutJob(fixture.context, job));
}

}  // namespace

TEST_CASE("a materialization that a client waits for is done when the answer comes") {
  Fixture fixture;
  AddRow(fixture);
  const net::HttpReply reply = fixture.Post("/materialize", kDay);
  CAPTURE(reply.body);
  CHECK(reply.status == 200);
  CHECK(reply.body == "null");
  CHECK(JobOf(fixture, reply).state == feature::JobState::kSucceeded);
  CHECK(JobOf(fixture, reply).views == std::vector<std::string>{"latest"});
  CHECK(TripsOfTwo(fixture) == json({99}));
  CHECK(fixture.Get("/metrics")
            .body.find("feast_materialization_result_total{feature_view="
                       "\"latest\",status=\"success\"} 1") != std::string::npos);
}

TEST_CASE("an incremental one takes what came since, of all views when none is named") {
  Fixture fixture;
  AddRow(fixture);
  const net::HttpReply reply = fixture.Post(
      "/materialize-incremental",
      R"({"end_ts": "2026-01-03T00:00:00", "feature_views": null, "full_feature_names": false})");
  CAPTURE(reply.body);
  CHECK(reply.status == 200);
  CHECK(JobOf(fixture, reply).views == std::vector<std::string>{"latest", "week"});
  CHECK(TripsOfTwo(fixture) == json({99}));
}

TEST_CASE("an asynchronous one is accepted with its views and ends later") {
  Fixture fixture;
  AddRow(fixture);
  const net::HttpReply reply =
      fixture.Post("/materialize?async=true",
                   R"({"disable_event_timestamp": true, "start_ts": null, "version": null})");
  CAPTURE(reply.body);
  CHECK(reply.status == 202);
  CHECK(json::parse(reply.body) ==
        json({{"status", "accepted"}, {"feature_views", {"latest", "week"}}}));
  CHECK(EndOf(fixture, reply) == feature::JobState::kSucceeded);
  CHECK(TripsOfTwo(fixture) == json({99}));
  const net::HttpReply none = fixture.Post("/materialize-incremental?async=1",
                                           R"({"end_ts": "2026-01-03", "feature_views": []})");
  CHECK(none.status == 202);
  CHECK(json::parse(none.body)["feature_views"] == json::array());
}

TEST_CASE("a view that is being materialized is a conflict, unless it is forced") {
  Fixture fixture;
  PutRunningJob(fixture, "0123");
  for (const char* path : {"/materialize?async=true", "/materialize"}) {
    const net::HttpReply reply = fixture.Post(path, kDay);
    CAPTURE(reply.body);
    CHECK(reply.status == 409);
    const json answer = json::parse(reply.body);
    CHECK(answer["feature_views"] == json({"latest"}));
    CHECK(answer["error"].get<std::string>().find("by job 0123") != std::string::npos);
  }
  const net::HttpReply forced = fixture.Post("/materialize?async=true&force=True", kDay);
  CHECK(forced.status == 202);
  CHECK(EndOf(fixture, forced) == feature::JobState::kSucceeded);
}

TEST_CASE("wrong materializations are refused, and nothing is begun") {
  struct Case {
    const char* path;
    const char* body;
    int status;
    const char* part;
  };
  const Case cases[] = {
      {"/materialize", "", 400, "no body"},
      {"/materialize", "{}", 400, "'start_ts' is missing"},
      {"/materialize", R"({"start_ts": "2026-01-01"})", 400, "'end_ts' is missing"},
      {"/materialize", R"({"start_ts": "soon", "end_ts": "2026-01-01"})", 400, "start_ts"},
      {"/materialize", R"({"start_ts": 1, "end_ts": "2026-01-01"})", 400, "start_ts"},
      {"/materialize", R"({"start_ts": "2026-01-02", "end_ts": "2026-01-02"})", 400, "before"},
      {"/materialize",
       R"({"start_ts": "2026-01-01", "end_ts": "2026-01-02", "feature_views": ["lates"]})", 404,
       "did you mean 'latest'"},
      {"/materialize",
       R"({"start_ts": "2026-01-01", "end_ts": "2026-01-02", "feature_views": "latest"})", 400,
       "feature_views"},
      {"/materialize", R"({"start_ts": "2026-01-01", "end_ts": "2026-01-02", "version": "v2"})",
       501, "version"},
      {"/materialize?async=maybe", kDay, 400, "async"},
      {"/materialize-incremental", "{}", 400, "'end_ts' is missing"},
      {"/materialize-incremental", R"({"end_ts": "2026-01-02", "start_ts": "2026-01-01"})", 400,
       "unknown member 'start_ts'"},
  };
  Fixture fixture;
  const size_t jobs = fixture.store->registry().Jobs().size();
  for (const Case& each : cases) {
    CAPTURE(each.body);
    const net::HttpReply reply = fixture.Post(each.path, each.body);
    CAPTURE(reply.body);
    CHECK(reply.status == each.status);
    CHECK(reply.body.find(each.part) != std::string::npos);
    CHECK(DetailOf(reply)["class"] ==
          (each.status == 404 ? "FeatureViewNotFoundException" : "FeastError"));
  }
  CHECK(fixture.store->registry().Jobs().size() == jobs);
}

TEST_CASE("jobs wait for their turn, and too many of them are refused") {
  Fixture fixture;
  std::mutex mutex;
  std::map<std::string, Status> ended;
  {
    MaterializationQueue queue({.running = 1, .waiting = 1}, {},
                               [&](const feature::MaterializationJob& job, const Status& status) {
                                 const std::lock_guard lock(mutex);
                                 ended[job.id] = status;
                               });
    /// A job that stands for a long one: it runs until it is cancelled.
    struct Endless : feature::MaterializationRun {
      Endless(std::string id, std::stop_token token) : stop(std::move(token)) {
        begun.id = std::move(id);
      }
      const feature::MaterializationJob& job() const override { return begun; }
      std::stop_token stop_token() const override { return stop; }
      Result<feature::MaterializationJob> Run() override {
        while (!stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return Error(ErrorKind::kCancelled, "cancelled");
      }
      feature::MaterializationJob begun;
      std::stop_token stop;
    };
    const auto endless = [](const std::string& id) {
      return [id](const Context& context) -> Result<std::unique_ptr<feature::MaterializationRun>> {
        return std::make_unique<Endless>(id, context.stop);
      };
    };
    auto first = queue.TakePlace();
    auto second = queue.TakePlace();
    REQUIRE(second != nullptr);
    CHECK(queue.TakePlace() == nullptr);
    CHECK(ValueOf(queue.Start({}, endless("a"), std::move(first))).id == "a");
    // One that waits for its turn ends with its client.
    std::stop_source client;
    std::jthread waiting(
        [&] { CHECK_FALSE(queue.Run(Context{}.WithStop(client.get_token()), endless("b")).ok()); });
    client.request_stop();
    waiting.join();
    second.reset();
    CHECK(queue.TakePlace() != nullptr);
    CHECK_FALSE(queue.is_stopping());
    const std::lock_guard lock(mutex);
    CHECK(ended.size() == 1);
    CHECK(ended.contains("b"));
  }
  CHECK(KindOf(ended.at("a")) == ErrorKind::kCancelled);  // by the queue's end
}

TEST_CASE("a server that stops cancels its materializations, and they can be taken up again") {
  std::stop_source stop;
  Fixture fixture({.as_of = {}, .stop = stop.get_token(), .materializations = 1});
  AddRow(fixture);
  std::string id;
  MaterializationQueue queue({}, stop.get_token(),
                             [](const feature::MaterializationJob&, const Status&) {});
  const auto ended = queue.Run(fixture.context, [&](const Context& context) {
    auto run = fixture.store->BeginMaterialize(context, {.start = 0, .end = {}, .views = {}});
    id = run.ValueOrDie()->job().id;
    stop.request_stop();
    return run;
  });
  CHECK_ERROR(ended, ErrorKind::kCancelled, "");
  CHECK(queue.is_stopping());
  CHECK(ValueOf(fixture.store->GetMaterialization(id)).state == feature::JobState::kCancelled);
  const net::HttpReply refused = fixture.Post("/materialize", kDay);
  CHECK(refused.status == 503);
  CHECK(DetailOf(refused)["kind"] == "unavailable");
  const auto resumed = fixture.store->ResumeMaterialization(fixture.context, id);
  CHECK(ValueOf(resumed).state == feature::JobState::kSucceeded);
  CHECK(TripsOfTwo(fixture) == json({99}));
}

TEST_CASE("health is bad after a read that the store did not answer, until one succeeds") {
  StoreHealth health;
  CHECK(health.Answer().status == 200);
  health.Observe(Error(ErrorKind::kUser, "no such feature"));
  CHECK(health.Answer().status == 200);
  health.Observe(Error(ErrorKind::kUnavailable, "redis 127.0.0.1:1 does not answer"));
  health.Observe(Error(ErrorKind::kUser, "no such feature"));
  const net::HttpResponse bad = health.Answer();
  CHECK(bad.status == 503);
  CHECK(json::parse(bad.body) ==
        json({{"status", "unavailable"}, {"online_store", "redis 127.0.0.1:1 does not answer"}}));
  health.Observe(Status::OK());
  CHECK(health.Answer().status == 200);
  health.Observe(Error(ErrorKind::kDeadline, "out of time"));
  CHECK(health.Answer().status == 503);
}

}  // namespace gnomon::feature_server
