#include "dataset/distributed/distributed.h"

#include <filesystem>
#include <fstream>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "dataset/dataset.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT
using pit::AggregateFunction;

struct Threads {
  runtime::StageRegistry registry;
  std::unique_ptr<runtime::Backend> backend;

  Threads() {
    RequireOk(RegisterPlanStages(registry, nullptr));
    backend = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
  }
  Result<std::unique_ptr<DistributedResult>> Run(const Dataset& dataset,
                                                 const DistributionOptions& options = {}) {
    return ExecuteDistributed({}, *backend, ValueOf(dataset.plan()), options);
  }
};

Dataset Written(const Dataset& rows, const std::string& path,
                std::vector<std::string> partition_by = {}) {
  return Dataset(MakeNode(WriteSpec{.path = path,
                                    .format = table::FileFormat::kParquet,
                                    .partition_by = std::move(partition_by)},
                          {ValueOf(rows.plan())}));
}

Result<std::shared_ptr<arrow::Table>> Collected(DistributedResult& result) {
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, result.Next());
    if (batch == nullptr) return arrow::Table::FromRecordBatches(result.schema(), batches);
    batches.push_back(std::move(batch));
  }
}

int64_t CountRows(BatchSource& source) {
  int64_t rows = 0;
  while (const auto batch = ValueOf(source.Next())) rows += batch->num_rows();
  return rows;
}

TEST_CASE("counts are merged from partial results, sums are not") {
  const Dataset rows = Dataset::Range(0, 1000).Derive("k", "id % 7");
  const DistributionOptions options{.num_partitions = 4};
  const std::string merged = ValueOf(ExplainDistributed(
      ValueOf(rows.Aggregate({"k"}, {{AggregateFunction::kCount}}).plan()), options));
  CHECK(merged.find("by hash of k to 4") != std::string::npos);
  CHECK(merged.find("count = count()") != std::string::npos);
  CHECK(merged.find("count = sum(count)") != std::string::npos);
  const std::string whole = ValueOf(ExplainDistributed(
      ValueOf(rows.Aggregate({"k"}, {{AggregateFunction::kSum, "id"}}).plan()), options));
  CHECK(whole.find("sum(id_sum)") == std::string::npos);
}

TEST_CASE("a small right side goes to every partition of the left, a large one is shuffled") {
  const Dataset joined = Dataset::Range(0, 1000).Join(Dataset::Range(0, 10), {.left_keys = {"id"}});
  const Plan plan = ValueOf(joined.plan());
  const std::string small =
      ValueOf(ExplainDistributed(plan, {.num_partitions = 3, .broadcast_bytes = 1000}));
  CHECK(small.find("(all of it)") != std::string::npos);
  CHECK(small.find("(shuffle)") == std::string::npos);
  const std::string large =
      ValueOf(ExplainDistributed(plan, {.num_partitions = 3, .broadcast_bytes = 10}));
  CHECK(large.find("(shuffle)") != std::string::npos);
}

TEST_CASE("columns that are not read do not make a right side large") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/wide.parquet";
  RequireOk(Dataset::Range(0, 2000)
                .Derive({{"a", "id * 7919 % 1000003"}, {"b", "id * 6007 % 1000033"}})
                .WriteTo({}, {.path = path})
                .status());
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
  const auto explain = [&](const std::vector<std::string>& columns) {
    const Dataset right = Dataset::Read({}, path).Select(columns);
    const Dataset joined = Dataset::Range(0, 100).Join(right, {.left_keys = {"id"}});
    return ValueOf(ExplainDistributed(ValueOf(joined.plan()),
                                      {.num_partitions = 3, .broadcast_bytes = size * 3 / 4}));
  };
  CHECK(explain({"id", "a", "b"}).find("(shuffle)") != std::string::npos);
  CHECK(explain({"id", "a"}).find("(shuffle)") == std::string::npos);
}

TEST_CASE("a scan is divided between its files") {
  const auto folder = MakeTemporaryFolder();
  for (const std::string name : {"a", "b", "c", "d"}) {
    RequireOk(Dataset::Range(0, 100)
                  .WriteTo({}, {.path = folder.path() + "/" + name + ".parquet"})
                  .status());
  }
  const Dataset rows = Dataset::Read({}, folder.path());
  Threads threads;
  const auto result = ValueOf(threads.Run(rows, {.num_partitions = 3}));
  CHECK(result->stats().tasks == 3);
  CHECK(CountRows(*result) == 400);
}

TEST_CASE("one file is divided between its row groups") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/one.parquet";
  RequireOk(Dataset::Range(0, 1000).WriteTo({}, {.path = path, .row_group_rows = 100}).status());
  const Dataset rows = Dataset::Read({}, path).Filter("id % 3 = 0");
  Threads threads;
  for (const int parts : {1, 2, 3, 7, 10, 40}) {
    CAPTURE(parts);
    const auto result = ValueOf(threads.Run(rows, {.num_partitions = parts, .min_part_bytes = 1}));
    CHECK(result->stats().tasks == parts);
    CHECK_TABLE_EQ(Collected(*result), ValueOf(rows.Collect({})));
  }
  // Too small to be worth it.
  CHECK(ValueOf(threads.Run(rows, {.num_partitions = 4}))->stats().tasks == 1);
  // More than the wanted number when the parts would be too large.
  CHECK(ValueOf(
            threads.Run(rows, {.num_partitions = 1, .partition_bytes = 1000, .min_part_bytes = 1}))
            ->stats()
            .tasks > 3);
}

TEST_CASE("pairs of one left row keep their order when they are dealt out again") {
  Threads threads;
  const Dataset left = Dataset::Range(0, 4);
  const Dataset right = Dataset::Range(0, 60).Project({{"k", "id % 3"}, {"v", "id * 7 % 23"}});
  for (const JoinType type : {JoinType::kInner, JoinType::kLeft, JoinType::kFull}) {
    for (const int64_t broadcast_bytes : {0, 1 << 20}) {
      CAPTURE(NameOf(type));
      CAPTURE(broadcast_bytes);
      const Dataset groups =
          left.Join(right, {.type = type, .left_keys = {"id"}, .right_keys = {"k"}})
              .Join(Dataset::Range(0, 23, 1, "w").Derive("twice", "w * 2"),
                    {.left_keys = {"v"}, .right_keys = {"w"}})
              .Aggregate({"v"}, {{AggregateFunction::kSum, "id"}});
      const auto result =
          ValueOf(threads.Run(groups, {.num_partitions = 5, .broadcast_bytes = broadcast_bytes}));
      CHECK_TABLE_EQ(Collected(*result), ValueOf(groups.Collect({})));
    }
  }
}

TEST_CASE("an error in a row keeps its kind and says which stage it was in") {
  Threads threads;
  const Dataset rows = Dataset::Range(0, 100).Derive("bad", "1 // (id - 50)");
  const Status alone = ErrorOf(rows.Collect({}));
  const Status error = ErrorOf(threads.Run(rows, {.num_partitions = 4}));
  CHECK(KindOf(error) == KindOf(alone));
  CHECK(error.message().find(alone.message()) != std::string::npos);
  CHECK(error.message().starts_with("stage '0 derive', partition "));
}

TEST_CASE("what cannot be distributed says so before anything runs") {
  Threads threads;
  const auto schema = ValueOf(Dataset::Range(0, 1).plan())->schema();
  CHECK_ERROR(threads.Run(Dataset(MakeNode(InputSpec{"batches", schema}))), ErrorKind::kUnsupported,
              "'batches'");
  const auto folder = MakeTemporaryFolder();
  CHECK_ERROR(threads.Run(Written(Dataset::Range(0, 1), folder.path() + "/out").Limit(1)),
              ErrorKind::kUnsupported, "a write node inside");
  CHECK_ERROR(threads.Run(Written(Dataset::Range(0, 1), "s3://bucket/out")),
              ErrorKind::kUnsupported, "local path");
}

TEST_CASE("a write replaces what stood there, file or folder, and leaves nothing beside it") {
  Threads threads;
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/out";
  for (const int64_t rows : {10, 20}) {
    CHECK_OK(threads.Run(Written(Dataset::Range(0, rows), path)));
    CHECK(CountRows(*ValueOf(
              Dataset::Read({}, path, {.format = table::FileFormat::kParquet}).Stream({}))) ==
          rows);
  }
  std::filesystem::remove(path);
  for (const int64_t rows : {30, 40}) {
    const Dataset dealt = Dataset::Range(0, rows).Derive("k", "id % 3");
    const auto result = ValueOf(threads.Run(Written(dealt, path + "/", {"k"})));
    const auto batch = ValueOf(result->Next());
    CHECK(batch->num_rows() == 3);
    CHECK(batch->column(0)->ToString().find(path + "/k=0/part-0.parquet") != std::string::npos);
    CHECK(CountRows(*ValueOf(Dataset::Read({}, path).Stream({}))) == rows);
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a write that fails leaves what stood there and nothing else") {
  Threads threads;
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/out.parquet";
  CHECK_OK(threads.Run(Written(Dataset::Range(0, 10), path)));
  const std::string before = ValueOf(ReadFile(path));
  const Dataset bad = Dataset::Range(0, 100000).Derive("bad", "1 // (id - 99999)");
  CHECK_ERROR(threads.Run(Written(bad, path)), ErrorKind::kUser, "zero");
  CHECK(ValueOf(ReadFile(path)) == before);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a write removes what an earlier one of its path left, and nothing of another path") {
  Threads threads;
  const auto folder = MakeTemporaryFolder();
  const std::string other = folder.path() + "/.b.out.gnomon-1";
  std::filesystem::create_directory(other);
  std::filesystem::create_directory(folder.path() + "/.out.gnomon-2");
  CHECK_OK(WriteFileAtomic(folder.path() + "/..out.gnomon-2.77.abc.tmp", "left"));
  CHECK_OK(threads.Run(Written(Dataset::Range(0, 10), folder.path() + "/out")));
  CHECK(std::filesystem::exists(other));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
}

TEST_CASE("rows are released when they have been read, or not wanted any more") {
  Threads threads;
  {
    const auto result = ValueOf(threads.Run(Dataset::Range(0, 100), {.num_partitions = 4}));
    CHECK(threads.backend->blocks().stats().blocks == 4);
    CHECK(ValueOf(result->Next())->num_rows() == 25);
  }
  CHECK(threads.backend->blocks().stats().blocks == 0);
}

}  // namespace
}  // namespace gnomon::dataset
