#include <array>
#include <cstdlib>
#include <cstring>
#include <random>

#include <arrow/array.h>
#include <doctest/doctest.h>

#include "feature/definition/definition.h"
#include "feature/online/event_lists_internal.h"
#include "feature/online/window_rows_fixture_internal.h"
#include "feature/online/window_tiles.h"
#include "tests/support/status.h"

namespace gnomon::feature {
namespace {

using internal::AddAggregation;
using internal::AllFunctions;
using internal::EventLists;
using internal::RandomEvents;
using internal::WindowEvents;
using internal::WindowRows;
using test::ValueOf;
using enum pit::AggregateFunction;

/// How the tiles of stored rows end.
struct Ends {
  int64_t between = 0;  ///< where an interval does, with another after it
  int64_t within = 0;   ///< inside one that has too many events for a tile
};

/// Looks at the stored rows themselves: their tiles end between intervals wherever they can, have
/// at most 64 events, and are not more than twice as many as tiles of 64 events.
Ends CheckTilesOf(const arrow::RecordBatch& rows, int64_t interval) {
  const auto interval_of = [interval](int64_t time) {
    const int64_t inside = (time % interval + interval) % interval;
    return (time - inside) / interval;
  };
  const EventLists times(rows.GetColumnByName("__event_timestamps"));
  const EventLists tiles(rows.GetColumnByName("__tiles"));
  const auto& parts = static_cast<const arrow::BinaryArray&>(*tiles.values());
  Ends ends;
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    const int64_t count = times.length(row);
    if (count < kFewestTiledEvents) {
      CHECK(tiles.length(row) == 0);
      continue;
    }
    REQUIRE(parts.GetView(tiles.begin(row)) == "lengths");
    for (int64_t part = tiles.begin(row) + 2; part < tiles.end(row); part += 2) {
      const std::string_view name = parts.GetView(part);
      CHECK((name.starts_with("interval ") || name.starts_with("order ")));
    }
    const std::string_view lengths = parts.GetView(tiles.begin(row) + 1);
    CHECK(static_cast<int64_t>(lengths.size()) <= 2 * (count / 65) + 1);
    int64_t begin = 0;
    for (const char byte : lengths) {
      const int64_t length = static_cast<unsigned char>(byte);
      REQUIRE(length >= 1);
      REQUIRE(length <= 64);
      const int64_t end = begin + length;
      REQUIRE(end <= count);
      const int64_t last = interval_of(times.TimeAt(row, end - 1));
      if (end < count && interval_of(times.TimeAt(row, end)) != last) {
        ++ends.between;
      } else if (end < count) {
        CHECK(length == 64);
        CHECK(interval_of(times.TimeAt(row, begin)) == last);
        ++ends.within;
      }
      begin = end;
    }
    CHECK(begin == count);
  }
  return ends;
}

/// From one event an interval to all of them in one.
int64_t RandomInterval(std::mt19937* random) {
  const uint32_t size = (*random)() % 8;
  if (size == 0) return 1;
  if (size == 7) return 1'000'000'000'000'000;
  return 1 + static_cast<int64_t>((*random)() % (uint32_t{1} << (2 * size)));
}

TEST_CASE("whatever the slide_interval, changed at any time, values are the offline ones") {
  const uint32_t seed = 20240811;
  CAPTURE(seed);
  std::mt19937 random(seed);
  const auto below = [&](uint32_t bound) { return static_cast<int64_t>(random() % bound); };
  Ends ends;
  const auto check_tiles = [&](const WindowRows& rows, std::optional<int64_t> interval) {
    if (!interval) return;
    const Ends found = CheckTilesOf(*rows.stored(), *interval);
    ends.between += found.between;
    ends.within += found.within;
  };
  for (int round = 0; round < 8; ++round) {
    CAPTURE(round);
    const std::array<int64_t, 2> windows = {1 + below(2000), 1 + below(4000)};
    WindowRows rows(AllFunctions(windows), 4);
    std::optional<int64_t> interval = RandomInterval(&random);
    rows.SlideBy(interval);
    // A short span has many events at one time; most have times before 1970 among them.
    const int64_t from = -below(4000);
    int64_t newest = from + 1 + below(round % 2 == 0 ? 100 : 3000);
    WindowEvents events = RandomEvents(&random, 4, 300 + below(900), from, newest);
    rows.Materialize(events);
    check_tiles(rows, interval);
    for (const int64_t as_of : {from - 1, from, from + below(2000), newest, newest + below(4000)})
      rows.CheckAsOffline(events, as_of, internal::kAnyTime);
    int64_t oldest = internal::kAnyTime;
    for (int push = 0; push < 3; ++push) {
      CAPTURE(push);
      interval = push == 1 ? std::nullopt : std::optional(RandomInterval(&random));
      rows.SlideBy(interval);
      // Rows of the old interval under a definition with the new one.
      rows.CheckAsOffline(events, newest + below(500), oldest);
      WindowEvents pushed = RandomEvents(&random, 4, 60, newest - 1500, newest + 1);
      Append(RandomEvents(&random, 4, 90, newest, newest + 200), &pushed);
      newest += 200;
      oldest = newest - std::max(windows[0], windows[1]);
      rows.Push(pushed);
      check_tiles(rows, interval);
      Append(pushed, &events);
      for (const int64_t later : {-below(250), int64_t{0}, below(4000), int64_t{1'000'000'000}})
        rows.CheckAsOffline(events, newest + later, oldest);
    }
  }
  CHECK(ends.between > 100);
  CHECK(ends.within > 100);
}

TEST_CASE("a store holds rows of several intervals, and of none, beside each other") {
  std::mt19937 random(29);
  const std::array<int64_t, 2> windows = {333, 1900};
  WindowRows rows(AllFunctions(windows), 6);
  const WindowEvents events = RandomEvents(&random, 6, 1500, -1000, 1000);
  std::vector<std::string> mixed;
  for (const std::optional<int64_t> interval :
       {std::optional<int64_t>(), std::optional<int64_t>(1), std::optional<int64_t>(60),
        std::optional<int64_t>(700), std::optional<int64_t>(), std::optional<int64_t>(5)}) {
    rows.SlideBy(interval);
    rows.Materialize(events);
    const std::vector<std::string> bytes = rows.Bytes(true);
    CHECK(bytes != mixed);
    mixed.push_back(bytes[mixed.size()]);
  }
  for (const int64_t as_of : {-1001, -400, 0, 60, 999, 1333, 5000}) {
    int64_t decoded = 0;
    const auto values = ValueOf(rows.Read(mixed, true, as_of, &decoded));
    CHECK(decoded == 6 - rows.NumTiled());
    rows.CheckValues(events, as_of, internal::kAnyTime, values);
  }
}

TEST_CASE("a read takes whole tiles: their states, not their events, are what is added") {
  std::mt19937 random(31);
  FeatureView view;
  view.name = "v";
  AddAggregation(&view, "i", {ValueType::kInt64}, kSum, 1000);
  WindowRows rows(view, 3);
  rows.SlideBy(100);
  const WindowEvents events = RandomEvents(&random, 3, 600, 0, 2000);
  rows.Materialize(events);
  CheckTilesOf(*rows.stored(), 100);
  std::string row = rows.Bytes(true)[1];
  const std::string name = "interval sums int64 i";
  const size_t part = row.rfind(name) + name.size();
  const size_t lengths = row.rfind("lengths") + std::string_view("lengths").size();
  uint32_t num_tiles = 0;
  std::memcpy(&num_tiles, row.data() + lengths, sizeof(num_tiles));
  // The last tile's sum of 16 bytes ends the row.
  const size_t last = part + sizeof(uint32_t) * (1 + num_tiles) + size_t{16} * (num_tiles - 1);
  REQUIRE(last + 16 == row.size());
  const auto sum_at = [&](int64_t as_of) {
    const auto values = ValueOf(rows.Read({row}, true, as_of));
    return static_cast<const arrow::Int64Array&>(*values.columns[0]).Value(0);
  };
  const int64_t before = sum_at(2000);
  const int64_t inside = sum_at(1950);
  row[last] = static_cast<char>(row[last] ^ 1);
  CHECK(std::abs(sum_at(2000) - before) == 1);
  CHECK(sum_at(1950) == inside);  // this one cuts the last tile
}

TEST_CASE("tiles follow the shortest slide_interval of the windows that are not folded") {
  FeatureView view;
  view.name = "v";
  AddAggregation(&view, "i", {ValueType::kInt64}, kSum, 1000);
  CHECK_FALSE(TileIntervalOf(view).has_value());
  view.aggregations.back().slide_interval = 300;
  AddAggregation(&view, "i", {ValueType::kInt64}, kMax, 1000);
  view.aggregations.back().slide_interval = 200;
  AddAggregation(&view, "i", {ValueType::kInt64}, kMin, std::nullopt);
  view.aggregations.back().slide_interval = 100;
  CHECK(TileIntervalOf(view) == 200);
  // With an aggregate of a plug-in nothing is folded.
  AddAggregation(&view, "i", {ValueType::kInt64}, kSum, std::nullopt);
  view.aggregations.back().function = kCustom;
  CHECK(TileIntervalOf(view) == 100);
}

}  // namespace
}  // namespace gnomon::feature
