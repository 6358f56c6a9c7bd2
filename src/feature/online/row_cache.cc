#include <tuple>
#include <utility>

#include "feature/online/row_cache_internal.h"

namespace gnomon::feature::internal {
namespace {

/// What the allocator adds to each of an entry's blocks (list node, hash node, key, row, bytes),
/// the pointers of both nodes, the row's reference counts and a bucket.
constexpr size_t kNodeBytes = 160;

}  // namespace

RowCache::RowCache(size_t capacity_bytes, int64_t ttl)
    : shard_bytes_(capacity_bytes / kNumShards), ttl_(ttl) {}

// A clock that was set back ends every row that was read in its future.
bool RowCache::IsFresh(const Entry& entry, int64_t now) const {
  return now >= entry.began && now - entry.began < ttl_;
}

void RowCache::Remove(Shard& shard, std::list<Entry>::iterator entry) {
  shard.bytes -= entry->bytes;
  shard.places.erase(entry->key);
  shard.entries.erase(entry);
}

RowCache::Finding RowCache::Find(std::string_view key, uint64_t tag, int64_t now) {
  Shard& shard = shards_[ShardOf(key)];
  const MutexLock lock(shard.mutex);
  Finding finding{.row = nullptr, .version = shard.version};
  if (shard.writes > 0) return finding;
  const auto place = shard.places.find(key);
  if (place == shard.places.end()) return finding;
  const auto entry = place->second;
  if (entry->tag != tag || !IsFresh(*entry, now)) return finding;
  shard.entries.splice(shard.entries.begin(), shard.entries, entry);
  finding.row = entry->row;
  return finding;
}

void RowCache::Fill(std::string_view key, uint64_t tag, std::shared_ptr<const CachedRow> row,
                    int64_t began, uint64_t version) {
  Shard& shard = shards_[ShardOf(key)];
  const MutexLock lock(shard.mutex);
  if (shard.writes > 0 || shard.version != version) return;
  const size_t bytes =
      sizeof(Entry) + sizeof(CachedRow) + kNodeBytes + key.size() + row->bytes.capacity();
  if (const auto place = shard.places.find(key); place != shard.places.end()) {
    const Entry& old = *place->second;
    const bool newer = std::tie(old.row->event_time, old.began) > std::tie(row->event_time, began);
    if (newer && old.tag == tag && IsFresh(old, began)) return;
    Remove(shard, place->second);
  }
  if (bytes > shard_bytes_) return;
  while (shard.bytes + bytes > shard_bytes_) Remove(shard, std::prev(shard.entries.end()));
  shard.entries.push_front(Entry{
      .key = std::string(key), .row = std::move(row), .tag = tag, .began = began, .bytes = bytes});
  shard.places.emplace(shard.entries.front().key, shard.entries.begin());
  shard.bytes += bytes;
}

bool RowCache::IsUnchanged(size_t shard, uint64_t version) {
  const MutexLock lock(shards_[shard].mutex);
  return shards_[shard].writes == 0 && shards_[shard].version == version;
}

void RowCache::BeginWrite(const Shards& shards) {
  for (size_t i = 0; i < kNumShards; ++i) {
    if (!shards[i]) continue;
    const MutexLock lock(shards_[i].mutex);
    ++shards_[i].writes;
  }
}

void RowCache::Drop(std::string_view key) {
  Shard& shard = shards_[ShardOf(key)];
  const MutexLock lock(shard.mutex);
  const auto place = shard.places.find(key);
  if (place != shard.places.end()) Remove(shard, place->second);
}

void RowCache::Clear() {
  for (Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    shard.places.clear();
    shard.entries.clear();
    shard.bytes = 0;
  }
}

void RowCache::EndWrite(const Shards& shards) {
  for (size_t i = 0; i < kNumShards; ++i) {
    if (!shards[i]) continue;
    const MutexLock lock(shards_[i].mutex);
    --shards_[i].writes;
    ++shards_[i].version;
  }
}

size_t RowCache::NumBytes() {
  size_t bytes = 0;
  for (Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    bytes += shard.bytes;
  }
  return bytes;
}

}  // namespace gnomon::feature::internal
