// Random plans give the same rows in the same order in one process and on many virtual nodes with
// faults. A failure prints its seed; GNOMON_TEST_SEED=<seed> runs that plan alone,
// GNOMON_TEST_CASES=<n> more of them.
#include <filesystem>
#include <map>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "dataset/distributed/random_plan_test.h"
#include "dataset/random_case_test.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT
using test::Case;
using test::CaseDifference;
using test::CaseMaker;
using test::CaseWorld;
using test::FirstSeed;
using test::IsReplay;
using test::NumCases;
using test::PlanMaker;
using test::Random;

Result<std::shared_ptr<arrow::Table>> Collect(BatchSource& source,
                                              const std::shared_ptr<arrow::Schema>& schema) {
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, source.Next());
    if (batch == nullptr) return arrow::Table::FromRecordBatches(schema, batches);
    batches.push_back(std::move(batch));
  }
}

std::string BytesBelow(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return ValueOf(ReadFile(path));
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (!entry.is_regular_file()) continue;
    files[std::filesystem::relative(entry.path(), path).string()] =
        ValueOf(ReadFile(entry.path().string()));
  }
  std::string bytes;
  for (const auto& [name, contents] : files) bytes += Concat(name, "\n", contents);
  return bytes;
}

struct Cluster {
  Cluster(const FunctionRegistry& functions, uint64_t seed,
          const PlanExtensions* extensions = nullptr) {
    RequireOk(RegisterPlanStages(registry, &functions, extensions));
    backend =
        runtime::MakeSimulatedBackend(registry, {.seed = seed,
                                                 .num_nodes = 1 + static_cast<int>(seed % 5),
                                                 .faults = runtime::SimulatedFaults::Everything(),
                                                 .block_memory = seed % 3 == 0 ? 5000 : 0});
  }

  runtime::StageRegistry registry;
  std::unique_ptr<runtime::SimulatedBackend> backend;
};

DistributionOptions RandomOptions(Random& random) {
  return {
      .num_partitions = static_cast<int>(random.Int(1, 7)),
      .partition_bytes = random.One<int64_t>({0, 3000, 1 << 20}),
      .min_part_bytes = random.One<int64_t>({1, 1000}),
      .broadcast_bytes = random.Chance(0.5) ? 0 : int64_t{1} << 30,
      .optimize = random.Chance(0.8),
      .job = {.retry = {.max_attempts = 500, .max_lost_attempts = 500, .first_delay_seconds = 0.01},
              .speculate_after_seconds = 1.5}};
}

// Which ways the stages of plans went, so that no case of a test can fall out of it unseen.
class Coverage {
 public:
  void Add(const std::string& explain) {
    std::string stage;
    for (const std::string& line : Split(Concat(explain, "stage end"), '\n')) {
      if (line.starts_with("stage ")) AddStage(std::exchange(stage, ""));
      stage += Concat(line, "\n");
    }
  }
  int operator[](const std::string& way) const {
    const auto found = ways_.find(way);
    return found == ways_.end() ? 0 : found->second;
  }

 private:
  void AddStage(const std::string& stage) {
    const auto has = [&](const char* text) { return stage.find(text) != std::string::npos; };
    const bool shuffled = has("(shuffle)");
    for (const char* node : {"asof_join: ", "window_aggregate: ", "join: ", "sort: ", "sample: ",
                             "map_batches: ", "write: "}) {
      if (!has(Concat("  ", node).c_str())) continue;
      ways_[Concat(node, shuffled ? "shuffled" : "whole")] += 1;
      if (!has(": 1 partition\n")) ways_[Concat(node, "in many tasks")] += 1;
    }
    for (const char* way : {"by hash of", "back in order", "in runs of", "round robin to",
                            "by ranges of", ", boundaries", "files that are read once for"}) {
      if (has(way)) ways_[way] += 1;
    }
  }

  std::map<std::string, int> ways_;
};

TEST_CASE("random plans give the same rows in one process and on many nodes with faults") {
  FunctionRegistry functions;
  RequireOk(functions.Register("call_rows", test::CallRows()));
  const auto folder = MakeTemporaryFolder();
  Coverage coverage;
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(60); seed < end; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const Dataset dataset = PlanMaker(random, functions, Concat(folder.path(), "/", seed)).Make();
    const Plan plan = ValueOf(dataset.plan());
    const auto expected = dataset.Collect({}, {.functions = &functions});
    if (!expected.ok()) continue;  // an overflow
    if ((*expected)->num_rows() > 20000) continue;
    Cluster cluster(functions, seed);
    const DistributionOptions options = RandomOptions(random);
    const std::string explain = ValueOf(ExplainDistributed(plan, options));
    auto result = ExecuteDistributed({}, *cluster.backend, plan, options);
    INFO(FormatPlan(plan), explain);
    RequireOk(result.status());
    const auto actual = ValueOf(Collect(**result, (*result)->schema()));
    CHECK(actual->schema()->Equals(*plan->schema()));
    const std::string difference = TableDifference(actual, *expected);
    REQUIRE_MESSAGE(difference.empty(), difference);
    result->reset();
    CHECK(cluster.backend->blocks().stats().blocks == 0);
    coverage.Add(explain);
  }
  if (IsReplay()) return;
  for (const std::string way :
       {"asof_join: shuffled", "asof_join: whole", "window_aggregate: shuffled",
        "window_aggregate: whole", "join: shuffled", "join: whole", "sort: in many tasks",
        "sample: in many tasks", "map_batches: in many tasks", "by hash of", "back in order",
        "in runs of", "round robin to", "by ranges of", ", boundaries",
        "files that are read once for"}) {
    INFO(way);
    CHECK(coverage[way] > 0);
  }
}

// With functions and aggregates of plug-ins, files of all formats and other systems.
TEST_CASE("random plans give the rows of the naive interpreter on many nodes with faults") {
  const auto folder = MakeTemporaryFolder();
  int failed = 0;
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(40); seed < end; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    CaseWorld world;
    const Case made = CaseMaker(random, world, Concat(folder.path(), "/", seed)).Make();
    const Plan plan = ValueOf(made.dataset.plan());
    Cluster cluster(world.functions, seed, &world.extensions);
    const DistributionOptions options = RandomOptions(random);
    INFO(FormatPlan(plan), ValueOf(ExplainDistributed(plan, options)));
    auto result = ExecuteDistributed({}, *cluster.backend, plan, options);
    const auto actual = result.ok() ? Collect(**result, (*result)->schema())
                                    : Result<std::shared_ptr<arrow::Table>>(result.status());
    const std::string difference = CaseDifference(made, actual);
    REQUIRE_MESSAGE(difference.empty(), difference);
    if (result.ok()) {
      result->reset();
    } else {
      ++failed;
    }
    CHECK(cluster.backend->blocks().stats().blocks == 0);
  }
  if (!IsReplay()) CHECK(failed > 0);
}

TEST_CASE("random plans write the same files in one process and on many nodes with faults") {
  FunctionRegistry functions;
  RequireOk(functions.Register("call_rows", test::CallRows()));
  const auto folder = MakeTemporaryFolder();
  Coverage coverage;
  for (uint64_t seed = FirstSeed() + 5000, end = seed + NumCases(12); seed < end; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed - 5000);
    Random random(seed);
    const std::string sources = Concat(folder.path(), "/", seed);
    // Few rows: each file of a partition is synced to the disk.
    const Dataset dataset = PlanMaker(random, functions, sources).Make().Limit(12);
    const auto schema = ValueOf(dataset.plan())->schema();
    const std::string one = Concat(folder.path(), "/", seed, "-one/out");
    const std::string many = Concat(folder.path(), "/", seed, "-many/out");
    RequireOk(MakeFolders(std::filesystem::path(many).parent_path().string()));
    WriteSpec spec{
        .path = one,
        .format = random.One<table::FileFormat>(
            {table::FileFormat::kParquet, table::FileFormat::kParquet, table::FileFormat::kCsv,
             table::FileFormat::kIpc, table::FileFormat::kJson}),
        .row_group_rows = 50};
    const auto& key = schema->field(static_cast<int>(random.Int(0, schema->num_fields() - 1)));
    if (schema->num_fields() > 1 && key->type()->id() != arrow::Type::DOUBLE &&
        key->type()->id() != arrow::Type::LIST && random.Chance(0.6)) {
      spec.partition_by = {key->name()};
    }
    if (random.Chance(0.6)) spec.rows_per_file = random.Int(1, 6);
    if (!dataset.WriteTo({}, spec, {.functions = &functions}).ok()) continue;
    spec.path = many;
    const Plan plan = ValueOf(MakeNode(spec, {ValueOf(dataset.plan())}));
    Cluster cluster(functions, seed);
    DistributionOptions options = RandomOptions(random);
    options.job.journal = Concat(folder.path(), "/", seed, ".journal");
    coverage.Add(ValueOf(ExplainDistributed(plan, options)));
    const auto result = ExecuteDistributed({}, *cluster.backend, plan, options);
    RequireOk(result.status());
    REQUIRE(BytesBelow(many) == BytesBelow(one));
    // Nothing else lies beside them.
    const auto beside = std::filesystem::path(many).parent_path();
    CHECK(std::distance(std::filesystem::directory_iterator(beside), {}) == 1);
    // The journal knows the rows of the write node.
    const auto rows = ValueOf(Collect(**result, (*result)->schema()));
    const auto again = ValueOf(ExecuteDistributed({}, *cluster.backend, plan, options));
    CHECK(again->stats().tasks == 0);
    CHECK_TABLE_EQ(Collect(*again, again->schema()), rows);
  }
  if (IsReplay()) return;
  CHECK(coverage["write: in many tasks"] > 0);
  CHECK(coverage["write: shuffled"] > 0);
}

}  // namespace
}  // namespace gnomon::dataset
