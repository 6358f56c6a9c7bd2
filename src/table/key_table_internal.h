#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The tables of KeyIndex: from a key to a dense id.
namespace gnomon::table::internal {

inline constexpr int64_t kMaxKeys = std::numeric_limits<int32_t>::max();
inline constexpr int32_t kNoKey = -2;
/// What Insert gives when the table holds kMaxKeys.
inline constexpr int32_t kFull = -3;
inline constexpr int kFirstTableBits = 10;

inline uint64_t MixBits(uint64_t value) {
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93ULL;
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93ULL;
  return value;
}

template <size_t kNumWords>
struct WordKey {
  std::array<uint64_t, kNumWords> words;
  uint32_t tag = 0;

  uint64_t Hash() const {
    uint64_t hash = MixBits(words[0] + tag * 0x9e3779b97f4a7c15ULL);
    for (size_t i = 1; i < kNumWords; ++i) hash = MixBits(hash + words[i]);
    return hash;
  }
};

/// Open addressing with linear probing, at most half full. A slot's place is the top bits of the
/// hash, so that growing walks the old and the new memory in order. `Store` holds the keys:
/// Matches(slot, key, hash), Add(key, hash, id), HashOf(slot), kept apart so that words lie in the
/// slots and bytes in an arena.
template <typename Store>
class KeyTable {
 public:
  using Key = typename Store::Key;
  using Slot = typename Store::Slot;

  KeyTable() { Allocate(kFirstTableBits); }

  int64_t size() const { return size_; }
  int64_t num_bytes() const {
    return static_cast<int64_t>(slots_.size() * sizeof(Slot)) + store_.num_bytes();
  }
  /// Of `keys` new keys with so many bytes: the new memory that stands beside the old one while
  /// this grows.
  int64_t BytesToAdd(int64_t keys, int64_t key_bytes) const {
    uint64_t slots = slots_.size();
    while (static_cast<uint64_t>(size_ + keys) * 2 > slots - 1) slots *= 2;
    const int64_t grown = slots == slots_.size() ? 0 : static_cast<int64_t>(slots * sizeof(Slot));
    return grown + store_.BytesToAdd(keys, key_bytes);
  }
  void Prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[hash >> shift_]); }

  int32_t Find(const Key& key, uint64_t hash) const {
    for (uint64_t i = hash >> shift_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) return kNoKey;
      if (store_.Matches(slot, key, hash)) return slot.id;
    }
  }

  int32_t Insert(const Key& key, uint64_t hash) {
    uint64_t i = hash >> shift_;
    for (;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) break;
      if (store_.Matches(slot, key, hash)) return slot.id;
    }
    if (size_ == kMaxKeys) return kFull;
    const auto id = static_cast<int32_t>(size_);
    slots_[i] = store_.Add(key, hash, id);
    ++size_;
    if (static_cast<uint64_t>(size_) * 2 > mask_) Grow();
    return id;
  }

 private:
  void Allocate(int bits) {
    slots_.assign(size_t{1} << bits, Slot{});
    mask_ = slots_.size() - 1;
    shift_ = 64 - bits;
  }

  void Grow() {
    const std::vector<Slot> old = std::move(slots_);
    Allocate(64 - shift_ + 1);
    for (const Slot& slot : old) {
      if (slot.id < 0) continue;
      uint64_t i = store_.HashOf(slot) >> shift_;
      while (slots_[i].id >= 0) i = (i + 1) & mask_;
      slots_[i] = slot;
    }
  }

  Store store_;
  std::vector<Slot> slots_;
  uint64_t mask_ = 0;
  int shift_ = 0;
  int64_t size_ = 0;
};

template <size_t kNumWords>
struct WordStore {
  using Key = WordKey<kNumWords>;
  struct Slot {
    std::array<uint64_t, kNumWords> words = {};
    uint32_t tag = 0;
    int32_t id = -1;
  };

  bool Matches(const Slot& slot, const Key& key, uint64_t /*hash*/) const {
    // Word by word: comparing the arrays calls memcmp, which costs more than the rest of a probe.
    bool same = slot.tag == key.tag;
    for (size_t i = 0; i < kNumWords; ++i) same = same && slot.words[i] == key.words[i];
    return same;
  }
  Slot Add(const Key& key, uint64_t /*hash*/, int32_t id) const { return {key.words, key.tag, id}; }
  uint64_t HashOf(const Slot& slot) const { return Key{slot.words, slot.tag}.Hash(); }
  int64_t num_bytes() const { return 0; }
  int64_t BytesToAdd(int64_t /*keys*/, int64_t /*key_bytes*/) const { return 0; }
};

class BytesStore {
 public:
  using Key = std::string_view;
  struct Slot {
    uint32_t check = 0;  ///< low bits of the hash
    int32_t id = -1;
  };

  bool Matches(const Slot& slot, std::string_view key, uint64_t hash) const {
    if (slot.check != static_cast<uint32_t>(hash)) return false;
    const auto id = static_cast<size_t>(slot.id);
    return std::string_view(arena_).substr(starts_[id], starts_[id + 1] - starts_[id]) == key;
  }
  Slot Add(std::string_view key, uint64_t hash, int32_t id) {
    arena_.append(key);
    starts_.push_back(arena_.size());
    hashes_.push_back(hash);
    return {static_cast<uint32_t>(hash), id};
  }
  uint64_t HashOf(const Slot& slot) const { return hashes_[static_cast<size_t>(slot.id)]; }
  int64_t num_bytes() const {
    return static_cast<int64_t>(arena_.capacity() + starts_.capacity() * sizeof(size_t) +
                                hashes_.capacity() * sizeof(uint64_t));
  }
  int64_t BytesToAdd(int64_t keys, int64_t key_bytes) const {
    return Grown(arena_, key_bytes) + Grown(starts_, keys) + Grown(hashes_, keys);
  }

 private:
  /// Bytes of a new buffer, when `more` elements do not fit the present one.
  template <typename Buffer>
  static int64_t Grown(const Buffer& buffer, int64_t more) {
    const size_t needed = buffer.size() + static_cast<size_t>(more);
    if (needed <= buffer.capacity()) return 0;
    return static_cast<int64_t>(std::max(needed, 2 * buffer.capacity()) *
                                sizeof(typename Buffer::value_type));
  }

  std::string arena_;
  std::vector<size_t> starts_ = {0};
  std::vector<uint64_t> hashes_;
};

}  // namespace gnomon::table::internal
