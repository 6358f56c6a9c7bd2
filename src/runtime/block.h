#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/mutex.h"
#include "runtime/file_descriptor.h"

namespace arrow::ipc {
class RecordBatchWriter;
}

/// Blocks: the record batches that tasks leave for other tasks. A block is written once, immutable,
/// and known everywhere by its descriptor; its bytes lie in the store of one node.
namespace gnomon::runtime {

class StoredBytes;
class StoredBytesWriter;

/// A node's name for life: a node that comes back after a failure is another node.
using NodeId = int64_t;
/// The driver's own node: it runs no tasks, but blocks can lie there.
inline constexpr NodeId kDriverNode = 0;

/// What crosses between nodes instead of data.
struct BlockDescriptor {
  NodeId node = kDriverNode;
  int64_t id = 0;  ///< unique on its node
  int64_t rows = 0;
  int64_t bytes = 0;     ///< of the Arrow IPC stream
  bool spilled = false;  ///< in a file, not in memory

  bool operator==(const BlockDescriptor&) const = default;
};

struct BlockStoreOptions {
  NodeId node = kDriverNode;
  /// Blocks in memory are reserved here; a refusal spills the block. Null: no limit. Outlives the
  /// store and all readers of its blocks.
  MemoryBudget* memory = nullptr;
  /// Empty: DefaultSpillFolder().
  std::string spill_folder = {};
};

struct BlockStoreStats {
  int64_t blocks = 0;          ///< held now
  int64_t bytes = 0;           ///< of these
  int64_t spilled_blocks = 0;  ///< ever
  int64_t spilled_bytes = 0;   ///< ever
};

class BlockStore;

/// Writes one block. Dropped without Finish, it leaves nothing. Not thread-safe; the store outlives
/// it.
class BlockWriter {
 public:
  ~BlockWriter();
  BlockWriter(const BlockWriter&) = delete;
  BlockWriter& operator=(const BlockWriter&) = delete;

  Status Write(const arrow::RecordBatch& batch);
  /// Puts the block into the store. A block without batches keeps its schema.
  Result<BlockDescriptor> Finish();

  int64_t rows() const { return rows_; }

 private:
  friend class BlockStore;
  BlockWriter(BlockStore* store, std::shared_ptr<StoredBytesWriter> output,
              std::shared_ptr<arrow::ipc::RecordBatchWriter> writer);

  BlockStore* const store_;
  std::shared_ptr<StoredBytesWriter> output_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
  int64_t rows_ = 0;
};

/// The blocks of one node: in memory as far as the budget goes, else in unnamed files. Thread-safe.
class BlockStore {
 public:
  explicit BlockStore(BlockStoreOptions options);
  ~BlockStore();
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  NodeId node() const { return options_.node; }

  Result<std::unique_ptr<BlockWriter>> NewBlock(const std::shared_ptr<arrow::Schema>& schema);
  /// A block of one table.
  Result<BlockDescriptor> Put(const arrow::Table& table);

  /// Reads a block without copying it. The reader and its batches may outlive block and store, but
  /// not the budget. kNotFound for a block that is not here (or was released).
  Result<std::shared_ptr<arrow::RecordBatchReader>> Open(const BlockDescriptor& block) const;

  /// A second block of the same bytes.
  Result<BlockDescriptor> Duplicate(const BlockDescriptor& block);

  /// The block as bytes, for carrying it to another node.
  Result<std::shared_ptr<arrow::Buffer>> Bytes(const BlockDescriptor& block) const;
  /// Takes bytes that another node's store gave. Reserved or spilled like a new block.
  Result<BlockDescriptor> PutBytes(const arrow::Buffer& bytes, int64_t rows);

  /// The block as a descriptor that can be sent to another process of this machine.
  Result<FileDescriptor> Share(const BlockDescriptor& block) const;
  /// Takes a block that another process shared, without copying it as far as the budget goes.
  /// `block` says rows, bytes and whether it is spilled. kDataLoss when the file is shorter.
  Result<BlockDescriptor> Adopt(FileDescriptor file, const BlockDescriptor& block);

  /// Forgets a block; unknown ones are passed over. Readers keep what they have opened.
  void Release(const BlockDescriptor& block);
  void Release(std::span<const BlockDescriptor> blocks);
  /// Forgets all blocks.
  void Clear();

  BlockStoreStats stats() const;

 private:
  friend class BlockWriter;
  Result<std::shared_ptr<StoredBytes>> Find(const BlockDescriptor& block) const;
  BlockDescriptor Insert(std::shared_ptr<StoredBytes> bytes, int64_t rows);
  std::shared_ptr<StoredBytesWriter> NewOutput() const;

  const BlockStoreOptions options_;
  mutable Mutex mutex_;
  std::map<int64_t, std::shared_ptr<StoredBytes>> blocks_ GNOMON_GUARDED_BY(mutex_);
  int64_t last_id_ GNOMON_GUARDED_BY(mutex_) = 0;
  BlockStoreStats stats_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace gnomon::runtime
