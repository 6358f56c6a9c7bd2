// Rows of a range of time, in columns of every unit and at times that other units cannot hold,
// against arithmetic of 128 bits. A failure prints its seed; GNOMON_TEST_SEED=<seed> runs that case
// alone, GNOMON_TEST_CASES=<n> more of them.
#include <algorithm>
#include <limits>
#include <optional>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/random_test.h"
#include "pit/time_unit.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::dataset {
namespace {

using gnomon::test::RequireOk;
using gnomon::test::TableOf;
using gnomon::test::ValueOf;
using pit::Nanos;
using test::Random;
using Cell = std::optional<int64_t>;

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kGreatest = std::numeric_limits<int64_t>::max();

arrow::TimeUnit::type RandomUnit(Random& random) {
  return random.One<arrow::TimeUnit::type>({arrow::TimeUnit::SECOND, arrow::TimeUnit::MILLI,
                                            arrow::TimeUnit::MICRO, arrow::TimeUnit::NANO});
}

/// Near the bounds, which are near 0, or at the ends of what the units hold.
Cell RandomTime(Random& random) {
  if (random.Chance(0.1)) return std::nullopt;
  if (random.Chance(0.2)) {
    const int64_t edge =
        random.One<int64_t>({kGreatest, kGreatest / 1000, 9'223'372'037, kLeast, kLeast / 1000});
    return random.Chance(0.5) ? edge : edge - (edge > 0 ? random.Int(0, 2) : -random.Int(0, 2));
  }
  return random.Int(-4000, 4000);
}

std::shared_ptr<arrow::Array> ArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                      const std::vector<Cell>& cells) {
  arrow::Int64Builder builder;
  for (const Cell& cell : cells) RequireOk(cell ? builder.Append(*cell) : builder.AppendNull());
  return ValueOf(ValueOf(builder.Finish())->View(type));
}

std::shared_ptr<arrow::Table> RowsOf(const arrow::Table& rows, const std::vector<int64_t>& places) {
  arrow::ChunkedArrayVector columns;
  for (const auto& column : rows.columns()) {
    columns.push_back(
        std::make_shared<arrow::ChunkedArray>(ValueOf(table::Gather(*column, places))));
  }
  return arrow::Table::Make(rows.schema(), columns, static_cast<int64_t>(places.size()));
}

/// The cell as an instant lies within the bounds, in microseconds.
bool IsWithin(const Cell& cell, int64_t unit, const Cell& first, const Cell& last) {
  const Nanos at = static_cast<Nanos>(*cell) * unit;
  return (!first || at >= static_cast<Nanos>(*first) * 1000) &&
         (!last || at <= static_cast<Nanos>(*last) * 1000);
}

int64_t FlooredSaturated(int64_t value, int64_t from, int64_t to) {
  const Nanos nanos = static_cast<Nanos>(value) * from;
  Nanos units = nanos / to;
  if (units * to > nanos) --units;
  return static_cast<int64_t>(std::clamp<Nanos>(units, kLeast, kGreatest));
}

TEST_CASE("a range of time keeps the rows within its bounds, to the nanosecond, in any unit") {
  const uint64_t first_seed = test::FirstSeed();
  const uint64_t cases = test::NumCases(300);
  for (uint64_t seed = first_seed; seed < first_seed + cases; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const auto time = arrow::timestamp(RandomUnit(random));
    const auto made = arrow::timestamp(RandomUnit(random));
    TimeRangeSpec spec{.time = "at", .created = "made"};
    const auto bound = [&]() -> Cell {
      return random.Chance(0.3) ? RandomTime(random) : random.Int(-4, 4);
    };
    spec.first = bound();
    spec.last = bound();
    if (random.Chance(0.6)) spec.created_before = bound();
    if (random.Chance(0.7)) spec.name = "instant";
    spec.unit = RandomUnit(random);
    const auto instant = arrow::timestamp(spec.unit, "UTC");
    std::vector<Cell> times;
    std::vector<Cell> created;
    std::vector<Cell> numbers;
    std::vector<Cell> instants;
    std::vector<int64_t> kept;
    for (int64_t row = 0, rows = random.Int(0, 40); row < rows; ++row) {
      const Cell at = times.emplace_back(RandomTime(random));
      const Cell made_at = created.emplace_back(RandomTime(random));
      numbers.emplace_back(row);
      if (!at || !IsWithin(at, table::UnitNanos(*time), spec.first, spec.last)) continue;
      if (spec.created_before && made_at &&
          !IsWithin(made_at, table::UnitNanos(*made), {}, spec.created_before))
        continue;
      kept.push_back(row);
      instants.push_back(
          FlooredSaturated(*at, table::UnitNanos(*time), table::UnitNanos(*instant)));
    }
    const auto rows = arrow::Table::Make(
        arrow::schema({arrow::field("at", time), arrow::field("made", made),
                       arrow::field("n", arrow::int64())}),
        {ArrayOf(time, times), ArrayOf(made, created), ArrayOf(arrow::int64(), numbers)});
    auto expected = RowsOf(*rows, kept);
    if (!spec.name.empty()) {
      expected = ValueOf(
          expected->AddColumn(3, arrow::field("instant", instant),
                              std::make_shared<arrow::ChunkedArray>(ArrayOf(instant, instants))));
    }
    const ExecutionOptions options{.batch_rows = random.Int(1, 50)};
    const Dataset ranged = Dataset::Of(rows).TimeRange(spec);
    CHECK_TABLE_EQ(ranged.Collect({}, options), expected);
    // Predicates go below, and what nobody reads is not computed.
    const auto numbers_of = [&](const Dataset& dataset) {
      return dataset.Filter("n > 10").Select({"n"}).Collect({}, options);
    };
    CHECK_TABLE_EQ(numbers_of(ranged), ValueOf(numbers_of(Dataset::Of(expected))));
  }
}

TEST_CASE("dates are midnight, and one column may be time and creation") {
  const auto days = TableOf({{"day", arrow::date32()}}, "[[0], [1], [2], [null]]");
  const TimeRangeSpec spec{.time = "day",
                           .first = 1,
                           .created = "day",
                           .created_before = int64_t{86'400'000'000},
                           .name = "at",
                           .unit = arrow::TimeUnit::SECOND};
  CHECK_TABLE_EQ(
      Dataset::Of(days).TimeRange(spec).Collect({}),
      TableOf({{"day", arrow::date32()}, {"at", arrow::timestamp(arrow::TimeUnit::SECOND, "UTC")}},
              "[[1, 86400]]"));
}

TEST_CASE("a range of time names what it cannot be made of") {
  const auto rows = Dataset::Of(TableOf(
      {{"at", arrow::timestamp(arrow::TimeUnit::NANO)}, {"n", arrow::int64()}}, "[[0, 1]]"));
  CHECK_ERROR(rows.TimeRange({.time = "n"}).plan(), ErrorKind::kUser, "'n' is no time");
  CHECK_ERROR(rows.TimeRange({.time = "ta"}).plan(), ErrorKind::kUser, "no such column");
  CHECK_ERROR(rows.TimeRange({.time = "at", .created_before = 1}).plan(), ErrorKind::kUser,
              "names no column");
  CHECK_ERROR(rows.TimeRange({.time = "at", .name = "n"}).plan(), ErrorKind::kUser,
              "such a column already");
}

}  // namespace
}  // namespace gnomon::dataset
