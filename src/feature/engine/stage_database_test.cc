// Retrieval from databases as stages: the same bits as in this process, on nodes that fail.
#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/text.h"
#include "dataset/distributed/distributed.h"
#include "dataset/execution.h"
#include "feature/definition/repository.h"
#include "feature/engine/database_rows.h"
#include "feature/engine/retrieval_plan.h"
#include "feature/engine/stage_retrieval.h"
#include "feature/offline/postgres_fixture.h"
#include "feature/offline/sqlite_fixture.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/postgres.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::PostgresServer;
using test::RequireOk;
using test::ValueOf;
using TablePtr = std::shared_ptr<arrow::Table>;

/// Few keys and few times, so that ties decide; nulls; rows that are there twice.
constexpr const char* kDefinitions = R"(
entities:
  - {name: key, join_keys: [key], value_type: INT64}
data_sources:
  - name: events
    type: postgres
    timestamp_field: at
    created_timestamp_column: made
    field_mapping: {ts: at}
    query: >-
      SELECT (g % 7)::int8 AS key,
      CASE WHEN g % 41 = 0 THEN NULL ELSE timestamptz '2024-01-01' + (g * 7919 % 60) * interval '1 hour' END AS ts,
      CASE WHEN g % 17 = 0 THEN NULL ELSE timestamptz '2024-01-01' + (g * 31 % 50) * interval '1 hour' END AS made,
      (g * 13 % 101)::int8 AS n, (g * 29 % 97)::float8 / 7 AS x
      FROM (SELECT g % 1500 AS g FROM generate_series(1, 1700) AS g) AS rows;
feature_views:
  - {name: plain, entities: [key], source: events, ttl: 1d, transformations: {twice: n * 2}, filter: n > 5, schema: [{name: x, dtype: Float64}, {name: twice, dtype: Int64}]}
  - {name: windows, entities: [key], source: events, aggregations: [{column: n, function: last_k, k: 3, name: recent, time_window: 1d}, {column: x, function: sum, name: total}]}
  - {name: above, entities: [key], source_views: [plain, windows], transformations: {more: x + 1}, schema: [{name: more, dtype: Float64}]}
)";

struct World {
  std::unique_ptr<OfflineStore> store;
  FeaturePlan plan;
  TablePtr labels;
  RetrievalOptions options = {.join = {.max_workers = 2}};
};

TablePtr Labels() {
  arrow::Int64Builder keys;
  arrow::TimestampBuilder times(arrow::timestamp(arrow::TimeUnit::SECOND, "UTC"),
                                arrow::default_memory_pool());
  for (int64_t i = 0; i < 300; ++i) {
    RequireOk(keys.Append(i % 8));
    RequireOk(times.Append(1'704'067'200 + i * 997 % 250'000));
  }
  return arrow::Table::Make(arrow::schema({arrow::field("key", arrow::int64()),
                                           arrow::field("event_timestamp", times.type())}),
                            {*keys.Finish(), *times.Finish()});
}

World MakeWorld(const RepositoryConfig& config, const std::string& definitions_text) {
  World world{.store = ValueOf(OpenOfflineStore(config)), .plan = {}, .labels = Labels()};
  const auto given =
      Complete(ValueOf(ParseDefinitions(ValueOf(ParseConfig(definitions_text, "definitions")))));
  RequireOk(Validate(given));
  std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
  for (const DataSource& source : given.data_sources)
    schemas[source.name] = ValueOf(world.store->SourceSchema({}, source));
  const auto definitions =
      std::make_shared<const Definitions>(ValueOf(ResolveSchemas(given, schemas)));
  world.plan = ValueOf(
      PlanFeatures(definitions, std::vector<std::string>{"plain:*", "windows:*", "above:*"}, true));
  return world;
}

World MakeWorld() { return MakeWorld(ConfigOf(PostgresServer::Shared()), kDefinitions); }

/// The same views over a table of SQLite in the folder.
World MakeSqliteWorld(const std::string& folder) {
  ExecuteInSqlite(
      folder + "/events.db",
      "CREATE TABLE events (key INTEGER, ts TIMESTAMP, made TIMESTAMP, n INTEGER, x REAL); WITH "
      "RECURSIVE rows(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM rows WHERE i < 1700), some AS "
      "(SELECT i % 1500 AS g FROM rows) INSERT INTO events SELECT g % 7, CASE WHEN g % 41 > 0 "
      "THEN datetime(1704067200 + g * 7919 % 60 * 3600, 'unixepoch') END, CASE WHEN g % 17 > 0 "
      "THEN datetime(1704067200 + g * 31 % 50 * 3600, 'unixepoch') END, g * 13 % 101, g * 29 % "
      "97 / 7.0 FROM some");
  std::string text = kDefinitions;
  const size_t query = text.find("    query: >-");
  text.replace(query, text.find("feature_views:") - query, "    table: events\n");
  text.replace(text.find("type: postgres"), 14, "type: sqlite\n    path: events.db");
  RepositoryConfig config;
  config.folder = folder;
  return MakeWorld(config, text);
}

void CheckSame(const TablePtr& actual, const TablePtr& expected) {
  const std::string difference = test::TableDifference(actual, expected);
  CHECK_MESSAGE(difference.empty(), difference);
}

/// As a plan, on threads and on nodes that fail.
void CheckEverywhere(World world) {
  const TablePtr expected = ValueOf(
      RetrieveHistorical({}, world.plan, *world.store, *world.labels, world.options, nullptr));
  REQUIRE(expected->GetColumnByName("plain__x")->null_count() < 200);
  {
    const auto lowered =
        ValueOf(LowerRetrieval({}, world.plan, *world.store, world.labels, world.options));
    const auto execution = ValueOf(dataset::Execution::Start({}, lowered));
    arrow::RecordBatchVector batches;
    while (auto batch = ValueOf(execution->Next())) batches.push_back(std::move(batch));
    CheckSame(ValueOf(arrow::Table::FromRecordBatches(execution->schema(), batches)), expected);
  }
  dataset::PlanExtensions extensions;
  extensions.sources = DatabaseSources(*world.store);
  runtime::StageRegistry registry;
  RequireOk(dataset::RegisterPlanStages(registry, nullptr, &extensions));
  const auto threads = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
  RetrievalStats stats;
  CheckSame(ValueOf(RetrieveByStages({}, *threads, world.plan, *world.store, world.labels,
                                     world.options, &stats)),
            expected);
  CHECK(stats.scans == 5);
  CHECK(stats.source_rows == 5 * 1700);
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    world.options.join.enable_optimization = seed % 2 == 0;
    const auto nodes = runtime::MakeSimulatedBackend(
        registry, {.seed = seed, .num_nodes = 3, .faults = runtime::SimulatedFaults::Everything()});
    CheckSame(ValueOf(RetrieveByStages({}, *nodes, world.plan, *world.store, world.labels,
                                       world.options, nullptr)),
              expected);
    CHECK(nodes->blocks().stats().blocks == 0);
  }
}

TEST_CASE("a retrieval from PostgreSQL is the same bits as a plan, on threads and failing nodes") {
  CheckEverywhere(MakeWorld());
}

TEST_CASE("a retrieval from SQLite is the same bits as a plan, on threads and on failing nodes") {
  const auto folder = test::MakeTemporaryFolder();
  CheckEverywhere(MakeSqliteWorld(folder.path()));
}

TEST_CASE("a retrieval from SQLite whose database is written underway is a conflict") {
  const auto folder = test::MakeTemporaryFolder();
  World world = MakeSqliteWorld(folder.path());
  const auto lowered =
      ValueOf(LowerRetrieval({}, world.plan, *world.store, world.labels, world.options));
  ExecuteInSqlite(folder.path() + "/events.db", "UPDATE events SET n = 1 WHERE key = 3");
  const auto execution = ValueOf(dataset::Execution::Start({}, lowered));
  CHECK_ERROR(execution->Next(), ErrorKind::kConflict,
              "the database was written while it was read");
}

TEST_CASE("the stages of a retrieval from PostgreSQL are shown") {
  const World world = MakeWorld();
  const std::string stages = ExplainStages({}, world.plan, *world.store, world.options);
  CHECK(stages.find("stages in 2 worker processes") != std::string::npos);
  CHECK(stages.find("offline.postgres, data source 'events'") != std::string::npos);
  CHECK(stages.find(PostgresServer::Shared().password()) == std::string::npos);
}

}  // namespace
}  // namespace gnomon::feature
