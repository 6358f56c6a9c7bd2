// External sources as stages: found by their names where the tasks run.
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "dataset/distributed/distributed.h"
#include "dataset/sample_external_test.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::dataset::test {
namespace {

using gnomon::test::RequireOk;
using gnomon::test::TableDifference;
using gnomon::test::ValueOf;

std::shared_ptr<arrow::Table> All(BatchSource& rows, const std::shared_ptr<arrow::Schema>& schema) {
  arrow::RecordBatchVector batches;
  while (auto batch = ValueOf(rows.Next())) batches.push_back(std::move(batch));
  return ValueOf(arrow::Table::FromRecordBatches(schema, batches));
}

Plan SortedNumbers() {
  const Plan kept = ValueOf(
      MakeNode(FilterSpec{"n % 3 != 1"}, {ExternalNumbers({"40 30", "0 0", "10 50", "0 20"})}));
  return ValueOf(MakeNode(SortSpec{.keys = {{.column = "n", .descending = true}}}, {kept}));
}

TEST_CASE("the parts of an external source are tasks, on nodes that fail as well") {
  PlanExtensions extensions;
  extensions.sources["numbers"] = std::make_shared<NumberSource>();
  runtime::StageRegistry registry;
  RequireOk(RegisterPlanStages(registry, nullptr, &extensions));
  const Plan plan = SortedNumbers();
  const auto here = ValueOf(Execution::Start({}, plan));
  const auto expected = All(*here, plan->schema());
  REQUIRE(expected->num_rows() == 66);
  const DistributionOptions options{.num_partitions = 3, .partition_bytes = 1000};
  CHECK(ValueOf(ExplainDistributed(plan, options)).find("4 partitions") != std::string::npos);
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    const auto backend = runtime::MakeSimulatedBackend(
        registry, {.seed = seed, .num_nodes = 3, .faults = runtime::SimulatedFaults::Everything()});
    const auto result = ValueOf(ExecuteDistributed({}, *backend, plan, options));
    CHECK(TableDifference(All(*result, plan->schema()), expected).empty());
  }
}

TEST_CASE("a worker that does not read an external source says which") {
  runtime::StageRegistry registry;
  RequireOk(RegisterPlanStages(registry, nullptr));
  const auto backend = runtime::MakeSimulatedBackend(registry, {.seed = 1, .num_nodes = 1});
  CHECK_ERROR(ExecuteDistributed({}, *backend, SortedNumbers(), {.num_partitions = 2}),
              ErrorKind::kNotFound, "'numbers'");
}

}  // namespace
}  // namespace gnomon::dataset::test
