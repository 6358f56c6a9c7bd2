// What needs the order of all rows, in many tasks.
#include <algorithm>
#include <filesystem>
#include <set>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "runtime/local/local_backend.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT

struct Threads {
  runtime::StageRegistry registry;
  std::unique_ptr<runtime::Backend> backend;

  Threads() {
    RequireOk(RegisterPlanStages(registry, nullptr));
    backend = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
  }
};

// Nothing is small enough for one task.
const DistributionOptions kDivided = {.num_partitions = 4, .partition_bytes = 0};

// Rows of each partition of the result.
std::vector<int64_t> PartitionRows(Threads& threads, const Dataset& dataset) {
  const auto result =
      ValueOf(ExecuteDistributed({}, *threads.backend, ValueOf(dataset.plan()), kDivided));
  std::vector<int64_t> rows;
  arrow::RecordBatchVector batches;
  while (auto batch = ValueOf(result->Next())) {
    rows.push_back(batch->num_rows());
    batches.push_back(std::move(batch));
  }
  CHECK_TABLE_EQ(arrow::Table::FromRecordBatches(result->schema(), batches),
                 ValueOf(dataset.Collect({})));
  return rows;
}

TEST_CASE(
    "a sort of many tasks gives each about as many rows, also of one key and of uneven parts") {
  Threads threads;
  const Dataset rows = Dataset::Range(0, 20000).Derive("v", "(id * 7919) % 20011");
  const Dataset few = Dataset::Range(0, 50).Derive("v", "id + 30000");
  for (const Dataset& dataset :
       {rows.Sort({{"v"}}), rows.Sort({{"v", true}}), rows.Derive("v", "1").Sort({{"v"}}),
        rows.Filter("id < 5000 or id > 19000").Sort({{"v"}}), few.Union(rows).Sort({{"v"}})}) {
    const std::vector<int64_t> parts = PartitionRows(threads, dataset);
    REQUIRE(parts.size() == 4);
    CHECK(std::ranges::max(parts) < 1.3 * static_cast<double>(std::ranges::min(parts)));
  }
}

TEST_CASE("rows that were shuffled come back in as many partitions as they were in") {
  Threads threads;
  const Dataset groups = Dataset::Range(0, 4000)
                             .Derive("k", "id % 1000")
                             .Aggregate({"k"}, {{pit::AggregateFunction::kSum, "id"}});
  // All groups were first seen in the first partition.
  CHECK(PartitionRows(threads, groups) == std::vector<int64_t>{1000});
  const Dataset joined =
      Dataset::Range(0, 4000).Join(Dataset::Range(0, 8000), {.left_keys = {"id"}});
  const auto plan = ValueOf(joined.plan());
  DistributionOptions options = kDivided;
  options.broadcast_bytes = 0;
  const auto result = ValueOf(ExecuteDistributed({}, *threads.backend, plan, options));
  std::vector<int64_t> rows;
  while (const auto batch = ValueOf(result->Next())) rows.push_back(batch->num_rows());
  CHECK(rows == std::vector<int64_t>{1000, 1000, 1000, 1000});
}

TEST_CASE("what is smaller than a partition is brought into order in one task") {
  const Plan plan = ValueOf(Dataset::Range(0, 100).Sort({{"id", true}}).Sample(0.5, 1).plan());
  const std::string small = ValueOf(ExplainDistributed(plan, {.num_partitions = 4}));
  CHECK(small.find("ranges") == std::string::npos);
  const std::string large = ValueOf(ExplainDistributed(plan, kDivided));
  CHECK(large.find("by ranges of id") != std::string::npos);
}

std::set<std::string> FilesBelow(const std::string& folder) {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file())
      files.insert(std::filesystem::relative(entry.path(), folder).string());
  }
  return files;
}

TEST_CASE("many tasks write one folder, which appears at once and alone") {
  Threads threads;
  const auto folder = MakeTemporaryFolder();
  const std::string here = folder.path() + "/here/out";
  const std::string there = folder.path() + "/there/out";
  RequireOk(MakeFolders(folder.path() + "/there"));
  for (const int64_t count : {0, 1, 95, 1000}) {
    for (const bool partitioned : {false, true}) {
      CAPTURE(count);
      CAPTURE(partitioned);
      const Dataset rows = Dataset::Range(0, count).Derive("k", "id % 5");
      WriteSpec spec{.path = here, .rows_per_file = 10};
      if (partitioned) spec.partition_by = {"k"};
      const auto expected = ValueOf(rows.WriteTo({}, spec));
      spec.path = there;
      const auto result = ValueOf(ExecuteDistributed(
          {}, *threads.backend, ValueOf(MakeNode(spec, {ValueOf(rows.plan())})), kDivided));
      if (count == 1000) CHECK(result->stats().tasks >= 4 + 4 + 1);
      CHECK(FilesBelow(there) == FilesBelow(here));
      for (const std::string& file : FilesBelow(here)) {
        CHECK(ValueOf(ReadFile(there + "/" + file)) == ValueOf(ReadFile(here + "/" + file)));
      }
      const auto written = ValueOf(result->Next());
      CHECK((written == nullptr ? 0 : written->num_rows()) == expected->num_rows());
      CHECK(std::distance(std::filesystem::directory_iterator(folder.path() + "/there"), {}) == 1);
    }
  }
}

TEST_CASE("one of many tasks that fails leaves what stood there and nothing else") {
  Threads threads;
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/out";
  const WriteSpec spec{.path = path, .rows_per_file = 10};
  RequireOk(Dataset::Range(0, 30).WriteTo({}, spec).status());
  const auto before = FilesBelow(path);
  const Dataset bad = Dataset::Range(0, 1000).Derive("bad", "1 // (id - 999)");
  CHECK_ERROR(ExecuteDistributed({}, *threads.backend,
                                 ValueOf(MakeNode(spec, {ValueOf(bad.plan())})), kDivided),
              ErrorKind::kUser, "zero");
  CHECK(FilesBelow(path) == before);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

}  // namespace
}  // namespace gnomon::dataset
