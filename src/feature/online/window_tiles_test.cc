#include "feature/online/window_tiles.h"

#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "feature/definition/definition.h"
#include "feature/online/cached_store.h"
#include "feature/online/window_rows_fixture_internal.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using internal::AddAggregation;
using internal::AllFunctions;
using internal::kAnyTime;
using internal::RandomEvents;
using internal::WindowEvents;
using internal::WindowRows;
using test::ValueOf;
using enum pit::AggregateFunction;

constexpr int64_t kWindows[] = {300, 1700};

TEST_CASE("tiles give the offline bits of every function and type, at any time and after pushes") {
  const uint32_t seed = 20240703;
  CAPTURE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 4; ++round) {
    CAPTURE(round);
    WindowRows rows(AllFunctions(kWindows), 4);
    WindowEvents events = RandomEvents(&random, 4, 1200, 0, 2000);
    rows.Materialize(events);
    for (const int64_t as_of : {-5, 0, 299, 300, 1000, 1999, 2000, 2400, 3699, 3700, 9000})
      rows.CheckAsOffline(events, as_of, kAnyTime);
    int64_t newest = 2000;
    for (int push = 0; push < 3; ++push) {
      CAPTURE(push);
      // Late ones between those that are stored, then new ones; the oldest are dropped.
      WindowEvents pushed = RandomEvents(&random, 4, 60, newest - 1500, newest);
      Append(RandomEvents(&random, 4, 90, newest, newest + 200), &pushed);
      newest += 200;
      rows.Push(pushed);
      Append(pushed, &events);
      for (const int64_t later : {-250, -1, 0, 1, 299, 1000, 5000})
        rows.CheckAsOffline(events, newest + later, newest - 1700);
    }
  }
}

TEST_CASE("finite windows beside lifetime ones are read from tiles too, and folded ones are not") {
  std::mt19937 random(11);
  FeatureView view;
  view.name = "v";
  for (const auto function : {kSum, kStd, kMax, kMedian, kCount})
    AddAggregation(&view, "d", {ValueType::kDouble}, function, 1700);
  FeatureView both = view;
  AddAggregation(&both, "d", {ValueType::kDouble}, kSum, std::nullopt);
  AddAggregation(&both, "s", {ValueType::kString}, kMin, std::nullopt);
  const WindowEvents events = RandomEvents(&random, 4, 3000, 0, 6000);
  std::optional<int64_t> interval;
  SUBCASE("tiles of 64 events") {}
  SUBCASE("tiles of intervals") { interval = 40; }
  WindowRows finite(view, 4);
  finite.SlideBy(interval);
  finite.Materialize(events);
  finite.CheckAsOffline(events, 6500, kAnyTime);
  WindowRows with_lifetime(both, 4);
  with_lifetime.SlideBy(interval);
  with_lifetime.Materialize(events);
  int64_t decoded = 0;
  const auto values = ValueOf(with_lifetime.Read(with_lifetime.Bytes(true), true, 6500, &decoded));
  CHECK(decoded == 4);
  const auto expected = ValueOf(finite.Read(finite.Bytes(true), true, 6500));
  WindowRows of_finite(both, 4, view.aggregations.size());
  of_finite.SlideBy(interval);
  of_finite.Materialize(events);
  const auto alone = ValueOf(of_finite.Read(of_finite.Bytes(true), true, 6500, &decoded));
  CHECK(decoded == 2);
  CHECK_ERROR(of_finite.Read(of_finite.Bytes(true), true, 5000), ErrorKind::kUser,
              "cannot be read as of");
  for (size_t i = 0; i < view.aggregations.size(); ++i) {
    const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
    CHECK(values.columns[i]->Equals(*expected.columns[i], options));
    CHECK(alone.columns[i]->Equals(*expected.columns[i], options));
  }
}

TEST_CASE("a store, and a cache before it, let rows be read where they lie") {
  std::mt19937 random(17);
  WindowRows rows(AllFunctions(kWindows), 4);
  rows.Materialize(RandomEvents(&random, 4, 900, 0, 2000));
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  auto store = ValueOf(OpenOnlineStore({.type = "sqlite", .path = folder.path() + "/online.db"}));
  CHECK_OK(store->Prepare({}, std::vector<OnlineTable>{rows.table()}));
  const std::vector<std::string_view> keys = {"a", "b", "c", "d"};
  const std::vector<int64_t> times = {1, 1, 1, 1};
  auto writer = ValueOf(store->BeginWrite({}, rows.table()));
  CHECK_OK(writer->Write({}, {keys, times, times, rows.stored()}));
  CHECK_OK(writer->Commit({}));
  store = CacheOnlineStore(std::move(store), {.size_bytes = 1 << 24, .ttl = 1'000'000'000'000});
  const auto expected = ValueOf(rows.Read(rows.Bytes(true), true, 2100));
  // From the store, from the cache; one key is not stored.
  for (int i = 0; i < 2; ++i) {
    internal::TiledRows tiled(rows.reader(), 2100);
    const OnlineRead read{.table = &rows.table(),
                          .keys = {"c", "nobody", "b"},
                          .fields = rows.reader().fields(),
                          .packed = &tiled};
    const auto stored = ValueOf(store->Read({}, std::vector<OnlineRead>{read}));
    CHECK(stored[0].columns[0]->null_count() == 3);
    const auto values = ValueOf(rows.reader().Evaluate({}, stored[0], 2100, &tiled));
    CHECK(values.found == std::vector<bool>{true, false, true});
    for (size_t feature = 0; feature < values.columns.size(); ++feature) {
      const auto& column = *values.columns[feature];
      const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
      CHECK(expected.columns[feature]->RangeEquals(2, 3, 0, column, options));
      CHECK(expected.columns[feature]->RangeEquals(1, 2, 2, column, options));
      // What an entity without events has.
      CHECK(expected.columns[feature]->RangeEquals(3, 4, 1, column, options));
    }
  }
}

TEST_CASE("more events than 15 bits number are counted by value") {
  std::mt19937 random(3);
  FeatureView view;
  view.name = "v";
  for (const auto function : {kMedian, kQuantile, kCountDistinct, kMostFrequent}) {
    for (const int64_t window : {500, 100'000})
      AddAggregation(&view, "i", {ValueType::kInt64}, function, window);
  }
  WindowRows rows(view, 3);
  const WindowEvents events = RandomEvents(&random, 3, 35'000, 0, 90'000);
  rows.Materialize(events);
  for (const int64_t as_of : {700, 45'000, 90'000}) rows.CheckAsOffline(events, as_of, kAnyTime);
}

TEST_CASE("damaged rows are errors or other numbers, and nothing worse") {
  std::mt19937 random(5);
  WindowRows rows(AllFunctions(kWindows), 4);
  SUBCASE("tiles of 64 events") {}
  SUBCASE("tiles of intervals") { rows.SlideBy(50); }
  rows.Materialize(RandomEvents(&random, 4, 700, 0, 2000));
  const std::vector<std::string> whole = rows.Bytes(true);
  CHECK_OK(rows.Read(whole, true, 2000));
  int errors = 0;
  for (int i = 0; i < 400; ++i) {
    std::string row = whole[1];
    if (i % 4 == 0) {
      row.resize(random() % row.size());
    } else {
      // Most of a row are values; its end has the tiles.
      const size_t reach = i % 2 == 0 ? row.size() : row.size() / 3;
      row[row.size() - 1 - random() % reach] = static_cast<char>(random());
    }
    const auto read = rows.Read({row}, true, 1900);
    if (read.ok()) continue;
    ++errors;
    CHECK((KindOf(read.status()) == ErrorKind::kDataLoss ||
           KindOf(read.status()) == ErrorKind::kUser));
  }
  CHECK(errors > 50);
}

std::string HexOf(std::string_view bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    hex += kDigits[static_cast<unsigned char>(byte) >> 4];
    hex += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return hex;
}

std::string BytesOf(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

TEST_CASE("the golden rows with tiles and without are read, and those with tiles are written") {
  FeatureView view;
  view.name = "v";
  for (const auto function : {kSum, kMax, kMedian})
    AddAggregation(&view, "i", {ValueType::kInt64}, function, 200);
  WindowRows rows(view, 1);
  arrow::Int64Builder times;
  arrow::Int64Builder i;
  for (int64_t event = 0; event < kFewestTiledEvents + 2; ++event) {
    CHECK_OK(times.Append(event));
    CHECK_OK(i.Append(event % 10));
  }
  WindowEvents events{.ids = std::vector<int32_t>(kFewestTiledEvents + 2, 0), .rows = {}};
  const auto values = ValueOf(i.Finish());
  events.rows = arrow::RecordBatch::Make(
      arrow::schema({arrow::field(std::string(kEventTimes), arrow::int64()),
                     arrow::field("i", arrow::int64())}),
      kFewestTiledEvents + 2, arrow::ArrayVector{ValueOf(times.Finish()), values});
  rows.Materialize(events);
  const std::vector<std::string> golden =
      Split(ValueOf(ReadFile("tests/golden/window_rows.hex")), '\n');
  CHECK(HexOf(rows.Bytes(false)[0]) == golden[0]);
  CHECK(HexOf(rows.Bytes(true)[0]) == golden[1]);
  rows.SlideBy(50);
  rows.Materialize(events);
  CHECK(HexOf(rows.Bytes(true)[0]) == golden[2]);
  for (size_t line = 0; line < 3; ++line) {
    const auto read = ValueOf(rows.Read({BytesOf(golden[line])}, line > 0, 301));
    // Events 102 to 129: 2 to 9 twice over, 0 and 1 between.
    CHECK(ValueOf(read.columns[0]->GetScalar(0))->ToString() == "134");
    CHECK(ValueOf(read.columns[1]->GetScalar(0))->ToString() == "9");
    CHECK(ValueOf(read.columns[2]->GetScalar(0))->ToString() == "5");
  }
}

}  // namespace
}  // namespace gnomon::feature
