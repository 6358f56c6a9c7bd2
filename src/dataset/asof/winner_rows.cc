#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/parallel.h"
#include "dataset/asof/matching_internal.h"
#include "dataset/asof/winner_rows_internal.h"

namespace gnomon::dataset::internal {

namespace {

struct Winner {
  uint32_t row;  ///< inside its partition
  uint32_t label;
};

constexpr int kDigitBits = 11;
constexpr size_t kDigits = size_t{1} << kDigitBits;

/// Fewer labels are not worth a task of their own.
constexpr size_t kLeastChunk = 64 * 1024;

/// Stable by the digit of the row at `shift`.
void SortByDigit(int shift, std::span<const Winner> from, std::span<Winner> to) {
  std::array<uint32_t, kDigits> places = {};
  const auto digit = [shift](const Winner& winner) { return winner.row >> shift & (kDigits - 1); };
  for (const Winner& winner : from) ++places[digit(winner)];
  uint32_t before = 0;
  for (uint32_t& place : places) before += std::exchange(place, before);
  for (const Winner& winner : from) to[places[digit(winner)]++] = winner;
}

/// Sorts by row; returns how many rows these are. `scratch` has as many places.
size_t SortByRow(std::span<Winner> winners, std::span<Winner> scratch) {
  uint32_t used_bits = 0;
  for (const Winner& winner : winners) used_bits |= winner.row;
  std::span<Winner> from = winners;
  std::span<Winner> to = scratch;
  for (int shift = 0; shift < static_cast<int>(std::bit_width(used_bits)); shift += kDigitBits) {
    if ((used_bits >> shift & (kDigits - 1)) == 0) continue;
    SortByDigit(shift, from, to);
    std::swap(from, to);
  }
  if (from.data() != winners.data()) std::ranges::copy(from, winners.begin());
  size_t rows = 0;
  for (size_t i = 0; i < winners.size(); ++i)
    rows += i == 0 || winners[i].row != winners[i - 1].row ? 1 : 0;
  return rows;
}

/// First by partition, in chunks of labels side by side, then the rows of each partition.
class WinnerSort {
 public:
  WinnerSort(const Context& context, std::span<const int64_t> winners)
      : context_(context), winners_(winners) {}

  Result<WinnerRows> Run() {
    GNOMON_RETURN_NOT_OK(CountPartitions());
    GNOMON_RETURN_NOT_OK(SplitByPartition());
    return SortPartitions();
  }

 private:
  std::span<const int64_t> Chunk(size_t chunk) const {
    const size_t begin = winners_.size() * chunk / num_chunks_;
    return winners_.subspan(begin, winners_.size() * (chunk + 1) / num_chunks_ - begin);
  }
  std::span<uint32_t> PlacesOf(size_t chunk) {
    return std::span(places_).subspan(chunk * num_partitions_, num_partitions_);
  }
  Status ForChunks(const std::function<void(size_t)>& body) const {
    return ParallelFor(context_, static_cast<int64_t>(num_chunks_), [&](int64_t chunk) {
      body(static_cast<size_t>(chunk));
      return Status::OK();
    });
  }

  Status CountPartitions() {
    const size_t most = std::max<size_t>(1, winners_.size() / kLeastChunk);
    num_chunks_ = std::min(most, static_cast<size_t>(NumThreads()));
    std::vector<int64_t> greatest(num_chunks_, -1);
    GNOMON_RETURN_NOT_OK(ForChunks([&](size_t chunk) {
      for (const int64_t number : Chunk(chunk)) greatest[chunk] = std::max(greatest[chunk], number);
    }));
    const int64_t last = std::ranges::max(greatest);
    num_partitions_ = last < 0 ? 0 : static_cast<size_t>(PartitionOf(last)) + 1;
    places_.assign(num_chunks_ * num_partitions_, 0);
    return ForChunks([&](size_t chunk) {
      const std::span<uint32_t> counts = PlacesOf(chunk);
      for (const int64_t number : Chunk(chunk)) {
        if (number >= 0) ++counts[static_cast<size_t>(PartitionOf(number))];
      }
    });
  }

  Status SplitByPartition() {
    uint32_t before = 0;
    for (size_t partition = 0; partition < num_partitions_; ++partition) {
      const size_t first = before;
      for (size_t chunk = 0; chunk < num_chunks_; ++chunk)
        before += std::exchange(PlacesOf(chunk)[partition], before);
      if (before > first)
        sorted_.parts.push_back({static_cast<int64_t>(partition), first, before - first});
    }
    order_.resize(before);
    return ForChunks([&](size_t chunk) {
      const std::span<uint32_t> places = PlacesOf(chunk);
      const std::span<const int64_t> numbers = Chunk(chunk);
      auto label = static_cast<uint32_t>(numbers.data() - winners_.data());
      for (const int64_t number : numbers) {
        if (number >= 0) {
          order_[places[static_cast<size_t>(PartitionOf(number))]++] = {
              static_cast<uint32_t>(RowOf(number)), label};
        }
        ++label;
      }
    });
  }

  Status ForParts(const std::function<void(size_t)>& body) const {
    return ParallelFor(context_, std::ssize(sorted_.parts), [&](int64_t part) {
      body(static_cast<size_t>(part));
      return Status::OK();
    });
  }

  Result<WinnerRows> SortPartitions() {
    std::vector<WinnerRows::Part>& parts = sorted_.parts;
    std::vector<size_t> num_rows(parts.size());
    std::vector<Winner> scratch(order_.size());
    GNOMON_RETURN_NOT_OK(ForParts([&](size_t i) {
      num_rows[i] = SortByRow(std::span(order_).subspan(parts[i].first, parts[i].count),
                              std::span(scratch).subspan(parts[i].first, parts[i].count));
    }));
    const std::vector<WinnerRows::Part> labels = parts;
    size_t before = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      parts[i].first = before;
      parts[i].count = num_rows[i];
      before += num_rows[i];
    }
    sorted_.rows.resize(before);
    sorted_.ranks.assign(winners_.size(), -1);
    GNOMON_RETURN_NOT_OK(ForParts([&](size_t i) {
      auto rank = static_cast<int64_t>(parts[i].first) - 1;
      int64_t last = -1;
      for (const Winner& winner : std::span(order_).subspan(labels[i].first, labels[i].count)) {
        if (winner.row != last) sorted_.rows[static_cast<size_t>(++rank)] = last = winner.row;
        sorted_.ranks[winner.label] = rank;
      }
    }));
    return std::move(sorted_);
  }

  const Context& context_;
  const std::span<const int64_t> winners_;
  size_t num_chunks_ = 1;
  size_t num_partitions_ = 0;
  std::vector<uint32_t> places_;  ///< [chunk][partition] in order_
  std::vector<Winner> order_;
  WinnerRows sorted_;
};

}  // namespace

Result<WinnerRows> SortWinners(const Context& context, std::span<const int64_t> winners) {
  return WinnerSort(context, winners).Run();
}

}  // namespace gnomon::dataset::internal
