#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/mutex.h"
#include "feature/online/online_store.h"
#include "feature/online/row_cache_internal.h"
#include "table/row_codec.h"

namespace gnomon::feature::internal {

/// One schema of a view. A new one, with a new tag, takes its place when all rows of the view are
/// to go.
struct CachedTable {
  uint64_t tag = 0;
  std::string prefix;                    ///< of the view's keys, whatever the schema
  std::optional<table::RowCodec> codec;  ///< none: rows of this schema cannot be kept
  std::vector<int> all_fields;
};

/// The tables that are read through a cache. Thread-safe.
class CachedTables {
 public:
  std::shared_ptr<const CachedTable> Find(const OnlineTable& table);
  std::string PrefixOf(const OnlineTable& table);

  /// No row that was kept for the view, or any, is found by a read that begins from now on.
  void Forget(const OnlineTable& table);
  void ForgetAll();

 private:
  struct Schema {
    std::shared_ptr<arrow::Schema> schema;
    std::shared_ptr<const CachedTable> table;
  };
  struct View {
    std::string prefix;
    std::vector<Schema> tables;
  };

  View& Of(const OnlineTable& table) GNOMON_REQUIRES(mutex_);

  Mutex mutex_;
  std::map<std::pair<std::string, std::string>, View> views_ GNOMON_GUARDED_BY(mutex_);
  uint64_t last_tag_ GNOMON_GUARDED_BY(mutex_) = 0;
};

/// One read through the cache: looks its rows up, reads the missing ones as whole rows, and decodes
/// what was asked. Everything is borrowed.
class CachedRead {
 public:
  CachedRead(RowCache* rows, CachedTables* tables, std::span<const OnlineRead> reads, int64_t now)
      : cache_(rows), tables_(tables), reads_(reads), now_(now) {}

  /// False when this read cannot go through the cache.
  bool FindAll();
  Status ReadMissing(const Context& context, OnlineStore& store);

  /// Whether all rows are here and show the same writes of this process.
  bool IsWhole() const;
  /// REQUIRES: IsWhole.
  Result<std::vector<OnlineValues>> Values() const;

  int64_t hits() const { return hits_; }
  int64_t misses() const { return misses_; }

 private:
  struct Part {
    std::shared_ptr<const CachedTable> table;
    std::vector<std::shared_ptr<const CachedRow>> rows;  ///< null: the key is empty, or not yet
    std::vector<size_t> missing;
    std::vector<uint64_t> versions;  ///< of the missing rows' shards
  };

  void Find(std::string_view key, size_t row, Part* part);
  Status Keep(const OnlineRead& read, const OnlineValues& values, Part* part);

  RowCache* cache_;
  CachedTables* tables_;
  std::span<const OnlineRead> reads_;
  int64_t now_;
  std::vector<Part> parts_;
  std::array<std::optional<uint64_t>, RowCache::kNumShards> versions_;  ///< where this read looked
  bool is_stable_ = true;  ///< no write ended while it looked
  bool is_kept_ = true;    ///< every row could be encoded
  int64_t hits_ = 0;
  int64_t misses_ = 0;
  std::string key_;
};

}  // namespace gnomon::feature::internal
