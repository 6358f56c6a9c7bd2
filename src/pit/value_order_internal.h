#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

namespace gnomon::pit {

template <typename Value>
Value Load(const char* bytes) {
  Value value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

/// Events by number in the order of their values. `U` has the number, and in its highest bit
/// whether the value is another than the one before.
template <typename U>
class ValueOrder {
 public:
  static constexpr size_t kBytes = sizeof(U);

  ValueOrder(std::string_view entries, int64_t begin, int64_t end)
      : entries_(entries),
        size_(entries.size() / kBytes),
        begin_(static_cast<U>(begin)),
        count_(static_cast<U>(end - begin)) {}

  /// The event of the range with `k` before it; absent: there are not so many.
  std::optional<int64_t> Kth(int64_t k) const {
    constexpr size_t kBlock = 64;
    size_t i = 0;
    for (; i + kBlock <= size_; i += kBlock) {
      std::array<U, kBlock> block;
      std::memcpy(block.data(), entries_.data() + i * kBytes, sizeof(block));
      U inside = 0;
      for (size_t j = 0; j < kBlock; ++j) inside = static_cast<U>(inside + IsInside(block[j]));
      if (inside > k) break;
      k -= inside;
    }
    for (; i < size_; ++i) {
      if (IsInside(At(i)) != 0 && k-- == 0) return At(i) & kNumber;
    }
    return std::nullopt;
  }

  std::optional<int64_t> Last() const {
    for (size_t i = size_; i > 0; --i) {
      if (IsInside(At(i - 1)) != 0) return At(i - 1) & kNumber;
    }
    return std::nullopt;
  }

  // Whether an event is inside is as good as random here, so nothing branches on it.

  int64_t CountDistinct() const {
    int64_t distinct = 0;
    unsigned seen = 0;
    for (size_t i = 0; i < size_; ++i) {
      const U entry = At(i);
      const unsigned inside = IsInside(entry);
      seen = IsNew(entry) ? 0 : seen;
      distinct += inside & ~seen;
      seen |= inside;
    }
    return distinct;
  }

  /// An event with the value that most of the range have, the smallest of such values.
  std::optional<int64_t> MostFrequent() const {
    uint32_t best = 0;
    uint32_t most = 0;
    uint32_t count = 0;
    for (size_t i = 0; i < size_; ++i) {
      const U entry = At(i);
      count = (IsNew(entry) ? 0 : count) + IsInside(entry);
      best = count > most ? entry & kNumber : best;
      most = std::max(most, count);
    }
    return most > 0 ? std::optional<int64_t>(best) : std::nullopt;
  }

 private:
  static constexpr U kNumber = std::numeric_limits<U>::max() >> 1;

  U At(size_t i) const { return Load<U>(entries_.data() + i * kBytes); }
  static bool IsNew(U entry) { return entry > kNumber; }
  unsigned IsInside(U entry) const {
    return static_cast<U>((entry & kNumber) - begin_) < count_ ? 1 : 0;
  }

  const std::string_view entries_;
  const size_t size_;
  const U begin_;
  const U count_;
};

}  // namespace gnomon::pit
