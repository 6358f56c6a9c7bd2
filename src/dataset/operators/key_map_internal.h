#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gnomon::dataset::internal {

/// Byte strings to dense ids 0, 1, 2, ... in order of first insertion. Open addressing, at most
/// half full. Find may run on many threads.
class KeyMap {
 public:
  static constexpr int32_t kAbsent = -1;

  KeyMap() : slots_(kFirstSlots, kAbsent) {}

  int64_t size() const { return static_cast<int64_t>(hashes_.size()); }

  int32_t Find(std::string_view key, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    for (size_t i = Place(hash);; i = (i + 1) & mask) {
      const int32_t id = slots_[i];
      if (id == kAbsent || Matches(static_cast<size_t>(id), key, hash)) return id;
    }
  }

  /// REQUIRES: Find says kAbsent.
  int32_t Insert(std::string_view key, uint64_t hash) {
    if (2 * (hashes_.size() + 1) > slots_.size()) Grow();
    const auto id = static_cast<int32_t>(hashes_.size());
    bytes_.append(key);
    ends_.push_back(bytes_.size());
    hashes_.push_back(hash);
    Fill(id, hash);
    return id;
  }

  /// Bytes that one more key takes, its share of the slots included.
  static int64_t BytesOf(std::string_view key) {
    constexpr int64_t kPerKey = 2 * sizeof(uint64_t) + 4 * sizeof(int32_t);
    return static_cast<int64_t>(key.size()) + kPerKey;
  }

 private:
  static constexpr size_t kFirstSlots = 64;

  /// Bits that neither shards (low) nor partitions (high) are made of.
  size_t Place(uint64_t hash) const { return (hash >> 20) & (slots_.size() - 1); }

  bool Matches(size_t id, std::string_view key, uint64_t hash) const {
    if (hashes_[id] != hash) return false;
    const size_t begin = id == 0 ? 0 : ends_[id - 1];
    return std::string_view(bytes_).substr(begin, ends_[id] - begin) == key;
  }

  void Fill(int32_t id, uint64_t hash) {
    const size_t mask = slots_.size() - 1;
    size_t i = Place(hash);
    while (slots_[i] != kAbsent) i = (i + 1) & mask;
    slots_[i] = id;
  }

  void Grow() {
    slots_.assign(2 * slots_.size(), kAbsent);
    for (size_t id = 0; id < hashes_.size(); ++id) Fill(static_cast<int32_t>(id), hashes_[id]);
  }

  std::string bytes_;
  std::vector<size_t> ends_;
  std::vector<uint64_t> hashes_;
  std::vector<int32_t> slots_;
};

}  // namespace gnomon::dataset::internal
