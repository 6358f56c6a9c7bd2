#include "feature/store/materialization_job.h"

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/store/feature_store.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr const char* kFeatures =
    "entities: [{name: shop, value_type: INT64}]\n"
    "data_sources: [{name: sales, path: sales.csv, timestamp_field: ts}]\n"
    "feature_views:\n"
    "  - {name: latest, entities: [shop], source: sales, schema: [{name: amount, dtype: Int64}]}\n";

/// A repository with one view, opened as often as one likes.
struct Repository {
  explicit Repository(std::string registry = "data/registry.db") {
    context.clock = &clock;
    Write("feature_store.yaml", Concat("project: p\nregistry: ", registry, "\n"));
    Write("features.yaml", kFeatures);
    Write("sales.csv", "shop,amount,ts\n1,10,2026-01-01\n2,20,2026-01-02\n");
  }

  void Write(const std::string& name, const std::string& text) const {
    test::RequireOk(WriteFileAtomic(folder.path() + "/" + name, text));
  }
  std::unique_ptr<FeatureStore> Open() const {
    return ValueOf(FeatureStore::Open(context, folder.path()));
  }
  std::unique_ptr<FeatureStore> Applied() const {
    auto store = Open();
    ValueOf(store->Apply(context, ValueOf(store->LoadRepository())));
    return store;
  }

  test::TemporaryFolder folder = test::MakeTemporaryFolder();
  FakeClock clock{ValueOf(ParseTimestamp("2026-02-01"))};
  Context context;
};

MaterializationJob Job(const std::string& id, JobState state, std::vector<ViewProgress> progress) {
  MaterializationJob job = NewJob(1, std::move(progress));
  job.id = id;
  job.state = state;
  job.owner = JobOwner::ThisProcess();
  return job;
}

ViewProgress Part(const std::string& view, int64_t start, int64_t end, bool done = false) {
  return {view, {start, end}, done, 0, {}};
}

}  // namespace

TEST_CASE("the newest job of the same work is taken up again, unless it succeeded or runs") {
  const std::vector<ViewProgress> work = {Part("a", 1, 9), Part("b", 1, 9)};
  const auto find = [&](const std::vector<MaterializationJob>& jobs, bool incremental = false) {
    const auto found = FindResumable(jobs, work, incremental);
    return found ? found->id : std::string("none");
  };
  const MaterializationJob failed = Job("failed", JobState::kFailed, work);
  CHECK(find({}) == "none");
  CHECK(find({failed}) == "failed");
  CHECK(find({failed, Job("later", JobState::kInterrupted, work)}) == "later");
  CHECK(find({failed, Job("later", JobState::kCancelled, work)}) == "later");
  CHECK(find({failed, Job("later", JobState::kSucceeded, work)}) == "none");
  CHECK(find({failed, Job("later", JobState::kRunning, work)}) == "none");
  CHECK(find({failed, Job("other", JobState::kSucceeded, {Part("a", 1, 9)})}) == "failed");
  CHECK(find({Job("other", JobState::kFailed, {Part("a", 1, 9), Part("b", 2, 9)})}) == "none");
  // Of an incremental job the watermark of a finished view has moved.
  const MaterializationJob begun =
      Job("begun", JobState::kFailed, {Part("a", -7, 9, true), Part("b", 1, 9)});
  CHECK(find({begun}) == "none");
  CHECK(find({begun}, true) == "begun");
  CHECK(find({Job("x", JobState::kFailed, {Part("a", -7, 8, true), Part("b", 1, 9)})}, true) ==
        "none");
}

TEST_CASE("a job beside a running one is refused where they overlap, unless it is forced") {
  const Repository repository;
  const auto path = repository.folder.path() + "/data/registry.db";
  const auto registry = ValueOf(Registry::Open(repository.context, path, "p"));
  MaterializationJob running = Job("running", JobState::kRunning, {Part("a", 1, 9)});
  CHECK_OK(BeginJob(repository.context, *registry, false, &running));
  const auto begin = [&](ViewProgress part, bool force = false) {
    MaterializationJob job = Job("next", JobState::kRunning, {std::move(part)});
    return BeginJob(repository.context, *registry, force, &job);
  };
  CHECK_ERROR(begin(Part("a", 9, 12)), ErrorKind::kConflict, "running");
  CHECK_OK(begin(Part("a", 10, 12)));
  CHECK_OK(begin(Part("b", 1, 9)));
  CHECK_OK(begin(Part("a", 1, 9), true));
  running.progress[0].done = true;
  CHECK_OK(registry->PutJob(repository.context, running));
  CHECK_OK(begin(Part("a", 9, 12)));
  running.progress[0].done = false;
  running.owner.process_start += 1;  // another process, which is gone
  CHECK_OK(registry->PutJob(repository.context, running));
  CHECK_OK(begin(Part("a", 9, 12)));
  CHECK(ValueOf(FindJob(*registry, "runn")).id == "running");
  CHECK_ERROR(FindJob(*registry, "x"), ErrorKind::kNotFound, "'x'");
}

TEST_CASE("a materialization that was begun is running before it does anything") {
  const Repository repository;
  const auto store = repository.Applied();
  const auto other = repository.Open();
  auto run = ValueOf(store->BeginMaterialize(repository.context, {}));
  const std::string id = run->job().id;
  CHECK(ValueOf(store->GetMaterialization(id)).state == JobState::kRunning);
  CHECK_ERROR(other->BeginMaterializeIncremental(repository.context, {}), ErrorKind::kConflict, id);
  CHECK_FALSE(run->stop_token().stop_requested());
  run.reset();  // without Run
  CHECK(ValueOf(store->GetMaterialization(id)).state == JobState::kCancelled);
  CHECK_FALSE(store->registry().StateOf("latest").Watermark());
  // The same work is that job's, and Run does it.
  run = ValueOf(other->BeginMaterialize(repository.context, {}));
  CHECK(run->job().id == id);
  CHECK(ValueOf(run->Run()).state == JobState::kSucceeded);
  CHECK(run->job().rows == 2);
  run.reset();
  CHECK(ValueOf(other->GetMaterialization(id)).state == JobState::kSucceeded);
}

TEST_CASE("a materialization that is cancelled before it runs ends as cancelled") {
  const Repository repository;
  const auto store = repository.Applied();
  std::stop_source stop;
  const auto run =
      ValueOf(store->BeginMaterialize(repository.context.WithStop(stop.get_token()), {}));
  stop.request_stop();
  CHECK(run->stop_token().stop_requested());
  CHECK_ERROR(run->Run(), ErrorKind::kCancelled, "");
  CHECK(ValueOf(store->GetMaterialization(run->job().id)).state == JobState::kCancelled);
}

TEST_CASE("a process looks at the registry again when what it knows has become old") {
  for (const char* registry :
       {"{path: data/r.db, cache_ttl_seconds: 0}", "{path: data/r.db, cache_ttl_seconds: 1}"}) {
    CAPTURE(registry);
    const Repository repository(registry);
    RepositoryConfig config = ValueOf(LoadRepositoryConfig(repository.folder.path()));
    if (config.registry.cache_ttl > 0) config.registry.cache_ttl = 1;  // a microsecond
    const auto server = ValueOf(FeatureStore::Open(repository.context, config));
    CHECK(server->definitions()->feature_views.empty());
    repository.Applied();
    CHECK(server->definitions()->feature_views.empty() == (config.registry.cache_ttl == 0));
  }
}

TEST_CASE(
    "two applies of the same definitions both succeed, of different ones the second conflicts") {
  for (const char* registry :
       {"data/r.db", "{registry_type: sql, path: 'sqlite:///data/r.sqlite'}"}) {
    CAPTURE(registry);
    const Repository repository(registry);
    const auto first = repository.Open();
    const auto second = repository.Open();
    const auto third = repository.Open();
    const Definitions wanted = ValueOf(first->LoadRepository());
    ValueOf(first->Apply(repository.context, wanted));
    ValueOf(second->Apply(repository.context, wanted));
    Definitions other = wanted;
    other.feature_views[0].ttl = kMicrosPerDay;
    CHECK_ERROR(third->Apply(repository.context, other), ErrorKind::kConflict, "gnomon plan");
    // Jobs and intervals of another process are no reason for a conflict.
    ValueOf(first->Materialize(repository.context, {}));
    ValueOf(second->Apply(repository.context, other));
    CHECK(second->registry().StateOf("latest").Watermark() == repository.clock.NowMicros());
  }
}

TEST_CASE("what an apply would lose is told before it happens") {
  const Repository repository;
  const auto store = repository.Applied();
  const Definitions applied = ValueOf(store->LoadRepository());
  const auto losses = [&](const Definitions& wanted) {
    return ValueOf(store->DestructiveChanges(repository.context, wanted));
  };
  Definitions retyped = applied;
  retyped.feature_views[0].schema[0].dtype = {ValueType::kDouble};
  CHECK(losses(applied).empty());
  CHECK(losses(retyped).empty());  // nothing is materialized yet
  ValueOf(store->Materialize(repository.context, {}));
  REQUIRE(losses(retyped).size() == 1);
  CHECK(losses(retyped)[0].find("becomes Float64 instead of Int64") != std::string::npos);
  Definitions offline = applied;
  offline.feature_views[0].online = false;
  CHECK(losses(offline).size() == 1);
  Definitions renamed = applied;
  renamed.feature_views[0].name = "newest";
  CHECK(losses(renamed).size() == 1);
}

}  // namespace gnomon::feature
