#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/mutex.h"

namespace gnomon::feature::internal {

/// A stored row as it was read. A missing one is older than every other.
struct CachedRow {
  bool found = false;
  int64_t event_time = INT64_MIN;
  std::string bytes = {};  ///< table::RowCodec's, of the whole row
};

/// Rows by key, at most so many bytes of them, in shards of one mutex each. A shard that is full
/// lets its least recently used rows go; a row larger than a shard is not kept.
///
/// Every shard has a version. A write is between BeginWrite and EndWrite of its shards, and drops
/// its keys in between, after its rows are to be seen in the store. Find gives the version to the
/// reader, Fill takes it back: a row that was read while its shard was written, or before, is not
/// kept. Thread-safe.
class RowCache {
 public:
  static constexpr size_t kNumShards = 64;
  using Shards = std::bitset<kNumShards>;

  /// `ttl`: microseconds, from `began` of Fill on.
  RowCache(size_t capacity_bytes, int64_t ttl);

  static size_t ShardOf(std::string_view key) {
    return std::hash<std::string_view>()(key) % kNumShards;
  }

  struct Finding {
    std::shared_ptr<const CachedRow> row;  ///< null: not here
    uint64_t version = 0;
  };
  /// `tag`: what the row's bytes mean; rows of another one are not found. Nor are rows of a shard
  /// that is being written: a reader that saw the new row in the store would see the old one again.
  Finding Find(std::string_view key, uint64_t tag, int64_t now);

  /// Keeps a row of a read that began at `began`, after Find gave `version`; not when a row of a
  /// newer event time, or of a later read, is kept already.
  void Fill(std::string_view key, uint64_t tag, std::shared_ptr<const CachedRow> row, int64_t began,
            uint64_t version);

  /// Whether no write of the shard has ended since Find gave `version`, and none is under way.
  bool IsUnchanged(size_t shard, uint64_t version);

  void BeginWrite(const Shards& shards);
  void Drop(std::string_view key);
  void Clear();
  void EndWrite(const Shards& shards);

  size_t NumBytes();

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const CachedRow> row;
    uint64_t tag = 0;
    int64_t began = 0;
    size_t bytes = 0;
  };
  struct Shard {
    Mutex mutex;
    std::list<Entry> entries GNOMON_GUARDED_BY(mutex);  ///< the last used first
    std::unordered_map<std::string_view, std::list<Entry>::iterator> places
        GNOMON_GUARDED_BY(mutex);  ///< by Entry::key
    size_t bytes GNOMON_GUARDED_BY(mutex) = 0;
    uint64_t version GNOMON_GUARDED_BY(mutex) = 0;
    int writes GNOMON_GUARDED_BY(mutex) = 0;  ///< under way
  };

  static void Remove(Shard& shard, std::list<Entry>::iterator entry) GNOMON_REQUIRES(shard.mutex);
  bool IsFresh(const Entry& entry, int64_t now) const;

  const size_t shard_bytes_;
  const int64_t ttl_;
  std::array<Shard, kNumShards> shards_;
};

}  // namespace gnomon::feature::internal
