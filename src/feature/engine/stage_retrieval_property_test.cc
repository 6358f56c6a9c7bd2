// Random definitions, data and entity rows: the table of a retrieval is the same bits from this
// process's engine, from its lowered plan, and from its stages on virtual nodes with faults. A
// failure prints its seed; GNOMON_TEST_SEED=<seed> runs that case alone, GNOMON_TEST_CASES=<n> more
// of them.
#include <filesystem>

#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "dataset/distributed/distributed.h"
#include "dataset/execution.h"
#include "dataset/random_test.h"
#include "dataset/sample_extension_test.h"
#include "feature/definition/extensions.h"
#include "feature/definition/repository.h"
#include "feature/engine/retrieval_plan.h"
#include "feature/engine/stage_retrieval.h"
#include "runtime/simulated/simulated_backend.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using dataset::test::Random;
using test::RequireOk;
using test::ValueOf;
using TablePtr = std::shared_ptr<arrow::Table>;

constexpr int64_t kHour = 3600;

arrow::TimeUnit::type RandomUnit(Random& random) {
  return random.One<arrow::TimeUnit::type>({arrow::TimeUnit::SECOND, arrow::TimeUnit::MILLI,
                                            arrow::TimeUnit::MICRO, arrow::TimeUnit::NANO});
}

/// Of the unit, in 48 hours from 1970 or in a year that nanoseconds cannot hold; often ones next to
/// each other in the unit, and within one microsecond.
int64_t RandomTime(Random& random, int64_t ticks) {
  constexpr int64_t kYear = 31'557'600;
  if (ticks < 1'000'000'000 && random.Chance(0.03))
    return random.One<int64_t>({-470, 1030}) * kYear * ticks;
  const int64_t hour = random.Int(-1, 48) * kHour * ticks;
  if (random.Chance(0.5)) return hour;
  return hour + (ticks == 1'000'000'000 ? random.One<int64_t>({-1, 1, 2, 999, 1000, 1001}) : 1);
}

/// `key` int64, `shop` string, times of a random unit, values of several types.
TablePtr RandomRows(Random& random, arrow::TimeUnit::type unit, int64_t rows, bool labels) {
  const int64_t ticks = unit == arrow::TimeUnit::SECOND  ? 1
                        : unit == arrow::TimeUnit::MILLI ? 1000
                        : unit == arrow::TimeUnit::MICRO ? 1'000'000
                                                         : 1'000'000'000;
  const auto time = arrow::timestamp(unit, labels ? "" : "UTC");
  arrow::Int64Builder keys;
  arrow::StringBuilder shops;
  arrow::TimestampBuilder times(time, arrow::default_memory_pool());
  arrow::TimestampBuilder created(time, arrow::default_memory_pool());
  arrow::Int64Builder numbers;
  arrow::DoubleBuilder reals;
  const auto put = [&](auto& builder, double nulls, auto value) {
    RequireOk(random.Chance(nulls) ? builder.AppendNull() : builder.Append(value));
  };
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = RandomTime(random, ticks);
    put(keys, 0.05, random.Int(0, 6));
    put(shops, 0.05, std::string(static_cast<size_t>(random.Int(1, 3)), 's'));
    put(times, 0.03, at);
    put(created, 0.1, at + random.Int(-2, 5) * kHour * ticks + random.Int(-1, 1));
    put(numbers, 0.15, random.Int(-20, 20));
    put(reals, 0.15, static_cast<double>(random.Int(-40, 40)) / 7);
  }
  arrow::FieldVector fields = {arrow::field("key", arrow::int64()),
                               arrow::field("shop", arrow::utf8()),
                               arrow::field(labels ? "event_timestamp" : "ts", time)};
  std::vector<std::shared_ptr<arrow::Array>> columns = {*keys.Finish(), *shops.Finish(),
                                                        *times.Finish()};
  if (!labels) fields.push_back(arrow::field("made", time));
  if (!labels) columns.push_back(*created.Finish());
  fields.push_back(arrow::field(labels ? "hours" : "n", arrow::int64()));
  columns.push_back(*numbers.Finish());
  if (!labels) fields.push_back(arrow::field("raw_x", arrow::float64()));
  if (!labels) columns.push_back(*reals.Finish());
  return arrow::Table::Make(arrow::schema(std::move(fields)), std::move(columns), rows);
}

/// A source of some Parquet files with small row groups.
void WriteSource(Random& random, const std::string& folder) {
  std::filesystem::create_directories(folder);
  const auto unit = RandomUnit(random);
  for (int64_t file = random.Int(1, 4); file > 0; --file) {
    table::WriteOptions options;
    options.row_group_rows = random.Int(5, 60);
    const TablePtr rows = RandomRows(random, unit, random.One<int64_t>({0, 3, 40, 150}), false);
    RequireOk(table::WriteTable({}, *rows, Concat(folder, "/", file, ".parquet"), options));
  }
}

std::string RandomDefinitions(Random& random) {
  const std::string created = random.Chance(0.6) ? ", created_timestamp_column: made" : "";
  std::string text = Concat(
      "entities:\n"
      "  - {name: key, join_keys: [key], value_type: INT64}\n"
      "  - {name: shop, join_keys: [shop], value_type: STRING}\n"
      "data_sources:\n"
      "  - {name: a, path: a, file_format: parquet, timestamp_field: ts, field_mapping: {raw_x: x}",
      created,
      "}\n  - {name: b, path: b, file_format: parquet, timestamp_field: ts, field_mapping: "
      "{raw_x: x}}\nfeature_views:\n");
  const std::vector<std::string> filters = {"", ", filter: n > -5",
                                            ", filter: x / n < 2 or twice > 0"};
  const std::vector<std::string> ttls = {"", ", ttl: 2h", ", ttl: 1d"};
  const std::vector<std::string> entities = {"[key]", "[shop]", "[key, shop]", "[]"};
  // Of the language or of a plug-in.
  const std::string twice =
      random.One<std::string>({"n * 2", "'case when n != -13 then triple(n) end'"});
  const std::string steps =
      Concat("transformations: {twice: ", twice, ", y: 'coalesce(x, 0) + twice'}");
  const std::string keys = random.One(entities);
  text += Concat("  - {name: plain, entities: ", keys, ", source: a, ", steps, random.One(filters),
                 random.One(ttls),
                 ", schema: [{name: n, dtype: Int64}, {name: x, dtype: Float64}, {name: twice, "
                 "dtype: Int64}]}\n");
  text += Concat("  - {name: other, entities: ", keys, ", source: b", random.One(ttls),
                 ", schema: [{name: n, dtype: Int64}, {name: x, dtype: Float64}]}\n");
  const auto window = [&] {
    return random.One<std::string>({"", ", time_window: 3h", ", time_window: 1d"});
  };
  text +=
      Concat("  - {name: windows, entities: ", random.One(entities), ", source: a, ", steps,
             random.One(filters), ", aggregations: [{column: y, function: sum, name: total",
             window(), "}, {column: n, function: last_k, k: 3, name: recent", window(),
             "}, {column: twice, function: median, name: middle", window(),
             "}, {column: shop, function: most_frequent, name: usual", window(),
             "}, {column: y, function: std, name: spread", window(),
             "}, {column: twice, function: ", random.One<std::string>({"trail", "trail_or_empty"}),
             ", name: path", window(), "}]}\n");
  text += Concat("  - {name: above, entities: ", keys,
                 ", source_views: [plain], transformations: {more: x + 1}, schema: [{name: more, "
                 "dtype: Float64}, {name: n, dtype: Int64}]",
                 random.One(ttls), "}\n");
  text += Concat("  - {name: both, entities: ", keys,
                 ", source_views: [plain, other], transformations: {sum_of_n: 'coalesce(plain__n, "
                 "0) + coalesce(other__n, 0)'}, schema: [{name: sum_of_n, dtype: Int64}, {name: "
                 "twice, dtype: Int64}]}\n");
  text +=
      "on_demand_feature_views:\n"
      "  - {name: asked, sources: [plain, windows], request: [{name: hours, dtype: Float64}], "
      "features: [{name: per_hour, dtype: Float64, expression: x / hours}, {name: rounded, dtype: "
      "Float64, expression: 'triple(coalesce(twice, 1))'}]}\n";
  return text;
}

/// Everything that a retrieval needs.
struct World {
  dataset::PlanExtensions extensions = dataset::TestExtensions();
  std::shared_ptr<const Definitions> definitions;
  std::unique_ptr<OfflineStore> store;
  FeaturePlan plan;
  TablePtr labels;
  RetrievalOptions options;
};

World MakeWorld(Random& random, const std::string& folder) {
  World world;
  WriteSource(random, Concat(folder, "/a"));
  WriteSource(random, Concat(folder, "/b"));
  RepositoryConfig config;
  config.folder = folder;
  world.store = ValueOf(OpenOfflineStore(config));
  const std::string text = RandomDefinitions(random);
  INFO(text);
  auto code = std::make_shared<Extensions>();
  code->functions = world.extensions.functions;
  for (const auto& [name, aggregate] : world.extensions.aggregates)
    code->aggregates.push_back(aggregate);
  const auto given = WithExtensions(
      Complete(ValueOf(ParseDefinitions(ValueOf(ParseConfig(text, "definitions")), code))), code);
  RequireOk(Validate(given));
  std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
  for (const DataSource& source : given.data_sources)
    schemas[source.name] = ValueOf(world.store->SourceSchema({}, source));
  world.definitions = std::make_shared<const Definitions>(ValueOf(ResolveSchemas(given, schemas)));
  std::vector<std::string> refs;
  for (const char* ref : {"plain:n", "plain:x", "other:x", "windows:*", "above:*", "both:*",
                          "asked:per_hour", "asked:rounded"}) {
    if (random.Chance(0.5)) refs.push_back(ref);
  }
  if (refs.empty()) refs = {"plain:x"};
  world.plan = ValueOf(PlanFeatures(world.definitions, refs, true));
  world.labels = RandomRows(random, RandomUnit(random), random.One<int64_t>({0, 1, 30, 200}), true);
  world.options.filter_by_created_timestamp = random.Chance(0.3);
  if (random.Chance(0.3)) world.options.created_before = random.Int(0, 48) * kHour * 1'000'000;
  world.options.join.max_workers = random.Int(1, 4);
  world.options.join.enable_optimization = random.Chance(0.5);
  return world;
}

void RequireSame(const Result<TablePtr>& actual, const TablePtr& expected) {
  RequireOk(actual.status());
  CHECK((*actual)->schema()->Equals(*expected->schema()));
  const std::string difference = test::TableDifference(*actual, expected);
  REQUIRE_MESSAGE(difference.empty(), difference);
}

Result<TablePtr> RunHere(const dataset::Plan& plan, Random& random,
                         std::vector<dataset::OperatorStats>* stats) {
  MemoryBudget memory("test", random.One<int64_t>({1, 20'000, 10'000'000}));
  Context context;
  context.memory = &memory;
  GNOMON_ASSIGN_OR_RETURN(
      const auto execution,
      dataset::Execution::Start(context, plan, {.batch_rows = random.One<int64_t>({5, 100})}));
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, execution->Next());
    if (batch == nullptr) break;
    batches.push_back(std::move(batch));
  }
  *stats = execution->Stats();
  return arrow::Table::FromRecordBatches(execution->schema(), batches);
}

/// Each node gave as many rows as in this process, and what was read is the sources' part of it.
void CheckWork(const RetrievalStats& actual, const std::vector<dataset::OperatorStats>& expected) {
  REQUIRE(actual.stages.operators.size() == expected.size());
  int64_t source_rows = 0;
  for (const dataset::SharedScanStats& read : actual.stages.shared_scans) {
    source_rows += read.rows;
    CHECK(read.operators.size() > 1);
    for (const size_t place : read.operators) {
      CHECK(expected[place].name == "scan");
      CHECK(expected[place].rows <= read.rows);
      source_rows -= expected[place].rows;
    }
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const dataset::OperatorStats& each = actual.stages.operators[i];
    INFO("node ", i, ": ", each.name);
    CHECK(each.name == expected[i].name);
    CHECK(each.rows == expected[i].rows);
    CHECK(each.tasks > 0);
    if (each.name == "scan") source_rows += each.rows;
  }
  CHECK(actual.source_rows == source_rows);
  CHECK(actual.stages.stages.size() > 0);
  CHECK(actual.stages.missing_tasks == 0);
}

/// Counts what is shown.
class Shown : public Progress {
 public:
  void Begin(std::string_view phase, int64_t total, std::string_view /*unit*/) override {
    phase_ = phase;
    total_ = total;
  }
  void Advance(int64_t delta) override { done_ += delta; }
  void End(std::string_view /*note*/) override {}

  std::string phase_;
  int64_t total_ = 0;
  int64_t done_ = 0;
};

Result<TablePtr> RunOnNodes(const World& world, uint64_t seed,
                            const std::vector<dataset::OperatorStats>& here) {
  runtime::StageRegistry registry;
  RequireOk(dataset::RegisterPlanStages(registry, nullptr, &world.extensions));
  const auto backend =
      runtime::MakeSimulatedBackend(registry, {.seed = seed,
                                               .num_nodes = 1 + static_cast<int>(seed % 4),
                                               .faults = runtime::SimulatedFaults::Everything()});
  RetrievalStats stats;
  Shown shown;
  Context context;
  context.progress = &shown;
  auto table = RetrieveByStages(context, *backend, world.plan, *world.store, world.labels,
                                world.options, &stats);
  CHECK(stats.entity_rows == world.labels->num_rows());
  CHECK(stats.scans > 0);
  CHECK(stats.seconds.size() == 1);
  CheckWork(stats, here);
  CHECK(shown.phase_ == "retrieval");
  CHECK(shown.total_ > 0);
  CHECK(shown.done_ == shown.total_);
  CHECK(backend->blocks().stats().blocks == 0);
  return table;
}

TEST_CASE("a retrieval is the same bits in this process, as a plan and on many nodes with faults") {
  const uint64_t first = dataset::test::FirstSeed();
  const uint64_t cases = dataset::test::NumCases(25);
  const auto folder = test::MakeTemporaryFolder();
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const World world = MakeWorld(random, Concat(folder.path(), "/", seed));
    const TablePtr expected = ValueOf(
        RetrieveHistorical({}, world.plan, *world.store, *world.labels, world.options, nullptr));
    const auto lowered = LowerRetrieval({}, world.plan, *world.store, world.labels, world.options);
    RequireOk(lowered.status());
    INFO(dataset::FormatPlan(*lowered));
    std::vector<dataset::OperatorStats> here;
    RequireSame(RunHere(*lowered, random, &here), expected);
    RequireSame(RunOnNodes(world, seed, here), expected);
  }
}

TEST_CASE("a range without entity rows has the same rows as stages, whatever fails") {
  const uint64_t first = dataset::test::FirstSeed();
  const uint64_t cases = dataset::test::NumCases(25);
  const auto folder = test::MakeTemporaryFolder();
  int64_t rows = 0;
  int64_t with_nanos = 0;  ///< answers whose times have nanoseconds
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    World world = MakeWorld(random, Concat(folder.path(), "/", seed));
    std::vector<std::string> refs;
    for (const char* ref : {"plain:n", "plain:x", "other:x", "windows:*", "above:*", "both:*"}) {
      if (random.Chance(0.4)) refs.push_back(ref);
    }
    if (refs.empty()) refs = {"plain:x", "plain:n"};
    world.plan = ValueOf(PlanFeatures(world.definitions, refs, true));
    const int64_t start = random.Int(-2, 30) * kHour * 1'000'000 - random.Int(0, 1);
    const int64_t end = start + random.Int(0, 40) * kHour * 1'000'000 + random.Int(0, 1);
    const auto expected =
        RetrieveRange({}, world.plan, *world.store, start, end, world.options, nullptr);
    const auto lowered = LowerRange({}, world.plan, *world.store, start, end, world.options);
    if (!expected.ok()) {  // other join keys
      CHECK(!lowered.ok());
      continue;
    }
    RequireOk(lowered.status());
    INFO(dataset::FormatPlan(*lowered));
    std::vector<dataset::OperatorStats> here;
    RequireSame(RunHere(*lowered, random, &here), *expected);
    runtime::StageRegistry registry;
    RequireOk(dataset::RegisterPlanStages(registry, nullptr, &world.extensions));
    const auto backend =
        runtime::MakeSimulatedBackend(registry, {.seed = seed,
                                                 .num_nodes = 1 + static_cast<int>(seed % 4),
                                                 .faults = runtime::SimulatedFaults::Everything()});
    RetrievalStats stats;
    RequireSame(RetrieveRangeByStages({}, *backend, world.plan, *world.store, start, end,
                                      world.options, &stats),
                *expected);
    CHECK(stats.entity_rows == (*expected)->num_rows());
    CheckWork(stats, here);
    rows += (*expected)->num_rows();
    const auto& time = *(*expected)->schema()->GetFieldByName("event_timestamp")->type();
    if (static_cast<const arrow::TimestampType&>(time).unit() == arrow::TimeUnit::NANO)
      with_nanos += (*expected)->num_rows();
  }
  if (dataset::test::IsReplay()) return;
  CHECK(rows > 200);
  CHECK(with_nanos > 50);
}

TEST_CASE("what a plan cannot say is named, and the stages are shown") {
  Random random(3);
  const auto folder = test::MakeTemporaryFolder();
  World world = MakeWorld(random, folder.path());
  const std::string stages = ExplainStages({}, world.plan, *world.store, world.options);
  CHECK(stages.find("worker processes") != std::string::npos);
  CHECK(stages.find("stage 0") != std::string::npos);
  // What is wrong with a request is said as in this process; no worker is started for it.
  world.options.in_processes = true;
  world.options.worker_command = {"/no/such/program"};
  RetrievalStats stats;
  const TablePtr keyless = ValueOf(world.labels->SelectColumns({2, 3}));
  world.plan = ValueOf(PlanFeatures(world.definitions, std::vector<std::string>{"windows:total"}));
  const auto here = RetrieveHistorical({}, world.plan, *world.store, *keyless, {}, nullptr);
  const auto there =
      RetrieveHistorical({}, world.plan, *world.store, *keyless, world.options, &stats);
  CHECK(there.status().ToString() == here.status().ToString());
  REQUIRE(stats.joins.size() >= 1);
  CHECK(stats.joins[0].second.find("all in this process") != std::string::npos);
  // A database that is not there.
  auto remote = std::make_shared<Definitions>(*world.definitions);
  for (DataSource& source : remote->data_sources) {
    source.type = "sqlite";
    source.path = "no.db";
  }
  world.plan = ValueOf(PlanFeatures(remote, std::vector<std::string>{"plain:x"}));
  CHECK_ERROR(LowerRetrieval({}, world.plan, *world.store, world.labels, {}), ErrorKind::kNotFound,
              "no.db");
  CHECK(ExplainStages({}, world.plan, *world.store, {}).find("runs in this process") !=
        std::string::npos);
}

}  // namespace
}  // namespace gnomon::feature
