#include "runtime/block.h"

#include <filesystem>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "runtime/spill_file.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/process.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;  // NOLINT
using test::BatchOf;
using test::GeneratedRows;

BlockDescriptor WriteBlock(BlockStore& store, int num_batches) {
  const auto batch = BatchOf(GeneratedRows(7, 10000));
  auto writer = ValueOf(store.NewBlock(batch->schema()));
  for (int i = 0; i < num_batches; ++i) RequireOk(writer->Write(*batch));
  return ValueOf(writer->Finish());
}

int64_t CountRows(arrow::RecordBatchReader& reader) {
  const auto expected = BatchOf(GeneratedRows(7, 10000));
  int64_t rows = 0;
  std::shared_ptr<arrow::RecordBatch> batch;
  while (true) {
    RequireOk(reader.ReadNext(&batch));
    if (batch == nullptr) return rows;
    CHECK(batch->Equals(*expected));
    rows += batch->num_rows();
  }
}

TEST_CASE("a block is reserved from the budget until its last reader is gone") {
  MemoryBudget budget("test", int64_t{1} << 22);
  BlockStore store({.node = 3, .memory = &budget});
  const BlockDescriptor block = WriteBlock(store, 2);
  CHECK(block.node == 3);
  CHECK(block.rows == 20000);
  CHECK_FALSE(block.spilled);
  CHECK(budget.used() == block.bytes);
  auto reader = ValueOf(store.Open(block));
  std::shared_ptr<arrow::RecordBatch> batch;
  RequireOk(reader->ReadNext(&batch));
  store.Release(block);
  CHECK(store.stats().blocks == 0);
  CHECK(budget.used() == block.bytes);
  reader.reset();
  CHECK(budget.used() == block.bytes);
  CHECK(batch->Equals(*BatchOf(GeneratedRows(7, 10000))));
  batch.reset();
  CHECK(budget.used() == 0);
}

TEST_CASE("reading a block copies nothing") {
  BlockStore store({});
  const BlockDescriptor block = WriteBlock(store, 1);
  const auto bytes = ValueOf(store.Bytes(block));
  std::shared_ptr<arrow::RecordBatch> batch;
  RequireOk(ValueOf(store.Open(block))->ReadNext(&batch));
  const uint8_t* values = batch->column(1)->data()->buffers[1]->data();
  CHECK(values >= bytes->data());
  CHECK(values < bytes->data() + bytes->size());
}

TEST_CASE("a block that the budget refuses is moved to a file while it is written") {
  MemoryBudget budget("test", 500000);
  BlockStore store({.memory = &budget});
  const BlockDescriptor block = WriteBlock(store, 20);
  CHECK(block.spilled);
  CHECK(budget.used() == 0);
  CHECK(budget.peak() > 0);
  CHECK(store.stats().spilled_bytes == block.bytes);
  CHECK(CountRows(*ValueOf(store.Open(block))) == 200000);
}

TEST_CASE("a block that is not finished leaves neither bytes nor reservation") {
  MemoryBudget budget("test", int64_t{1} << 22);
  BlockStore store({.memory = &budget});
  {
    const auto batch = BatchOf(GeneratedRows(7, 100000));
    auto writer = ValueOf(store.NewBlock(batch->schema()));
    RequireOk(writer->Write(*batch));
    CHECK(budget.used() > 0);
  }
  CHECK(budget.used() == 0);
  CHECK(store.stats().blocks == 0);
}

TEST_CASE("a block without rows keeps its schema") {
  BlockStore store({});
  const auto table = ValueOf(arrow::Table::FromRecordBatches(BatchOf({})->schema(), {}));
  const BlockDescriptor block = ValueOf(store.Put(*table));
  const auto reader = ValueOf(store.Open(block));
  CHECK(reader->schema()->Equals(*table->schema()));
  CHECK(CountRows(*reader) == 0);
}

TEST_CASE("a shared block is adopted by another store, in memory or in a file") {
  BlockStore giver({.node = 1});
  const BlockDescriptor block = WriteBlock(giver, 3);
  MemoryBudget small("small", 1000);
  MemoryBudget large("large", int64_t{1} << 24);
  for (MemoryBudget* budget : {&small, &large}) {
    BlockStore taker({.node = 2, .memory = budget});
    const BlockDescriptor taken = ValueOf(taker.Adopt(ValueOf(giver.Share(block)), block));
    CHECK(taken.node == 2);
    CHECK(taken.spilled == (budget == &small));
    CHECK(budget->used() == (taken.spilled ? 0 : block.bytes));
    CHECK(CountRows(*ValueOf(taker.Open(taken))) == 30000);
    BlockDescriptor longer = block;
    longer.bytes += 1;
    CHECK_ERROR(taker.Adopt(ValueOf(giver.Share(block)), longer), ErrorKind::kDataLoss, "bytes of");
  }
  CHECK_ERROR(giver.Open({.node = 2, .id = 1}), ErrorKind::kNotFound, "block 1 of node 2");
}

TEST_CASE("bytes that are no batches are data loss") {
  BlockStore store({});
  const BlockDescriptor block =
      ValueOf(store.PutBytes(arrow::Buffer("these are no record batches, surely"), 1));
  CHECK_ERROR(store.Open(block), ErrorKind::kDataLoss, "no record batches");
}

TEST_CASE("a spill file is read as often as wanted and outlived by its readers") {
  const auto folder = MakeTemporaryFolder();
  const auto batch = BatchOf(GeneratedRows(7, 10000));
  std::shared_ptr<arrow::RecordBatchReader> late;
  {
    SpillFile file = ValueOf(SpillFile::Create(batch->schema(), folder.path()));
    for (int i = 0; i < 5; ++i) RequireOk(file.Write(*batch));
    CHECK(file.rows() == 50000);
    CHECK(CountRows(*ValueOf(file.Read())) == 50000);
    CHECK(CountRows(*ValueOf(file.Read())) == 50000);
    CHECK(file.bytes() > 5 * 160000);
    late = ValueOf(file.Read());
  }
  CHECK(CountRows(*late) == 50000);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a spill folder that is missing, no folder, or read-only is named with a hint") {
  const auto folder = MakeTemporaryFolder();
  const auto schema = BatchOf({})->schema();
  CHECK_ERROR(SpillFile::Create(schema, folder.path() + "/none"), ErrorKind::kNotFound, "none'");
  const Status error = ErrorOf(SpillFile::Create(schema, "/proc/self"));
  CHECK(error.message().find("spill folder '/proc/self'") != std::string::npos);
  CHECK(HintOf(error) == "choose a spill folder that exists and can be written");
}

TEST_CASE("a full spill folder ends the writing with an error that names it") {
  const auto folder = MakeTemporaryFolder();
  const CommandResult result =
      RunCommand({test::TestWorkerCommand().front(), "spill", folder.path()},
                 {.environment = {{"GNOMON_FAULT", "spill.write:2:nospace"}}});
  CHECK(result.exit_code == ExitCodeOf(ErrorKind::kExhausted));
  CHECK(result.err.find(folder.path()) != std::string::npos);
}

}  // namespace
}  // namespace gnomon::runtime
