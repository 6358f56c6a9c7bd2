#include <algorithm>
#include <filesystem>
#include <limits>

#include "feature/registry/registry_file_internal.h"
#include "feature/registry/registry_fixture.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;
using Action = RegistryChange::Action;

std::vector<std::string> DetailsOf(const std::vector<RegistryChange>& changes,
                                   const std::string& name) {
  const auto found = std::ranges::find(changes, name, &RegistryChange::name);
  REQUIRE(found != changes.end());
  return found->details;
}

}  // namespace

TEST_CASE_FIXTURE(RegistryFixture,
                  "a new registry is empty and writes nothing until something is applied") {
  const auto registry = Open();
  CHECK(registry->empty());
  CHECK(registry->version_id().empty());
  CHECK(registry->Jobs().empty());
  CHECK_OK(registry->Teardown(context));
  ValueOf(registry->Apply(context, Definitions{}));
  CHECK_FALSE(std::filesystem::exists(path));
  const auto changes = ValueOf(registry->Apply(context, Drivers()));
  CHECK(std::ranges::all_of(changes,
                            [](const auto& change) { return change.action == Action::kCreate; }));
  CHECK(changes.size() == 7);
  CHECK_FALSE(registry->empty());
  CHECK(registry->version_id().size() == 36);
}

TEST_CASE_FIXTURE(RegistryFixture, "a plan tells what apply would change, in words") {
  const auto registry = Open();
  ValueOf(registry->Apply(context, Drivers()));
  Definitions next = Drivers();
  next.feature_views[0].ttl = 2 * kMicrosPerDay;
  next.feature_views[0].schema[1].dtype = {ValueType::kDouble};
  next.feature_views[0].schema[0].name = "score";
  next.feature_views[0].tags["team"] = "rides";
  next.feature_views[1].aggregations[0].time_window = kMicrosPerDay;
  next.feature_views.pop_back();
  next.on_demand_feature_views[0].sources = {"windows"};
  next.on_demand_feature_views[0].expressions[0].expression = "mean_trips * 2";
  next.feature_services[0].features[1] = {"stats", "", {}, {}};
  next.data_sources[0].path = "other.parquet";
  const auto plan = registry->Plan(next);
  CHECK(DetailsOf(plan, "stats") ==
        std::vector<std::string>{"ttl: 1d -> 2d", "schema: + score (Float64)",
                                 "schema: trips: Int64 -> Float64", "schema: - rate",
                                 "tags: none -> team=rides"});
  CHECK(DetailsOf(plan, "windows") ==
        std::vector<std::string>{
            "aggregations: mean_trips: mean of trips over 7d -> mean of trips over 1d"});
  CHECK(DetailsOf(plan, "ratio") ==
        std::vector<std::string>{"sources: stats -> windows",
                                 "expressions: double_rate: rate * 2 -> mean_trips * 2"});
  CHECK(DetailsOf(plan, "service") ==
        std::vector<std::string>{"features: stats: rate -> all features"});
  CHECK(DetailsOf(plan, "trips") ==
        std::vector<std::string>{"path: trips.parquet -> other.parquet"});
  CHECK(DetailsOf(plan, "driver").empty());
  CHECK(std::ranges::find(plan, "everywhere", &RegistryChange::name)->action == Action::kDelete);
  CHECK(std::ranges::find(plan, "driver", &RegistryChange::name)->action == Action::kUnchanged);
  CHECK(registry->definitions()->feature_views.size() == 3);
}

TEST_CASE_FIXTURE(
    RegistryFixture,
    "of two writers of one version the second conflicts, and succeeds after a refresh") {
  ValueOf(Open()->Apply(context, Drivers()));
  const auto first = Open();
  const auto second = Open();
  CHECK_OK(first->AddInterval(context, "stats", {1, 2}));
  CHECK_ERROR(second->AddInterval(context, "stats", {5, 6}), ErrorKind::kConflict, "load it again");
  CHECK_ERROR(second->Apply(context, Drivers()), ErrorKind::kConflict, path);
  CHECK_OK(second->Refresh(context));
  CHECK_OK(second->AddInterval(context, "stats", {5, 6}));
  CHECK(second->StateOf("stats").intervals.size() == 2);
  CHECK_OK(first->Refresh(context));
  CHECK(first->StateOf("stats").Watermark() == 6);
  CHECK(first->version_id() == second->version_id());
}

TEST_CASE_FIXTURE(RegistryFixture, "another project's objects stay as they are") {
  ValueOf(Open("other")->Apply(context, Drivers()));
  const feast::core::Registry before = Read();
  const auto mine = Open("p");
  CHECK(mine->empty());
  Definitions wanted = Drivers();
  wanted.feature_views[0].ttl = 0;
  ValueOf(mine->Apply(context, wanted));
  CHECK(Open("other")->definitions()->feature_views == Drivers().feature_views);
  CHECK(Open("other")->definitions()->on_demand_feature_views == Drivers().on_demand_feature_views);
  CHECK(mine->definitions()->feature_views == wanted.feature_views);
  CHECK(Read().entities_size() == 2 * before.entities_size());
  CHECK_OK(mine->Teardown(context));
  CHECK(mine->empty());
  feast::core::Registry after = Read();
  after.set_version_id(before.version_id());
  *after.mutable_last_updated() = before.last_updated();
  CHECK(after.DebugString() == before.DebugString());
  CHECK(Open("other")->definitions()->feature_services == Drivers().feature_services);
}

TEST_CASE_FIXTURE(RegistryFixture,
                  "intervals merge where they touch, and fall away when the stored rows change") {
  const auto registry = Open();
  ValueOf(registry->Apply(context, Drivers()));
  CHECK_FALSE(registry->StateOf("stats").Watermark().has_value());
  for (const MaterializationInterval interval :
       {MaterializationInterval{10, 20}, {30, 40}, {20, 25}, {5, 12}}) {
    CHECK_OK(registry->AddInterval(context, "stats", interval));
    CHECK_OK(registry->AddInterval(context, "windows", interval));
  }
  const std::vector<MaterializationInterval> merged = {{5, 25}, {30, 40}};
  CHECK(registry->StateOf("stats").intervals == merged);
  CHECK(registry->StateOf("stats").Watermark() == 40);
  CHECK(Read().feature_views(0).meta().state() == feast::core::AVAILABLE_ONLINE);

  clock.Advance(5);
  Definitions next = Drivers();
  next.feature_views[0].ttl = 0;
  next.feature_views[0].description = "told";
  next.feature_views[1].filter = "trips > 1";
  ValueOf(registry->Apply(context, next));
  CHECK(registry->StateOf("stats").intervals == merged);
  CHECK(registry->StateOf("stats").created == kNow);
  CHECK(registry->StateOf("stats").last_updated == kNow + 5);
  CHECK(registry->StateOf("everywhere").last_updated == kNow);
  CHECK(registry->StateOf("windows").intervals.empty());

  CHECK_ERROR(registry->AddInterval(context, "stat", {1, 2}), ErrorKind::kNotFound,
              "did you mean 'stats'?");
  CHECK_ERROR(registry->AddInterval(context, "stats", {2, 1}), ErrorKind::kUser,
              "ends before it starts");
}

TEST_CASE_FIXTURE(RegistryFixture, "jobs are replaced by id and only the last thousand are kept") {
  const auto registry = Open();
  MaterializationJob job;
  job.id = "first";
  job.views = {"stats", "windows"};
  job.interval = {1, 2};
  job.started = 7;
  CHECK_OK(registry->PutJob(context, job));
  job.state = JobState::kFailed;
  job.error = "disk \xff full";
  job.rows = 5;
  CHECK_OK(registry->PutJob(context, job));
  const auto jobs = Open()->Jobs();
  REQUIRE(jobs.size() == 1);
  CHECK(jobs[0].views == job.views);
  CHECK(jobs[0].interval == job.interval);
  CHECK(jobs[0].state == JobState::kFailed);
  CHECK(jobs[0].error == "disk ? full");
  CHECK(jobs[0].rows == 5);
  CHECK(jobs[0].started == 7);
  const RegistryContent before = ValueOf(ReadRegistry(path));
  RegistryContent full = before;
  full.registry.set_version_id("full");
  for (int i = 0; i < 999; ++i) {
    full.side.mutable_projects(0)->add_jobs()->set_id(std::to_string(i));
  }
  test::RequireOk(WriteRegistry(path, before, &full));
  test::RequireOk(registry->Refresh(context));
  CHECK(registry->Jobs()[0].id == "first");
  job.id = "last";
  CHECK_OK(registry->PutJob(context, job));
  CHECK(registry->Jobs().size() == 1000);
  CHECK(registry->Jobs()[0].id == "0");
  CHECK(std::string(NameOf(JobState::kCancelled)) == "cancelled");
}

TEST_CASE_FIXTURE(RegistryFixture,
                  "definitions that are not valid are refused and nothing is written") {
  const auto registry = Open();
  Definitions wrong = Drivers();
  wrong.feature_views[0].source = "trip";
  CHECK_ERROR(registry->Apply(context, wrong), ErrorKind::kUser, "did you mean 'trips'?");
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE_FIXTURE(RegistryFixture, "the registry as JSON has Feast's names and our part") {
  const auto registry = Open();
  ValueOf(registry->Apply(context, Drivers()));
  const std::string json = ValueOf(registry->DumpJson());
  for (const auto* part : {"\"registrySchemaVersion\": \"1\"", "\"featureViews\"", "\"gnomon\"",
                           "\"onDemandViews\"", "rate * 2", "\"ttl\": \"86400s\""}) {
    CAPTURE(part);
    CHECK(json.find(part) != std::string::npos);
  }
}

TEST_CASE_FIXTURE(RegistryFixture,
                  "an interval before the first year is stored as the first year") {
  const auto registry = Open();
  ValueOf(registry->Apply(context, Drivers()));
  CHECK_OK(registry->AddInterval(context, "stats", {std::numeric_limits<int64_t>::min(), kNow}));
  CHECK_OK(registry->DumpJson());
  CHECK(registry->StateOf("stats").Watermark() == kNow);
}

// The two halves of check_with_feast.py.

}  // namespace gnomon::feature
