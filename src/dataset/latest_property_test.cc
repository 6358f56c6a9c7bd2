#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <tuple>

#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/random_test.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

/// The newest row of every key against a loop over all rows, with random units, batches and memory.
/// A failure prints its seed; GNOMON_TEST_SEED=<seed> runs that case alone, GNOMON_TEST_CASES=<n>
/// more of them.
namespace gnomon::dataset {

namespace {

using gnomon::test::RequireOk;
using gnomon::test::TableDifference;
using gnomon::test::ValueOf;
using Cell = std::optional<int64_t>;

constexpr int64_t kMicros = 1000;  ///< nanoseconds

/// Times are nanoseconds; the column `name` says which row it is.
struct Event {
  Cell key;
  Cell other_key;
  Cell at;
  Cell made;
  Cell number;
  std::string name;
};

struct Case {
  LatestSpec spec;
  std::shared_ptr<arrow::DataType> time;
  std::shared_ptr<arrow::DataType> made;
  std::vector<Event> events;
};

int64_t Int(std::mt19937_64& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

std::shared_ptr<arrow::DataType> RandomTime(std::mt19937_64& random) {
  const std::vector<std::shared_ptr<arrow::DataType>> types = {
      arrow::timestamp(arrow::TimeUnit::SECOND), arrow::timestamp(arrow::TimeUnit::MILLI, "UTC"),
      arrow::timestamp(arrow::TimeUnit::MICRO), arrow::timestamp(arrow::TimeUnit::NANO),
      arrow::date32()};
  return types[static_cast<size_t>(Int(random, 0, 4))];
}

Case MakeCase(std::mt19937_64& random) {
  Case made;
  made.time = RandomTime(random);
  made.made = RandomTime(random);
  const std::vector<std::vector<std::string>> keys = {{}, {"k"}, {"k", "j"}};
  made.spec.keys = keys[static_cast<size_t>(Int(random, 0, 9) == 0 ? 0 : Int(random, 1, 2))];
  made.spec.time = "at";
  if (Int(random, 0, 1) == 0) made.spec.created = "made";
  if (Int(random, 0, 1) == 0) made.spec.sums = {"n"};
  const int64_t num_keys =
      std::vector<int64_t>{1, 4, 40, 400}[static_cast<size_t>(Int(random, 0, 3))];
  const int64_t unit = table::UnitNanos(*made.time);
  const int64_t span = std::max(int64_t{10'000}, 5 * unit);
  if (Int(random, 0, 2) == 0) made.spec.first = Int(random, -span, span) / kMicros;
  if (Int(random, 0, 2) == 0) made.spec.last = Int(random, -span, span) / kMicros;
  const auto maybe = [&](int64_t low, int64_t high, int64_t step) -> Cell {
    if (Int(random, 0, 14) == 0) return std::nullopt;
    const int64_t value = Int(random, low, high);
    return value - ((value % step) + step) % step;
  };
  const int64_t made_unit = table::UnitNanos(*made.made);
  for (int64_t row = 0, rows = Int(random, 0, 500); row < rows; ++row) {
    made.events.push_back({.key = maybe(0, num_keys, 1),
                           .other_key = maybe(0, 2, 1),
                           .at = maybe(-span, span, unit),
                           .made = maybe(-2 * made_unit, 2 * made_unit, made_unit),
                           .number = maybe(-9, 9, 1),
                           .name = Concat("row ", row)});
  }
  return made;
}

std::shared_ptr<arrow::Table> TableOf(const Case& made, const std::vector<Event>& events) {
  arrow::Int64Builder keys;
  arrow::Int64Builder others;
  arrow::Int64Builder times;
  arrow::Int64Builder created;
  arrow::Int64Builder numbers;
  arrow::StringBuilder names;
  const auto put = [](arrow::Int64Builder& builder, const Cell& cell, int64_t unit) {
    RequireOk(cell ? builder.Append(*cell / unit) : builder.AppendNull());
  };
  for (const Event& event : events) {
    put(keys, event.key, 1);
    put(others, event.other_key, 1);
    put(times, event.at, table::UnitNanos(*made.time));
    put(created, event.made, table::UnitNanos(*made.made));
    put(numbers, event.number, 1);
    RequireOk(names.Append(event.name));
  }
  // Raw values become times: 32 bits of a date, 64 of a timestamp.
  const auto as = [](arrow::Int64Builder& builder, const std::shared_ptr<arrow::DataType>& type) {
    const auto raw = ValueOf(builder.Finish());
    if (type->id() != arrow::Type::DATE32) return ValueOf(raw->View(type));
    arrow::Date32Builder days;
    const auto& values = static_cast<const arrow::Int64Array&>(*raw);
    for (int64_t i = 0; i < values.length(); ++i) {
      RequireOk(values.IsNull(i) ? days.AppendNull()
                                 : days.Append(static_cast<int32_t>(values.Value(i))));
    }
    return ValueOf(days.Finish());
  };
  return arrow::Table::Make(
      arrow::schema({arrow::field("k", arrow::int64()), arrow::field("j", arrow::int64()),
                     arrow::field("at", made.time), arrow::field("made", made.made),
                     arrow::field("n", arrow::int64()), arrow::field("name", arrow::utf8())}),
      arrow::ArrayVector{*keys.Finish(), *others.Finish(), as(times, made.time),
                         as(created, made.made), *numbers.Finish(), *names.Finish()});
}

std::vector<Event> NewestOf(const Case& made) {
  struct Newest {
    size_t row;
    int64_t sum = 0;
  };
  // Absent comes before everything.
  const auto age = [&](size_t row) {
    const Event& event = made.events[row];
    return std::tuple(event.at, made.spec.created.empty() ? Cell() : event.made, row);
  };
  std::map<std::vector<Cell>, Newest> newest;
  for (size_t row = 0; row < made.events.size(); ++row) {
    const Event& event = made.events[row];
    if (event.at && made.spec.first && *event.at < *made.spec.first * kMicros) continue;
    if (event.at && made.spec.last && *event.at > *made.spec.last * kMicros) continue;
    std::vector<Cell> key;
    if (!made.spec.keys.empty()) key.push_back(event.key);
    if (made.spec.keys.size() > 1) key.push_back(event.other_key);
    const auto place = newest.try_emplace(key, Newest{row}).first;
    place->second.sum += event.number.value_or(0);
    if (age(place->second.row) < age(row)) place->second.row = row;
  }
  std::vector<Newest> rows;
  for (const auto& [key, one] : newest) rows.push_back(one);
  std::ranges::sort(rows, {}, &Newest::row);
  std::vector<Event> events;
  for (const Newest& one : rows) {
    events.push_back(made.events[one.row]);
    if (!made.spec.sums.empty()) events.back().number = one.sum;
  }
  return events;
}

TEST_CASE("the newest rows of random keys are those of a loop over all rows") {
  const uint64_t first = test::FirstSeed();
  const uint64_t cases = test::NumCases(150);
  int64_t spilled = 0;
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    std::mt19937_64 random(seed);
    const Case made = MakeCase(random);
    const auto input = TableOf(made, made.events);
    auto expected = TableOf(made, NewestOf(made));
    const Dataset latest = Dataset::Of(input).Latest(made.spec);
    const Plan plan = ValueOf(ParsePlan(ValueOf(SerializePlan(ValueOf(latest.plan())))));
    INFO(FormatPlan(plan));
    for (const int64_t limit : {int64_t{0}, int64_t{1}, int64_t{30'000}}) {
      MemoryBudget memory("test", limit);
      Context context;
      context.memory = &memory;
      ExecutionReport report;
      const ExecutionOptions options{.batch_rows = Int(random, 1, 100)};
      const auto actual = Dataset(plan).Collect(context, options, &report);
      const std::string difference = TableDifference(actual, expected);
      REQUIRE_MESSAGE(difference.empty(), difference);
      CHECK(memory.used() == 0);
      for (const OperatorStats& stats : report.stats) spilled += stats.spilled_bytes;
    }
    // Columns that nobody reads make no difference.
    CHECK_TABLE_EQ(latest.Select({"name"}).Collect({}), ValueOf(expected->SelectColumns({5})));
  }
  if (!test::IsReplay()) CHECK(spilled > 0);
}

TEST_CASE("columns that nobody reads are not read for the newest rows") {
  Case made{.spec = {.keys = {"k"}, .time = "at", .sums = {"n"}},
            .time = arrow::timestamp(arrow::TimeUnit::MICRO),
            .made = arrow::date32(),
            .events = {}};
  const Dataset rows =
      Dataset::Of(TableOf(made, {}))
          .Project({{"k", "k"}, {"at", "at"}, {"n", "n"}, {"name", "upper(name)"}});
  const std::string explain = ValueOf(rows.Latest(made.spec).Select({"n"}).Explain({}));
  CHECK(explain.find("latest: by k, newest by at, sums of n") != std::string::npos);
  const size_t optimised = explain.find("optimised plan");
  CHECK(explain.find("upper", optimised) == std::string::npos);
}

TEST_CASE("what cannot be a newest row is an error before anything is read") {
  const Case made{.spec = {},
                  .time = arrow::timestamp(arrow::TimeUnit::MICRO),
                  .made = arrow::date32(),
                  .events = {}};
  const Dataset rows = Dataset::Of(TableOf(made, {}));
  CHECK_ERROR(rows.Latest({.keys = {"k"}, .time = "n"}).plan(), ErrorKind::kUser, "is no time");
  CHECK_ERROR(rows.Latest({.keys = {"q"}, .time = "at"}).plan(), ErrorKind::kUser,
              "no such column: 'q'");
  CHECK_ERROR(rows.Latest({.keys = {"k"}, .time = "at", .sums = {"name"}}).plan(), ErrorKind::kUser,
              "only int64 is summed");
  CHECK_ERROR(rows.Latest({.keys = {"k"}, .time = "at", .sums = {"k"}}).plan(), ErrorKind::kUser,
              "a sum is a key too");
  Case large = made;
  large.events.resize(2, {1, {}, 0, {}, INT64_MAX, {}});
  CHECK_ERROR(Dataset::Of(TableOf(large, large.events))
                  .Latest({.keys = {"k"}, .time = "at", .sums = {"n"}})
                  .Collect({}),
              ErrorKind::kUser, "larger than int64");
}

}  // namespace

}  // namespace gnomon::dataset
