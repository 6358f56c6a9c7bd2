#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

namespace gnomon::pit {

template <typename Value>
Value Load(const char* bytes) {
  Value value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

/// Events by number in the order of their values, those of one value in the order of their numbers.
/// An entry, of 15 bits or of 31, has the number, and in its highest bit whether the value is
/// another than the one before. Answers for one range of events at a time, whose entries are marked
/// in a pass over all; functions of that range then look at 64 marks at once. Not thread-safe.
class ValueOrder {
 public:
  ValueOrder(std::string_view entries, bool is_wide);

  /// What follows is of the events [begin, end). Costs nothing when it is already.
  void Select(int64_t begin, int64_t end);

  /// The event of the range with `k` before it; absent: there are not so many.
  std::optional<int64_t> Kth(int64_t k) const;
  std::optional<int64_t> Last() const;
  int64_t CountDistinct();
  /// An event with the value that most of the range have, the smallest of such values.
  std::optional<int64_t> MostFrequent();

 private:
  int64_t EventAt(size_t entry) const;
  void MarkNew();

  const std::string_view entries_;
  const bool is_wide_;
  int64_t begin_ = 0;
  int64_t end_ = -1;              ///< below 0: nothing is selected
  std::vector<uint64_t> inside_;  ///< by entry, a bit each: is the event one of the range?
  std::vector<uint64_t> new_;     ///< is its value not that of the entry before? Empty: not known
};

}  // namespace gnomon::pit
