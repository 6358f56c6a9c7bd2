#include "pit/tile_borders.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "pit/test_random.h"

namespace gnomon::pit {
namespace {

std::string LengthsOf(const TileBorders& borders) {
  std::string lengths;
  borders.AppendLengths(&lengths);
  return lengths;
}

/// `count` events in each interval of 10, the first one from -20 on.
TileBorders Evenly(int64_t num_intervals, size_t count) {
  std::vector<int64_t> times;
  for (int64_t i = 0; i < num_intervals; ++i) times.insert(times.end(), count, 10 * i - 20);
  return TileBorders::OfIntervals(times, 10);
}

std::string Bytes(std::initializer_list<char> lengths) { return std::string(lengths); }

TEST_CASE("a tile takes as many whole intervals as 64 events hold, and cuts one that has more") {
  CHECK(LengthsOf(Evenly(5, 30)) == Bytes({60, 60, 30}));
  CHECK(LengthsOf(Evenly(3, 33)) == Bytes({33, 33, 33}));
  CHECK(LengthsOf(Evenly(3, 64)) == Bytes({64, 64, 64}));
  CHECK(LengthsOf(Evenly(2, 65)) == Bytes({64, 1, 64, 1}));
  CHECK(LengthsOf(Evenly(2, 150)) == Bytes({64, 64, 22, 64, 64, 22}));
  CHECK(LengthsOf(Evenly(0, 1)).empty());
}

TEST_CASE("times before 1970 are in the interval that begins before them") {
  std::vector<int64_t> times(40, -1);
  times.insert(times.end(), 40, 0);
  CHECK(LengthsOf(TileBorders::OfIntervals(times, 100)) == Bytes({40, 40}));
  times.assign(40, INT64_MIN);
  times.insert(times.end(), 40, INT64_MAX);
  CHECK(LengthsOf(TileBorders::OfIntervals(times, INT64_MAX)) == Bytes({40, 40}));
  CHECK(LengthsOf(TileBorders::OfIntervals(times, 1)) == Bytes({40, 40}));
}

TEST_CASE("without an interval tiles have 64 events, and the last one what is left") {
  CHECK(LengthsOf(TileBorders::OfCounts(0)).empty());
  CHECK(LengthsOf(TileBorders::OfCounts(63)) == Bytes({63}));
  CHECK(LengthsOf(TileBorders::OfCounts(64)) == Bytes({64}));
  CHECK(LengthsOf(TileBorders::OfCounts(130)) == Bytes({64, 64, 2}));
}

TEST_CASE("an interval of any length makes at most twice the tiles, and lengths say which") {
  TestRandom random(20240812);
  CAPTURE(random.seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<int64_t> times(static_cast<size_t>(random.Int(0, 900)));
    for (int64_t& time : times) time = random.Int(-5000, 5000);
    std::ranges::sort(times);
    const auto borders = TileBorders::OfIntervals(times, random.Int(1, 1 << random.Int(0, 14)));
    const auto count = static_cast<int64_t>(times.size());
    REQUIRE(borders.num_events() == count);
    CHECK(borders.num_tiles() <= 2 * (count / 65) + 1);
    for (int64_t tile = 0; tile < borders.num_tiles(); ++tile) {
      const int64_t length = borders.end(tile) - borders.begin(tile);
      CHECK((length >= 1 && length <= kTileEvents));
      if (tile > 0) CHECK(borders.end(tile) - borders.begin(tile - 1) > kTileEvents);
      CHECK(borders.TileOf(borders.begin(tile)) == tile);
      CHECK(borders.TileOf(borders.end(tile) - 1) == tile);
    }
    const std::string lengths = LengthsOf(borders);
    const auto read = TileBorders::OfLengths(lengths, count);
    REQUIRE(read.has_value());
    CHECK(LengthsOf(*read) == lengths);
    CHECK_FALSE(TileBorders::OfLengths(lengths, count + 1).has_value());
    if (count > 0) CHECK_FALSE(TileBorders::OfLengths(lengths, count - 1).has_value());
  }
}

TEST_CASE("lengths of no tile are refused") {
  CHECK(TileBorders::OfLengths("", 0).has_value());
  CHECK_FALSE(TileBorders::OfLengths(Bytes({64, 0, 2}), 66).has_value());
  CHECK_FALSE(TileBorders::OfLengths(Bytes({65}), 65).has_value());
  CHECK_FALSE(TileBorders::OfLengths(Bytes({-1}), 255).has_value());
}

}  // namespace
}  // namespace gnomon::pit
