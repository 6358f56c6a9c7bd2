#include "feature/online/cached_store.h"

#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "base/text.h"
#include "feature/online/cached_read_internal.h"
#include "feature/online/row_cache_internal.h"

namespace gnomon::feature {
namespace {

using internal::RowCache;

/// A write that names more drops its whole view instead.
constexpr size_t kMostKeysOfWrite = 16 * 1024;

struct Cache {
  explicit Cache(const OnlineCacheOptions& options)
      : rows(static_cast<size_t>(options.size_bytes), options.ttl) {}
  internal::RowCache rows;
  internal::CachedTables tables;
};

/// Keys that a write changes.
class WrittenKeys {
 public:
  explicit WrittenKeys(std::string prefix) : prefix_(std::move(prefix)) {}

  void Add(std::span<const std::string_view> keys) {
    if (keys_.size() + keys.size() > kMostKeysOfWrite) {
      all_ = true;
      keys_.clear();
    }
    for (size_t i = 0; i < keys.size() && !all_; ++i) keys_.push_back(Concat(prefix_, keys[i]));
  }

  /// Every key, of every view.
  void AddAll() { all_ = true; }
  bool all() const { return all_; }
  const std::vector<std::string>& keys() const { return keys_; }

  RowCache::Shards shards() const {
    RowCache::Shards shards;
    if (all_) shards.set();
    for (const std::string& key : keys_) shards.set(RowCache::ShardOf(key));
    return shards;
  }

 private:
  std::string prefix_;
  std::vector<std::string> keys_;
  bool all_ = false;
};

/// While it lives rows may appear in the store. Its end drops them here, however the write ended: a
/// store may have kept some rows of a write that failed.
class WriteScope {
 public:
  /// `table`: null for all of them.
  WriteScope(Cache* cache, const OnlineTable* table) : cache_(cache), table_(table) {}
  WriteScope(const WriteScope&) = delete;
  WriteScope& operator=(const WriteScope&) = delete;

  void Begin(const WrittenKeys& keys) {
    const RowCache::Shards added = keys.shards() & ~shards_;
    cache_->rows.BeginWrite(added);
    shards_ |= added;
    keys_ = &keys;
  }

  ~WriteScope() {
    if (keys_ == nullptr) return;
    if (keys_->all() && table_ == nullptr) {
      cache_->rows.Clear();
      cache_->tables.ForgetAll();
    } else if (keys_->all()) {
      cache_->tables.Forget(*table_);
    }
    for (const std::string& key : keys_->keys()) cache_->rows.Drop(key);
    cache_->rows.EndWrite(shards_);
  }

 private:
  Cache* cache_;
  const OnlineTable* table_;
  RowCache::Shards shards_;
  const WrittenKeys* keys_ = nullptr;
};

void Count(const Context& context, int64_t hits, int64_t misses) {
  if (context.metrics == nullptr) return;
  if (hits > 0)
    context.metrics
        ->GetCounter("gnomon_feature_online_cache_hits_total",
                     "Rows of online reads that the cache had.")
        .Increment(static_cast<double>(hits));
  if (misses > 0)
    context.metrics
        ->GetCounter("gnomon_feature_online_cache_misses_total",
                     "Rows of online reads that the store was asked for, with a cache before it.")
        .Increment(static_cast<double>(misses));
}

class CachedWriter : public OnlineWriter {
 public:
  CachedWriter(std::shared_ptr<Cache> cache, OnlineTable table,
               std::unique_ptr<OnlineWriter> writer)
      : cache_(std::move(cache)),
        table_(std::move(table)),
        keys_(cache_->tables.PrefixOf(table_)),
        writer_(std::move(writer)) {}

  Status Write(const Context& context, const OnlineRows& rows) override {
    keys_.Add(rows.keys);
    return writer_->Write(context, rows);
  }

  Status Commit(const Context& context) override {
    WriteScope scope(cache_.get(), &table_);
    scope.Begin(keys_);
    return writer_->Commit(context);
  }

 private:
  std::shared_ptr<Cache> cache_;
  OnlineTable table_;
  WrittenKeys keys_;
  std::unique_ptr<OnlineWriter> writer_;
};

class CachedStore : public OnlineStore {
 public:
  CachedStore(std::unique_ptr<OnlineStore> store, const OnlineCacheOptions& options)
      : store_(std::move(store)), cache_(std::make_shared<Cache>(options)) {}

  Status Prepare(const Context& context, std::span<const OnlineTable> tables) override {
    return Emptying([&] { return store_->Prepare(context, tables); });
  }
  Status DropExcept(const Context& context, const std::string& project,
                    std::span<const std::string> keep) override {
    return Emptying([&] { return store_->DropExcept(context, project, keep); });
  }
  Status Teardown(const Context& context, const std::string& project) override {
    return Emptying([&] { return store_->Teardown(context, project); });
  }

  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context& context,
                                                   const OnlineTable& table) override {
    GNOMON_ASSIGN_OR_RETURN(auto writer, store_->BeginWrite(context, table));
    return std::make_unique<CachedWriter>(cache_, table, std::move(writer));
  }

  Result<std::vector<OnlineValues>> Read(const Context& context,
                                         std::span<const OnlineRead> reads) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    internal::CachedRead read(&cache_->rows, &cache_->tables, reads, context.clock->NowMicros());
    if (!read.FindAll()) return store_->Read(context, reads);
    if (read.misses() > 0) GNOMON_RETURN_NOT_OK(read.ReadMissing(context, *store_));
    if (!read.IsWhole()) {
      Count(context, 0, read.hits() + read.misses());
      return store_->Read(context, reads);
    }
    Count(context, read.hits(), read.misses());
    return read.Values();
  }

  Status Update(const Context& context, const OnlineRead& read,
                const std::function<Result<OnlineRows>(const OnlineValues&)>& change) override {
    WrittenKeys keys(cache_->tables.PrefixOf(*read.table));
    WriteScope scope(cache_.get(), read.table);
    // A store may call it again, with newer values.
    return store_->Update(context, read, [&](const OnlineValues& values) -> Result<OnlineRows> {
      GNOMON_ASSIGN_OR_RETURN(OnlineRows rows, change(values));
      keys.Add(rows.keys);
      scope.Begin(keys);
      return rows;
    });
  }

  Result<int64_t> CountRows(const Context& context, const OnlineTable& table) override {
    return store_->CountRows(context, table);
  }
  Status Check(const Context& context) override { return store_->Check(context); }

 private:
  template <typename Change>
  Status Emptying(const Change& change) {
    WrittenKeys keys{std::string()};
    keys.AddAll();
    WriteScope scope(cache_.get(), nullptr);
    scope.Begin(keys);
    return change();
  }

  std::unique_ptr<OnlineStore> store_;
  std::shared_ptr<Cache> cache_;  ///< writers may end after the store object
};

}  // namespace

std::unique_ptr<OnlineStore> CacheOnlineStore(std::unique_ptr<OnlineStore> store,
                                              const OnlineCacheOptions& options) {
  return std::make_unique<CachedStore>(std::move(store), options);
}

}  // namespace gnomon::feature
