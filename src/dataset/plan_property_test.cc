#include <set>
#include <string>

#include "base/memory.h"
#include "base/parallel.h"
#include "dataset/dataset.h"
#include "dataset/random_case_test.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

/// Random plans against the naive interpreter, with random batches, threads and memory. A failure
/// prints its seed; GNOMON_TEST_SEED=<seed> runs that plan alone, GNOMON_TEST_CASES=<n> more of
/// them.
namespace gnomon::dataset {

namespace {

using namespace test;  // NOLINT
using gnomon::test::TableDifference;

/// Which operators have spilled, by their first word.
void AddSpilled(const std::vector<OperatorStats>& stats, std::set<std::string>* spilled) {
  for (const OperatorStats& one : stats) {
    if (one.spilled_bytes > 0) spilled->insert(one.name);
  }
}

TEST_CASE("random plans give the rows of the naive interpreter, however they are executed") {
  std::set<std::string> spilled;
  int64_t groups_pruned = 0;
  int failed = 0;
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(56); seed < end; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    CaseWorld world;
    const auto folder = gnomon::test::MakeTemporaryFolder();
    const Case plan = CaseMaker(random, world, folder.path()).Make();
    const Plan logical = ValueOf(plan.dataset.plan());
    const Plan parsed = ValueOf(ParsePlan(ValueOf(SerializePlan(logical)), &world.extensions));
    for (int run = 0; run < 4; ++run) {
      const int64_t limit = run == 0 ? 0 : random.One<int64_t>({1, 3000, 20'000, 100'000});
      MemoryBudget memory("test", limit);
      ExecutionOptions options{.batch_rows = random.One<int64_t>({1, 7, 50, 100'000}),
                               .functions = &world.functions,
                               .optimize = random.Chance(0.7)};
      SetNumThreads(static_cast<int>(random.Int(1, 4)));
      CAPTURE(limit);
      CAPTURE(options.batch_rows);
      CAPTURE(options.optimize);
      CAPTURE(NumThreads());
      ExecutionReport report;
      Context context;
      context.memory = &memory;
      const auto actual = Dataset(parsed).Collect(context, options, &report);
      const std::string difference = CaseDifference(plan, actual);
      CHECK_MESSAGE(difference.empty(), difference, "\n", FormatPlan(logical));
      CHECK(memory.used() == 0);
      AddSpilled(report.stats, &spilled);
      for (const OperatorStats& stats : report.stats) groups_pruned += stats.row_groups_pruned;
      failed += actual.ok() ? 0 : 1;
      if (!difference.empty()) break;
    }
  }
  SetNumThreads(0);
  if (IsReplay()) return;
  CHECK(groups_pruned > 0);
  CHECK(failed > 0);
  for (const std::string name :
       {"sort", "join", "aggregate", "repartition", "asof_join", "window_aggregate"}) {
    CAPTURE(name);
    CHECK(spilled.contains(name));
  }
}

/// The rows as they are read from hive partitions: times there are texts.
Result<std::shared_ptr<arrow::Table>> WithTexts(const Dataset& rows,
                                                const std::vector<std::string>& partition_by) {
  Dataset with = rows;
  if (std::ranges::find(partition_by, "t") != partition_by.end())
    with = with.Derive("t", "cast(t as string)");
  return with.Collect({});
}

TEST_CASE("tables are read back as they were written, in every format and cut into any files") {
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(40); seed < end; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    NaiveTable rows = RandomNaiveTable(random);
    if (rows.rows.empty()) continue;
    rows.names.push_back("row");
    rows.types.push_back(arrow::int64());
    for (size_t i = 0; i < rows.rows.size(); ++i) rows.rows[i].push_back(static_cast<int64_t>(i));
    const auto folder = gnomon::test::MakeTemporaryFolder();
    WriteSpec spec{.path = folder.path() + "/out.data",
                   .format = random.One<table::FileFormat>(
                       {table::FileFormat::kParquet, table::FileFormat::kIpc,
                        table::FileFormat::kCsv, table::FileFormat::kJson}),
                   .row_group_rows = random.Int(1, 200)};
    if (spec.format == table::FileFormat::kJson) MakeFinite(rows);
    const auto size = static_cast<int64_t>(rows.rows.size());
    if (random.Chance(0.5)) spec.rows_per_file = random.Int(size / 4 + 1, size + 1);
    constexpr int64_t kFewFiles = 40;
    if (size <= kFewFiles && random.Chance(0.8)) {
      for (const char* name : {"k", "name", "t"}) {
        const auto column = rows.ToArrow()->GetColumnByName(name);
        if (column->null_count() < size && random.Chance(0.5)) spec.partition_by.push_back(name);
      }
    }
    const auto table = rows.ToArrow();
    const Dataset written = InMemory(*table, random);
    gnomon::test::RequireOk(written.WriteTo({}, spec, {.batch_rows = random.Int(1, 500)}).status());
    ScanOptions options{.format = spec.format};
    auto schema = table->schema();
    for (const std::string& name : spec.partition_by)
      schema = ValueOf(schema->RemoveField(schema->GetFieldIndex(name)));
    if (*spec.format == table::FileFormat::kCsv || *spec.format == table::FileFormat::kJson)
      options.schema = schema;
    Dataset read = Dataset::Read({}, spec.path, options).Select(table->ColumnNames());
    // Partitions have an order of their own.
    if (!spec.partition_by.empty()) read = read.Sort({{.column = "row"}});
    const std::string difference =
        TableDifference(read.Collect({}), ValueOf(WithTexts(written, spec.partition_by)));
    REQUIRE_MESSAGE(difference.empty(), difference);
  }
}

}  // namespace

}  // namespace gnomon::dataset
