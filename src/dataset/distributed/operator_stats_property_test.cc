// The statistics of random plans: each operator gives the same number of rows in one process, on
// threads and on many virtual nodes with faults. A failure prints its seed; GNOMON_TEST_SEED=<seed>
// runs that plan alone, GNOMON_TEST_CASES=<n> more of them.
#include <filesystem>
#include <set>

#include <arrow/record_batch.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "dataset/distributed/random_plan_test.h"
#include "dataset/optimizer/optimizer.h"
#include "dataset/random_test.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT
using test::CallRows;
using test::PlanMaker;
using test::Random;

Status Drain(BatchSource& source) {
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, source.Next());
    if (batch == nullptr) return Status::OK();
  }
}

/// Operators below a limit are not read to their end, and how far depends on the batches.
bool StopsEarly(const OperatorStats& stats) {
  return stats.name == "limit" || stats.details.find("limit") != std::string::npos;
}

/// Checks all that does not depend on batches, parts and clocks. Gives the names of what was
/// compared.
std::set<std::string> CheckSame(const DistributedStats& work,
                                const std::vector<OperatorStats>& expected) {
  std::set<std::string> compared;
  REQUIRE(work.operators.size() == expected.size());
  int limit_depth = -1;
  for (size_t i = 0; i < expected.size(); ++i) {
    const OperatorStats& one = expected[i];
    const OperatorStats& other = work.operators[i];
    INFO("operator ", i, ": ", one.name, " ", one.details);
    CHECK(other.name == one.name);
    CHECK(other.details == one.details);
    CHECK(other.depth == one.depth);
    CHECK(other.tasks > 0);
    CHECK(other.longest_seconds <= other.seconds + 1e-9);
    if (limit_depth >= 0 && one.depth <= limit_depth) limit_depth = -1;
    if (limit_depth >= 0) continue;
    CHECK(other.rows == one.rows);
    CHECK((other.bytes > 0) == (one.bytes > 0));
    compared.insert(one.name.substr(0, one.name.find(' ')));
    if (StopsEarly(one)) limit_depth = one.depth;
  }
  int64_t tasks = 0;
  for (const runtime::StageStats& stage : work.stages) tasks += stage.partitions;
  CHECK(tasks <= work.job.tasks);
  CHECK(work.missing_tasks == 0);
  return compared;
}

TEST_CASE("the operators of random plans give as many rows in stages as in one process") {
  const uint64_t first = test::FirstSeed(20'000);
  const uint64_t cases = test::NumCases(30);
  FunctionRegistry functions;
  RequireOk(functions.Register("call_rows", CallRows()));
  runtime::StageRegistry registry;
  RequireOk(RegisterPlanStages(registry, &functions));
  const auto threads = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
  const auto folder = MakeTemporaryFolder();
  std::set<std::string> compared;
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const Dataset dataset = PlanMaker(random, functions, Concat(folder.path(), "/", seed)).Make();
    const Plan plan = ValueOf(Optimize(ValueOf(dataset.plan()))).plan;
    const auto execution =
        ValueOf(Execution::Start({}, plan, {.functions = &functions, .optimize = false}));
    if (!Drain(*execution).ok()) continue;  // an overflow
    if (execution->Stats()[0].rows > 20'000) continue;
    const DistributionOptions options{
        .num_partitions = static_cast<int>(random.Int(1, 6)),
        .partition_bytes = random.One<int64_t>({0, 3000, 1 << 20}),
        .min_part_bytes = 1,
        .broadcast_bytes = random.Chance(0.5) ? 0 : int64_t{1} << 30,
        .optimize = false,
        .job = {
            .retry = {.max_attempts = 500, .max_lost_attempts = 500, .first_delay_seconds = 0.01},
            .speculate_after_seconds = 1.5}};
    INFO(FormatPlan(plan), ValueOf(ExplainDistributed(plan, options)));
    const auto nodes =
        runtime::MakeSimulatedBackend(registry, {.seed = seed,
                                                 .num_nodes = 1 + static_cast<int>(seed % 5),
                                                 .faults = runtime::SimulatedFaults::Everything()});
    compared.merge(CheckSame(ValueOf(ExecuteDistributed({}, *nodes, plan, options))->work(),
                             execution->Stats()));
    CheckSame(ValueOf(ExecuteDistributed({}, *threads, plan, options))->work(), execution->Stats());
  }
  if (test::IsReplay()) return;
  for (const std::string name :
       {"scan", "range", "table", "filter", "derive", "join", "aggregate", "sort", "repartition",
        "union", "sample", "map_batches", "asof_join", "window_aggregate"}) {
    INFO(name);
    CHECK(compared.contains(name));
  }
}

TEST_CASE("what the tasks of a plan spill is told, by operator and in words") {
  runtime::StageRegistry registry;
  RequireOk(RegisterPlanStages(registry, nullptr));
  MemoryBudget memory("test", 300'000);
  const auto threads =
      ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2, .memory = &memory}));
  const Plan plan = ValueOf(Dataset::Range(0, 60'000, 1, "k").Sort({{"k", true}}).plan());
  const auto result = ValueOf(
      ExecuteDistributed({}, *threads, plan, {.num_partitions = 3, .partition_bytes = 100'000}));
  const DistributedStats& work = result->work();
  REQUIRE(work.operators.size() == 2);
  CHECK(work.operators[0].rows == 60'000);
  CHECK(work.operators[0].spilled_bytes > 0);
  CHECK(work.operators[1].rows == 60'000);
  CHECK(work.spilled_bytes() > work.operators[0].spilled_bytes);
  const std::string text = FormatStats(work);
  INFO(text);
  CHECK(text.find("sort: 60000 rows") != std::string::npos);
  CHECK(text.find(" tasks, the longest ") != std::string::npos);
  CHECK(text.find("\nstage 0 ") != std::string::npos);
  CHECK(text.find("missing") == std::string::npos);
}

TEST_CASE("a resumed plan has the work of its journal and says what is missing") {
  runtime::StageRegistry registry;
  RequireOk(RegisterPlanStages(registry, nullptr));
  const auto threads = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
  const auto folder = MakeTemporaryFolder();
  const Plan plan =
      ValueOf(MakeNode(WriteSpec{.path = folder.path() + "/out", .rows_per_file = 100},
                       {ValueOf(Dataset::Range(0, 1000, 1, "k").plan())}));
  const DistributionOptions options{
      .num_partitions = 2, .partition_bytes = 4000, .job = {.journal = folder.path() + "/journal"}};
  const auto first = ValueOf(ExecuteDistributed({}, *threads, plan, options));
  const auto again = ValueOf(ExecuteDistributed({}, *threads, plan, options));
  CHECK(first->work().missing_tasks == 0);
  CHECK(first->work().operators[0].rows == 10);
  CHECK(first->work().operators[1].rows == 1000);
  CHECK(again->stats().tasks == 0);
  CHECK(again->work().operators[0].rows == 10);
  CHECK(again->work().operators[1].rows == 0);
  CHECK(again->work().missing_tasks == first->stats().tasks - 1);
  CHECK(FormatStats(again->work()).find("that an earlier run of the job did") != std::string::npos);
}

}  // namespace
}  // namespace gnomon::dataset
