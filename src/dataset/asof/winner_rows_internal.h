#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::dataset::internal {

/// The rows that a block of labels won, each once, ascending: what a late gather reads. Winners are
/// numbered as in matching_internal.h.
struct WinnerRows {
  struct Part {
    int64_t partition;
    size_t first;  ///< in `rows`
    size_t count;
  };
  std::vector<int64_t> rows;   ///< inside their partitions
  std::vector<Part> parts;     ///< partitions that have winners, ascending
  std::vector<int64_t> ranks;  ///< of each label: its row's place in `rows`, or -1
};

/// A radix sort of the winners, side by side on all threads: O(labels + partitions).
Result<WinnerRows> SortWinners(const Context& context, std::span<const int64_t> winners);

}  // namespace gnomon::dataset::internal
