#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/mutex.h"
#include "dataset/asof/matching_internal.h"
#include "dataset/asof/memory_internal.h"

namespace gnomon::dataset::internal {

/// Rows cut up by key: partition p has the keys [p * keys / partitions, (p + 1) * keys /
/// partitions) of the dense ids, which a hash table gave out. Chunks stay in memory while the
/// budget allows it and go to one unnamed file when it does not. Adding is thread-safe through one
/// Writer a thread; reading is thread-safe afterwards.
class KeyPartitions {
 public:
  KeyPartitions(const Context& context, int64_t num_keys, int64_t num_partitions, bool has_created,
                std::string spill_folder);

  /// Collects rows for each partition and hands them over in chunks.
  class Writer {
   public:
    explicit Writer(KeyPartitions* partitions);
    /// Rows with negative ids are left out.
    Status Add(const MatchRows& rows);
    Status Flush();

   private:
    KeyPartitions* partitions_;
    size_t chunk_rows_;
    std::vector<MatchRows> pending_;
  };

  int64_t num_partitions() const { return num_partitions_; }
  int64_t FirstKey(int64_t partition) const;
  int64_t num_rows(int64_t partition) const;
  int64_t spilled_bytes() const { return file_.size(); }

  /// Calls visit for each chunk of the partition, in any order. Rows are numbered one by one.
  Status ForEachChunk(int64_t partition,
                      const std::function<Status(const MatchRows&)>& visit) const;
  /// Gives the partition's memory back.
  void Drop(int64_t partition);

 private:
  struct Chunk {
    MatchRows rows;       ///< empty: in the file
    int64_t offset = -1;  ///< in the file
    size_t num_rows = 0;
  };

  int64_t PartitionOfKey(int32_t id) const;
  int64_t RowBytes() const;
  Status Append(int64_t partition, MatchRows* rows);

  const Context context_;
  const int64_t num_keys_;
  const int64_t num_partitions_;
  const bool has_created_;
  const std::string spill_folder_;
  Mutex mutex_;
  UnnamedFile file_;                        // guarded by mutex_ while rows are added
  std::vector<std::vector<Chunk>> chunks_;  // likewise
  std::vector<MemoryReservation> memory_;   // of each partition; likewise
};

}  // namespace gnomon::dataset::internal
