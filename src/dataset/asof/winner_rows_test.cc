#include <random>
#include <set>

#include <doctest/doctest.h>

#include "base/parallel.h"
#include "dataset/asof/matching_internal.h"
#include "dataset/asof/winner_rows_internal.h"
#include "tests/support/status.h"

namespace gnomon::dataset::internal {
namespace {

using gnomon::test::ValueOf;

/// Every label's rank names its own row, and the rows are each once, ascending, by partition.
void CheckSorted(const WinnerRows& sorted, const std::vector<int64_t>& winners) {
  std::set<int64_t> expected;
  for (const int64_t winner : winners) {
    if (winner >= 0) expected.insert(winner);
  }
  std::vector<int64_t> numbers;
  for (const WinnerRows::Part& part : sorted.parts) {
    REQUIRE(part.first == numbers.size());
    REQUIRE(part.count > 0);
    for (size_t i = part.first; i < part.first + part.count; ++i)
      numbers.push_back(part.partition << 32 | sorted.rows[i]);
  }
  REQUIRE(numbers == std::vector<int64_t>(expected.begin(), expected.end()));
  REQUIRE(sorted.rows.size() == numbers.size());
  REQUIRE(sorted.ranks.size() == winners.size());
  for (size_t label = 0; label < winners.size(); ++label) {
    const int64_t rank = sorted.ranks[label];
    REQUIRE((rank < 0 ? pit::kNoRow : numbers[static_cast<size_t>(rank)]) == winners[label]);
  }
}

TEST_CASE("winners are sorted, each row once, on any number of threads") {
  std::mt19937_64 random(7);
  const auto below = [&](uint64_t bound) { return static_cast<int64_t>(random() % bound); };
  const struct {
    size_t labels;
    uint64_t partitions;
    uint64_t rows;
  } cases[] = {{0, 1, 1},         {1, 1, 1},
               {1000, 3, 50},     {300'000, 12, 1 << 20},
               {200'000, 1, 100}, {70'000, 5000, uint64_t{1} << 32}};
  for (const auto& [labels, partitions, rows] : cases) {
    CAPTURE(labels);
    std::vector<int64_t> winners(labels);
    for (int64_t& winner : winners)
      winner = random() % 10 == 0 ? pit::kNoRow : (below(partitions) << 32 | below(rows));
    for (const int threads : {1, 2, 5}) {
      SetNumThreads(threads);
      CheckSorted(ValueOf(SortWinners({}, winners)), winners);
    }
  }
  SetNumThreads(0);
}

TEST_CASE("labels without a winner have no rank, and no rows are read") {
  const std::vector<int64_t> winners(100'000, pit::kNoRow);
  const WinnerRows sorted = ValueOf(SortWinners({}, winners));
  CHECK(sorted.parts.empty());
  CHECK(sorted.rows.empty());
  CHECK(sorted.ranks == std::vector<int64_t>(winners.size(), -1));
}

}  // namespace
}  // namespace gnomon::dataset::internal
