#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "pit/value_order_internal.h"

namespace gnomon::pit {
namespace {

constexpr size_t kWord = 64;

template <typename U>
constexpr U kNumber = std::numeric_limits<U>::max() >> 1;

/// The lowest bits of 64 bytes, each 0 or 1.
uint64_t BitsOf(const std::array<uint8_t, kWord>& bytes) {
  uint64_t word = 0;
  for (size_t i = 0; i < kWord / 8; ++i) {
    uint64_t eight = 0;
    std::memcpy(&eight, bytes.data() + 8 * i, sizeof(eight));
    // Byte j comes to bit 56 + j; no two products share a bit.
    word |= (eight * 0x0102040810204080U) >> 56 << (8 * i);
  }
  return word;
}

/// A bit for each entry, 0 after the last one.
template <typename U, typename Predicate>
void Mark(std::string_view entries, const Predicate& predicate, std::vector<uint64_t>* words) {
  const size_t size = entries.size() / sizeof(U);
  words->clear();
  words->reserve((size + kWord - 1) / kWord);
  std::array<U, kWord> block;
  std::array<uint8_t, kWord> bytes;
  for (size_t i = 0; i < size; i += kWord) {
    const size_t count = std::min(kWord, size - i);
    if (count < kWord) block.fill(0);
    std::memcpy(block.data(), entries.data() + i * sizeof(U), count * sizeof(U));
    for (size_t j = 0; j < kWord; ++j) bytes[j] = predicate(block[j]) ? 1 : 0;
    const uint64_t word = BitsOf(bytes);
    words->push_back(count < kWord ? word & ((uint64_t{1} << count) - 1) : word);
  }
}

template <typename U>
void MarkInside(std::string_view entries, int64_t begin, int64_t end,
                std::vector<uint64_t>* words) {
  const auto first = static_cast<U>(begin);
  const auto count = static_cast<U>(end - begin);
  Mark<U>(
      entries, [=](U entry) { return static_cast<U>((entry & kNumber<U>)-first) < count; }, words);
}

/// Bit i: that of entry i - 1; `last` is the one before the word's first.
uint64_t Before(uint64_t word, uint64_t last) { return word << 1 | last; }

}  // namespace

ValueOrder::ValueOrder(std::string_view entries, bool is_wide)
    : entries_(entries), is_wide_(is_wide) {}

void ValueOrder::Select(int64_t begin, int64_t end) {
  if (begin == begin_ && end == end_) return;
  begin_ = begin;
  end_ = end;
  if (is_wide_) {
    MarkInside<uint32_t>(entries_, begin, end, &inside_);
  } else {
    MarkInside<uint16_t>(entries_, begin, end, &inside_);
  }
}

void ValueOrder::MarkNew() {
  if (!new_.empty()) return;
  const auto is_new = [](auto entry) { return entry > kNumber<decltype(entry)>; };
  if (is_wide_) {
    Mark<uint32_t>(entries_, is_new, &new_);
  } else {
    Mark<uint16_t>(entries_, is_new, &new_);
  }
}

int64_t ValueOrder::EventAt(size_t entry) const {
  if (is_wide_) return Load<uint32_t>(entries_.data() + entry * 4) & kNumber<uint32_t>;
  return Load<uint16_t>(entries_.data() + entry * 2) & kNumber<uint16_t>;
}

std::optional<int64_t> ValueOrder::Kth(int64_t k) const {
  for (size_t i = 0; i < inside_.size(); ++i) {
    uint64_t word = inside_[i];
    const int64_t count = std::popcount(word);
    if (count <= k) {
      k -= count;
      continue;
    }
    for (; k > 0; --k) word &= word - 1;
    return EventAt(i * kWord + static_cast<size_t>(std::countr_zero(word)));
  }
  return std::nullopt;
}

std::optional<int64_t> ValueOrder::Last() const {
  for (size_t i = inside_.size(); i > 0; --i) {
    const uint64_t word = inside_[i - 1];
    if (word != 0) return EventAt(i * kWord - 1 - static_cast<size_t>(std::countl_zero(word)));
  }
  return std::nullopt;
}

// The entries of a value are in the order of their events, so those inside a range are side by
// side: the first of them is new, or the entry before it is outside.

int64_t ValueOrder::CountDistinct() {
  MarkNew();
  int64_t distinct = 0;
  uint64_t last = 0;
  for (size_t i = 0; i < inside_.size(); ++i) {
    const uint64_t inside = inside_[i];
    distinct += std::popcount(inside & (new_[i] | ~Before(inside, last)));
    last = inside >> (kWord - 1);
  }
  return distinct;
}

std::optional<int64_t> ValueOrder::MostFrequent() {
  MarkNew();
  int64_t most = 0;  // how many entries follow one of their value; a run of bits
  int64_t run = 0;
  std::optional<size_t> best;
  uint64_t last = 0;
  for (size_t i = 0; i < inside_.size(); ++i) {
    const uint64_t inside = inside_[i];
    uint64_t follows = inside & ~new_[i] & Before(inside, last);
    last = inside >> (kWord - 1);
    if ((follows & 1) == 0) run = 0;
    for (size_t place = 0; follows != 0; run = 0) {
      const auto zeros = static_cast<size_t>(std::countr_zero(follows));
      const auto ones = static_cast<size_t>(std::countr_one(follows >> zeros));
      place += zeros + ones;
      run += static_cast<int64_t>(ones);
      if (run > most) {
        most = run;
        best = i * kWord + place - 1;
      }
      if (place == kWord) break;  // it may go on in the next word
      follows = follows >> zeros >> ones;
    }
  }
  return best ? EventAt(*best) : Kth(0);
}

}  // namespace gnomon::pit
