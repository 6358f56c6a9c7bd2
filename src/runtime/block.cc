#include "runtime/block.h"

#include <sys/stat.h>
#include <utility>

#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include "base/text.h"
#include "runtime/batch_stream_internal.h"
#include "runtime/stored_bytes.h"

namespace gnomon::runtime {

BlockWriter::BlockWriter(BlockStore* store, std::shared_ptr<StoredBytesWriter> output,
                         std::shared_ptr<arrow::ipc::RecordBatchWriter> writer)
    : store_(store), output_(std::move(output)), writer_(std::move(writer)) {}

BlockWriter::~BlockWriter() = default;

Status BlockWriter::Write(const arrow::RecordBatch& batch) {
  GNOMON_RETURN_NOT_OK(writer_->WriteRecordBatch(batch));
  rows_ += batch.num_rows();
  return Status::OK();
}

Result<BlockDescriptor> BlockWriter::Finish() {
  GNOMON_RETURN_NOT_OK(writer_->Close());
  GNOMON_ASSIGN_OR_RETURN(auto bytes, output_->Finish());
  return store_->Insert(std::move(bytes), rows_);
}

BlockStore::BlockStore(BlockStoreOptions options)
    : options_([&] {
        if (options.spill_folder.empty()) options.spill_folder = DefaultSpillFolder();
        return std::move(options);
      }()) {}

BlockStore::~BlockStore() = default;

std::shared_ptr<StoredBytesWriter> BlockStore::NewOutput() const {
  return std::make_shared<StoredBytesWriter>(StoredBytesWriter::Place::kMemoryFirst,
                                             options_.memory, options_.spill_folder);
}

Result<std::unique_ptr<BlockWriter>> BlockStore::NewBlock(
    const std::shared_ptr<arrow::Schema>& schema) {
  auto output = NewOutput();
  GNOMON_ASSIGN_OR_RETURN(auto writer, OpenBatchStream(output, schema));
  return std::unique_ptr<BlockWriter>(new BlockWriter(this, std::move(output), std::move(writer)));
}

Result<BlockDescriptor> BlockStore::Put(const arrow::Table& table) {
  GNOMON_ASSIGN_OR_RETURN(auto writer, NewBlock(table.schema()));
  arrow::TableBatchReader batches(table);
  std::shared_ptr<arrow::RecordBatch> batch;
  while (true) {
    GNOMON_RETURN_NOT_OK(batches.ReadNext(&batch));
    if (batch == nullptr) return writer->Finish();
    GNOMON_RETURN_NOT_OK(writer->Write(*batch));
  }
}

Result<std::shared_ptr<StoredBytes>> BlockStore::Find(const BlockDescriptor& block) const {
  const MutexLock lock(mutex_);
  const auto found = block.node == options_.node ? blocks_.find(block.id) : blocks_.end();
  if (found == blocks_.end()) {
    return Error(ErrorKind::kNotFound, "block ", block.id, " of node ", block.node,
                 " is not on node ", options_.node);
  }
  return found->second;
}

BlockDescriptor BlockStore::Insert(std::shared_ptr<StoredBytes> bytes, int64_t rows) {
  const MutexLock lock(mutex_);
  const BlockDescriptor block{.node = options_.node,
                              .id = ++last_id_,
                              .rows = rows,
                              .bytes = bytes->size(),
                              .spilled = bytes->spilled()};
  stats_.blocks += 1;
  stats_.bytes += block.bytes;
  if (block.spilled) {
    stats_.spilled_blocks += 1;
    stats_.spilled_bytes += block.bytes;
  }
  blocks_.emplace(block.id, std::move(bytes));
  return block;
}

Result<std::shared_ptr<arrow::RecordBatchReader>> BlockStore::Open(
    const BlockDescriptor& block) const {
  GNOMON_ASSIGN_OR_RETURN(auto bytes, Find(block));
  return ReadBatchStream(bytes);
}

Result<BlockDescriptor> BlockStore::Duplicate(const BlockDescriptor& block) {
  GNOMON_ASSIGN_OR_RETURN(auto bytes, Find(block));
  return Insert(std::move(bytes), block.rows);
}

Result<std::shared_ptr<arrow::Buffer>> BlockStore::Bytes(const BlockDescriptor& block) const {
  GNOMON_ASSIGN_OR_RETURN(auto bytes, Find(block));
  return bytes->Map();
}

Result<BlockDescriptor> BlockStore::PutBytes(const arrow::Buffer& bytes, int64_t rows) {
  const auto output = NewOutput();
  GNOMON_RETURN_NOT_OK(output->Write(bytes.data(), bytes.size()));
  GNOMON_ASSIGN_OR_RETURN(auto stored, output->Finish());
  return Insert(std::move(stored), rows);
}

Result<FileDescriptor> BlockStore::Share(const BlockDescriptor& block) const {
  GNOMON_ASSIGN_OR_RETURN(auto bytes, Find(block));
  return bytes->file().Duplicate();
}

Result<BlockDescriptor> BlockStore::Adopt(FileDescriptor file, const BlockDescriptor& block) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return ErrnoError(errno, "cannot adopt a block");
  if (block.bytes < 0 || status.st_size < block.bytes) {
    return Error(ErrorKind::kDataLoss, "a shared block has ", status.st_size, " bytes of ",
                 block.bytes);
  }
  MemoryBudget* memory = block.spilled ? nullptr : options_.memory;
  if (memory != nullptr && !memory->TryReserve(block.bytes)) {
    // No room for it here: its bytes go to a file, then its memory is freed with the descriptor.
    auto shared = std::make_shared<StoredBytes>(std::move(file), block.bytes, false, nullptr, 0);
    GNOMON_ASSIGN_OR_RETURN(auto buffer, shared->Map());
    StoredBytesWriter output(StoredBytesWriter::Place::kFile, nullptr, options_.spill_folder);
    GNOMON_RETURN_NOT_OK(output.Write(buffer->data(), buffer->size()));
    GNOMON_ASSIGN_OR_RETURN(auto stored, output.Finish());
    return Insert(std::move(stored), block.rows);
  }
  return Insert(std::make_shared<StoredBytes>(std::move(file), block.bytes, block.spilled, memory,
                                              memory == nullptr ? 0 : block.bytes),
                block.rows);
}

void BlockStore::Release(const BlockDescriptor& block) {
  std::shared_ptr<StoredBytes> bytes;  // freed outside of the lock
  const MutexLock lock(mutex_);
  const auto found = block.node == options_.node ? blocks_.find(block.id) : blocks_.end();
  if (found == blocks_.end()) return;
  bytes = std::move(found->second);
  blocks_.erase(found);
  stats_.blocks -= 1;
  stats_.bytes -= bytes->size();
}

void BlockStore::Release(std::span<const BlockDescriptor> blocks) {
  for (const BlockDescriptor& block : blocks) Release(block);
}

void BlockStore::Clear() {
  std::map<int64_t, std::shared_ptr<StoredBytes>> blocks;
  const MutexLock lock(mutex_);
  blocks.swap(blocks_);
  stats_.blocks = 0;
  stats_.bytes = 0;
}

BlockStoreStats BlockStore::stats() const {
  const MutexLock lock(mutex_);
  return stats_;
}

}  // namespace gnomon::runtime
