// What holds for registries wherever they are kept, and what holds for databases only.

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "feature/registry/random_definitions.h"
#include "feature/registry/registry_fixture.h"
#include "sql/postgres.h"
#include "sql/postgres_url.h"
#include "sql/sqlite.h"
#include "tests/support/postgres.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;
using Action = RegistryChange::Action;

enum class Kind { kFile, kSqlite, kPostgres };
constexpr std::array<Kind, 3> kKinds = {Kind::kFile, Kind::kSqlite, Kind::kPostgres};
constexpr std::array<Kind, 2> kDatabases = {Kind::kSqlite, Kind::kPostgres};

/// An empty place for a registry of a kind.
class Place {
 public:
  explicit Place(Kind kind) : kind_(kind) {
    context.clock = &clock;
    path = folder_.path() + "/data/registry.db";
    if (kind == Kind::kSqlite) path = "sqlite:///" + path;
    if (kind != Kind::kPostgres) return;
    static int number = 0;
    const auto& server = test::PostgresServer::Shared();
    const std::string schema = Concat("registry_", ++number);
    const std::string url = Concat("postgresql+psycopg://", server.user(), ":correct%20horse@",
                                   server.host(), ":", server.port(), "/", server.database());
    auto session = ValueOf(sql::Postgres::Connect(context, ValueOf(sql::ParsePostgresUrl(url))));
    test::RequireOk(session.Execute(context, Concat("CREATE SCHEMA ", schema)));
    path = Concat(url, "?options=-csearch_path%3D", schema);
  }

  std::unique_ptr<Registry> Open(const std::string& project = "p") const {
    return ValueOf(Registry::Open(context, path, project));
  }

  // The first column of a statement, as text.
  std::vector<std::string> Select(const std::string& statement) const {
    std::vector<std::string> values;
    if (kind_ == Kind::kSqlite) {
      auto database = ValueOf(sql::Sqlite::Open(path.substr(10)));
      auto prepared = ValueOf(database.Prepare(statement));
      while (ValueOf(prepared.Step())) values.emplace_back(prepared.Text(0));
      return values;
    }
    auto session = ValueOf(sql::Postgres::Connect(context, ValueOf(sql::ParsePostgresUrl(path))));
    const auto result = ValueOf(session.Query(context, statement));
    for (int64_t row = 0; row < result.num_rows(); ++row) {
      values.emplace_back(result.Bytes(row, 0));
    }
    return values;
  }

  std::string path;
  FakeClock clock{kNow};
  Context context;

 private:
  Kind kind_;
  test::TemporaryFolder folder_ = test::MakeTemporaryFolder();
};

template <typename Object>
std::vector<Object> Sorted(std::vector<Object> objects) {
  std::ranges::sort(objects, {}, &Object::name);
  return objects;
}

void CheckSame(const Definitions& read, const Definitions& written) {
  CHECK(Sorted(read.entities) == Sorted(written.entities));
  CHECK(Sorted(read.data_sources) == Sorted(written.data_sources));
  CHECK(Sorted(read.feature_views) == Sorted(written.feature_views));
  CHECK(Sorted(read.on_demand_feature_views) == Sorted(written.on_demand_feature_views));
  CHECK(Sorted(read.feature_services) == Sorted(written.feature_services));
}

MaterializationJob JobNamed(const std::string& id) {
  MaterializationJob job;
  job.id = id;
  job.views = {"stats"};
  job.progress = {{"stats", {1, 2}, false, 17, "source"}};
  job.owner = JobOwner::ThisProcess();
  return job;
}

}  // namespace

TEST_CASE("every kind of registry gives back what was applied, over what was there") {
  for (const Kind kind : kKinds) {
    CAPTURE(static_cast<int>(kind));
    const Place place(kind);
    CHECK(place.Open()->empty());
    CHECK(place.Open()->version_id().empty());
    for (uint64_t seed = 1; seed < 8; ++seed) {
      CAPTURE(seed);
      const Definitions wanted = RandomDefinitions(seed);
      const auto registry = place.Open();
      ValueOf(registry->Apply(place.context, wanted));
      CheckSame(*registry->definitions(), wanted);
      const auto reopened = place.Open();
      CheckSame(*reopened->definitions(), wanted);
      CHECK(reopened->version_id().size() >= 32);
      const std::string version = reopened->version_id();
      for (const auto& change : ValueOf(reopened->Apply(place.context, wanted))) {
        CHECK(change.action == Action::kUnchanged);
      }
      CHECK(reopened->version_id() == version);
    }
  }
}

TEST_CASE("of two writers of one state the second conflicts, whatever the registry is") {
  for (const Kind kind : kKinds) {
    CAPTURE(static_cast<int>(kind));
    const Place place(kind);
    const auto early = place.Open();
    ValueOf(place.Open()->Apply(place.context, Drivers()));
    CHECK_ERROR(early->Apply(place.context, Drivers()), ErrorKind::kConflict, "load it again");
    const auto first = place.Open();
    const auto second = place.Open();
    Definitions next = Drivers();
    next.feature_views[0].ttl = 0;
    ValueOf(first->Apply(place.context, next));
    next.feature_views[0].ttl = kMicrosPerDay / 2;
    CHECK_ERROR(second->Apply(place.context, next), ErrorKind::kConflict, "load it again");
    CHECK_ERROR(second->AddInterval(place.context, "stats", {1, 2}), ErrorKind::kConflict, "");
    CHECK_OK(second->Refresh(place.context));
    CHECK(second->definitions()->FindFeatureView("stats")->ttl == 0);
    ValueOf(second->Apply(place.context, next));
    CHECK_OK(second->AddInterval(place.context, "stats", {1, 2}));
    CHECK_OK(first->Refresh(place.context));
    CHECK(first->definitions()->FindFeatureView("stats")->ttl == kMicrosPerDay / 2);
    CHECK(first->StateOf("stats").Watermark() == 2);
    CHECK(first->version_id() == second->version_id());
  }
}

TEST_CASE("jobs, intervals and saved datasets survive in every kind of registry") {
  for (const Kind kind : kKinds) {
    CAPTURE(static_cast<int>(kind));
    const Place place(kind);
    const auto registry = place.Open();
    ValueOf(registry->Apply(place.context, Drivers()));
    CHECK_OK(registry->PutJob(place.context, JobNamed("a")));
    MaterializationJob job = JobNamed("a");
    job.rows = 5;
    job.progress[0].done = true;
    CHECK_OK(registry->PutJob(place.context, job));
    CHECK_OK(registry->PutJob(place.context, JobNamed("b")));
    SavedDataset dataset;
    dataset.name = "may";
    dataset.path = "may.parquet";
    CHECK_OK(registry->PutSavedDataset(place.context, dataset, false));
    CHECK_ERROR(registry->PutSavedDataset(place.context, dataset, false), ErrorKind::kConflict,
                "may");
    const auto read = place.Open();
    REQUIRE(read->Jobs().size() == 2);
    CHECK(read->Jobs()[0].rows == 5);
    CHECK(read->Jobs()[0].state == JobState::kRunning);
    CHECK(read->Jobs()[0].progress == job.progress);
    CHECK(read->Jobs()[0].owner == JobOwner::ThisProcess());
    CHECK(read->Jobs()[0].updated == kNow);
    CHECK(read->SavedDatasets().size() == 1);
    CHECK_OK(read->DeleteSavedDataset(place.context, "may"));
    CHECK(read->SavedDatasets().empty());
    CHECK(ValueOf(Registry::Projects(place.context, place.path)) == std::vector<std::string>{"p"});
    CHECK(ValueOf(read->DumpJson()).find("\"featureViews\"") != std::string::npos);
    CHECK_OK(read->Teardown(place.context));
    CHECK(place.Open()->empty());
    CHECK(place.Open()->Jobs().empty());
    CHECK(ValueOf(Registry::Projects(place.context, place.path)).empty());
  }
}

TEST_CASE("a request to cancel a running job is not lost to the job's own writes") {
  for (const Kind kind : kKinds) {
    CAPTURE(static_cast<int>(kind));
    const Place place(kind);
    const auto runner = place.Open();
    CHECK_OK(runner->PutJob(place.context, JobNamed("a")));
    const auto other = place.Open();
    MaterializationJob asked = other->Jobs()[0];
    asked.cancel_requested = true;
    CHECK_OK(other->PutJob(place.context, asked));
    MaterializationJob job = JobNamed("a");
    job.rows = 9;
    CHECK_ERROR(runner->PutJob(place.context, job), ErrorKind::kConflict, "");
    CHECK_OK(runner->Refresh(place.context));
    CHECK(runner->Jobs()[0].cancel_requested);
    CHECK_OK(runner->PutJob(place.context, job));
    CHECK(runner->Jobs()[0].cancel_requested);
    CHECK(runner->Jobs()[0].rows == 9);
    job.resumed = 1;
    CHECK_OK(runner->PutJob(place.context, job));
    CHECK_FALSE(runner->Jobs()[0].cancel_requested);
  }
}

TEST_CASE("a running job whose process is gone is interrupted, one elsewhere after its silence") {
  Place place(Kind::kFile);
  const auto registry = place.Open();
  MaterializationJob job = JobNamed("a");
  job.owner.process_start += 1;
  CHECK_OK(registry->PutJob(place.context, job));
  CHECK(registry->Jobs()[0].state == JobState::kInterrupted);
  CHECK(registry->Jobs()[0].error == "the process that ran it is gone");
  job.owner.host = "elsewhere";
  CHECK(job.owner.IsAlive() == std::nullopt);
  CHECK_OK(registry->PutJob(place.context, job));  // long ago
  CHECK(registry->Jobs()[0].state == JobState::kInterrupted);
  CHECK(registry->Jobs()[0].error.find("elsewhere") != std::string::npos);
  place.context.clock = &RealClock();
  CHECK_OK(registry->PutJob(place.context, job));
  CHECK(registry->Jobs()[0].state == JobState::kRunning);
  CHECK(JobOwner::ThisProcess().IsAlive() == true);
  CHECK(ValueOf(ParseJobState("interrupted")) == JobState::kInterrupted);
  CHECK_ERROR(ParseJobState("done"), ErrorKind::kUser, "succeeded");
}

TEST_CASE("writers of several projects and jobs share a database") {
  for (const Kind kind : kDatabases) {
    CAPTURE(static_cast<int>(kind));
    const Place place(kind);
    std::atomic<int> conflicts = 0;
    std::vector<std::thread> threads;
    for (int writer = 0; writer < 3; ++writer) {
      threads.emplace_back([&, writer] {
        const std::string project = Concat("project", writer);
        const auto registry = place.Open(project);
        const Definitions wanted = RandomDefinitions(static_cast<uint64_t>(writer + 1));
        GNOMON_CHECK(registry->Apply(Context{}, wanted).ok(), "apply of ", project);
        for (int round = 0; round < 5; ++round) {
          const std::string id = Concat(writer, "-", round);
          while (!registry->PutJob(Context{}, JobNamed(id)).ok()) {
            ++conflicts;
            GNOMON_CHECK(registry->Refresh(Context{}).ok(), "refresh");
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(conflicts == 0);
    CHECK(ValueOf(Registry::Projects(place.context, place.path)) ==
          std::vector<std::string>{"project0", "project1", "project2"});
    for (int writer = 0; writer < 3; ++writer) {
      const auto registry = place.Open(Concat("project", writer));
      CHECK(registry->Jobs().size() == 5);
      CheckSame(*registry->definitions(), RandomDefinitions(static_cast<uint64_t>(writer + 1)));
    }
    CHECK_OK(place.Open("project1")->Teardown(place.context));
    CHECK(place.Open("project0")->Jobs().size() == 5);
  }
}

TEST_CASE("of two jobs that begin at once in one project, one conflicts") {
  for (const Kind kind : kDatabases) {
    CAPTURE(static_cast<int>(kind));
    const Place place(kind);
    ValueOf(place.Open()->Apply(place.context, Drivers()));
    const auto first = place.Open();
    const auto second = place.Open();
    CHECK_OK(first->PutJob(place.context, JobNamed("a")));
    CHECK_ERROR(second->PutJob(place.context, JobNamed("b")), ErrorKind::kConflict, "");
    CHECK_OK(second->Refresh(place.context));
    CHECK_OK(second->PutJob(place.context, JobNamed("b")));
    // A job that goes on disturbs neither readers' plans nor other jobs.
    CHECK_OK(first->Refresh(place.context));
    const std::string version = second->version_id();
    CHECK_OK(first->PutJob(place.context, JobNamed("a")));
    CHECK_OK(second->PutJob(place.context, JobNamed("b")));
    CHECK_OK(second->Refresh(place.context));
    CHECK(second->version_id() == version);
    CHECK(second->Jobs().size() == 2);
  }
}

TEST_CASE("a database holds Feast's tables, and what another tool writes is seen and kept") {
  for (const Kind kind : kDatabases) {
    CAPTURE(static_cast<int>(kind));
    const Place place(kind);
    const auto registry = place.Open();
    ValueOf(registry->Apply(place.context, Drivers()));
    const auto names = [&](const std::string& table, const std::string& column) {
      return place.Select(Concat("SELECT ", column, " FROM ", table, " ORDER BY 1"));
    };
    CHECK(names("projects", "project_id") == std::vector<std::string>{"p"});
    CHECK(names("entities", "entity_name") == std::vector<std::string>{"__dummy", "driver"});
    CHECK(names("feature_views", "feature_view_name") ==
          std::vector<std::string>{"everywhere", "stats", "windows"});
    CHECK(names("feast_metadata", "metadata_key") ==
          std::vector<std::string>{"last_updated_timestamp", "project_uuid"});
    CHECK(names("on_demand_feature_views", "feature_view_name").empty());
    for (const auto* table : {"stream_feature_views", "label_views", "validation_references",
                              "managed_infra", "permissions", "feature_view_version_history"}) {
      CHECK(names(table, "project_id").empty());
    }
    const auto idle = place.Open();
    CHECK_OK(idle->Refresh(place.context));
    const std::string version = idle->version_id();
    // As Feast deletes a view.
    place.Select("DELETE FROM feature_views WHERE feature_view_name = 'everywhere'");
    CHECK_ERROR(registry->Apply(place.context, Definitions{}), ErrorKind::kConflict, "");
    CHECK_OK(idle->Refresh(place.context));
    CHECK(idle->version_id() != version);
    CHECK(idle->definitions()->FindFeatureView("everywhere") == nullptr);
    CHECK_OK(idle->AddInterval(place.context, "stats", {1, 2}));
    place.Select(
        "UPDATE feature_views SET feature_view_proto = entity_proto FROM entities WHERE "
        "entity_name = 'driver' AND feature_view_name = 'stats'");
    CHECK_ERROR(idle->AddInterval(place.context, "stats", {3, 4}), ErrorKind::kConflict, "");
  }
}

TEST_CASE("a registry's database that is not there says where it was looked for") {
  const Context context;
  const auto folder = test::MakeTemporaryFolder();
  CHECK(ValueOf(Registry::Open(context, "sqlite:///" + folder.path() + "/r.db", "p"))->empty());
  CHECK_FALSE(std::filesystem::exists(folder.path() + "/r.db"));
  const Status refused = test::ErrorOf(
      Registry::Open(context, "postgresql://u:secret@127.0.0.1:1/d?connect_timeout=2", "p"));
  CHECK_ERROR(refused, ErrorKind::kUnavailable, "127.0.0.1:1");
  CHECK(refused.ToString().find("secret") == std::string::npos);
  CHECK_ERROR(Registry::Open(context, "mysql://u:secret@h/d", "p"), ErrorKind::kUnsupported,
              "sqlite:///FILE");
}

}  // namespace gnomon::feature
