#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "dataset/sample_extension_test.h"
#include "runtime/local/local_backend.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT

/// Stages that know `extensions` (may be null), which outlive them.
struct Stages {
  runtime::StageRegistry registry;
  std::unique_ptr<runtime::Backend> backend;

  explicit Stages(const PlanExtensions* extensions) {
    RequireOk(RegisterPlanStages(registry, nullptr, extensions));
    backend = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
  }

  Result<std::shared_ptr<arrow::Table>> Run(const Plan& plan, int num_partitions) {
    GNOMON_ASSIGN_OR_RETURN(const auto result, ExecuteDistributed({}, *backend, plan,
                                                                  {.num_partitions = num_partitions,
                                                                   .partition_bytes = 1000}));
    arrow::RecordBatchVector batches;
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, result->Next());
      if (batch == nullptr) return arrow::Table::FromRecordBatches(result->schema(), batches);
      batches.push_back(std::move(batch));
    }
  }
};

/// A plan that calls both kinds of functions and aggregates of a plug-in.
Dataset Everything(const PlanExtensions& extensions) {
  const Dataset trails = Dataset::Range(0, 5000)
                             .MapBatches(extensions, "triple", "id % 1000")
                             .Derive("key", "id * 7919 % 97")
                             .Aggregate({"key"}, {ItemOf(extensions, "trail", "triple"),
                                                  ItemOf(extensions, "trail_or_empty", "id"),
                                                  {pit::AggregateFunction::kCount}});
  return trails;
}

TEST_CASE("stages with a plug-in's functions and aggregates give the bytes of one process") {
  const PlanExtensions extensions = TestExtensions();
  Stages stages(&extensions);
  const auto folder = MakeTemporaryFolder();
  const Dataset calls =
      Dataset::Range(0, 5000).Filter("id % 3 != 1").MapBatches(extensions, "call_rows", "", 70);
  for (const Dataset& dataset : {Everything(extensions), calls}) {
    CAPTURE(FormatPlan(ValueOf(dataset.plan())));
    const auto expected = ValueOf(dataset.Collect({}));
    const std::string alone = folder.path() + "/alone.parquet";
    RequireOk(dataset.WriteTo({}, {.path = alone}).status());
    for (const int num_partitions : {1, 3, 8}) {
      CAPTURE(num_partitions);
      CHECK_TABLE_EQ(stages.Run(ValueOf(dataset.plan()), num_partitions), expected);
      const std::string path = folder.path() + "/stages.parquet";
      const Plan written = ValueOf(MakeNode(WriteSpec{.path = path}, {ValueOf(dataset.plan())}));
      RequireOk(stages.Run(written, num_partitions).status());
      CHECK(ValueOf(ReadFile(path)) == ValueOf(ReadFile(alone)));
    }
  }
}

TEST_CASE("an aggregate of a plug-in is computed after the shuffle, never from partial results") {
  const PlanExtensions extensions = TestExtensions();
  const std::string stages = ValueOf(ExplainDistributed(
      ValueOf(Everything(extensions).plan()), {.num_partitions = 4, .partition_bytes = 1000}));
  CHECK(stages.find("by hash of key to 4") != std::string::npos);
  const size_t first = stages.find("= trail(");
  CHECK(first != std::string::npos);
  CHECK(stages.find("= trail(", first + 1) == std::string::npos);
}

TEST_CASE("workers without the plug-in end the job with its name") {
  const PlanExtensions extensions = TestExtensions();
  Stages stages(nullptr);
  CHECK_ERROR(stages.Run(ValueOf(Everything(extensions).plan()), 2), ErrorKind::kNotFound,
              "of a plug-in: 't");
}

}  // namespace
}  // namespace gnomon::dataset
