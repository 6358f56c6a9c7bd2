#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "dataset/asof/matching_internal.h"
#include "dataset/asof/winner_rows_internal.h"

namespace gnomon::dataset::internal {

namespace {

struct Winner {
  int64_t number;
  uint32_t label;
};

constexpr int kDigitBits = 11;
constexpr size_t kDigits = size_t{1} << kDigitBits;

/// Stable by the digit of the number at `shift`.
void SortByDigit(int shift, const std::vector<Winner>& from, std::vector<Winner>* to) {
  std::array<uint32_t, kDigits> places = {};
  const auto digit = [shift](const Winner& winner) {
    return static_cast<size_t>(winner.number >> shift) & (kDigits - 1);
  };
  for (const Winner& winner : from) ++places[digit(winner)];
  uint32_t before = 0;
  for (uint32_t& place : places) before += std::exchange(place, before);
  for (const Winner& winner : from) (*to)[places[digit(winner)]++] = winner;
}

}  // namespace

WinnerRows SortWinners(std::span<const int64_t> winners) {
  WinnerRows sorted;
  sorted.ranks.assign(winners.size(), -1);
  std::vector<Winner> order;
  order.reserve(winners.size() - static_cast<size_t>(std::ranges::count(winners, pit::kNoRow)));
  uint64_t used_bits = 0;
  for (size_t label = 0; label < winners.size(); ++label) {
    if (winners[label] < 0) continue;
    order.push_back({winners[label], static_cast<uint32_t>(label)});
    used_bits |= static_cast<uint64_t>(winners[label]);
  }
  std::vector<Winner> other(order.size());
  for (int shift = 0; shift < static_cast<int>(std::bit_width(used_bits)); shift += kDigitBits) {
    if ((used_bits >> shift & (kDigits - 1)) == 0) continue;
    SortByDigit(shift, order, &other);
    std::swap(order, other);
  }
  int64_t last = -1;
  for (const Winner& winner : order) {
    if (winner.number != last) {
      const int64_t partition = PartitionOf(winner.number);
      if (sorted.parts.empty() || sorted.parts.back().partition != partition)
        sorted.parts.push_back({partition, sorted.rows.size(), 0});
      sorted.rows.push_back(RowOf(winner.number));
      ++sorted.parts.back().count;
      last = winner.number;
    }
    sorted.ranks[winner.label] = static_cast<int64_t>(sorted.rows.size()) - 1;
  }
  return sorted;
}

}  // namespace gnomon::dataset::internal
