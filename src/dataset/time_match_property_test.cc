#include <algorithm>
#include <optional>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/random_test.h"
#include "dataset/sample_extension_test.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

/// Random labels and events against loops over all pairs, with random units, batches, threads and
/// memory. A failure prints its seed; GNOMON_TEST_SEED=<seed> runs that case alone,
/// GNOMON_TEST_CASES=<n> more of them.
namespace gnomon::dataset {

namespace {

using gnomon::test::TableDifference;
using gnomon::test::ValueOf;
using pit::AggregateFunction;
using test::FirstSeed;
using test::NumCases;
using test::Random;

/// Times are nanoseconds.
struct Label {
  std::optional<int64_t> key;
  std::optional<int64_t> at;
};
struct Event {
  std::optional<int64_t> key;
  std::optional<int64_t> at;
  std::optional<int64_t> made;
  std::optional<int64_t> value;
};

struct Case {
  std::vector<Label> labels;
  std::vector<Event> events;
  bool has_keys = true;
  bool has_created = false;
  TimeMatch match;
  std::shared_ptr<arrow::Table> left;
  std::shared_ptr<arrow::Table> right;
};

using Unit = arrow::TimeUnit::type;
int64_t NanosOf(Unit unit) { return table::UnitNanos(*arrow::timestamp(unit)); }

template <typename Builder, typename Rows, typename Get>
std::shared_ptr<arrow::ChunkedArray> ColumnOf(const std::shared_ptr<arrow::DataType>& type,
                                              const Rows& rows, int64_t divisor, const Get& get) {
  auto made = ValueOf(arrow::MakeBuilder(type));
  auto& builder = static_cast<Builder&>(*made);
  for (const auto& row : rows) {
    const std::optional<int64_t> value = get(row);
    gnomon::test::RequireOk(
        value ? builder.Append(static_cast<typename Builder::value_type>(*value / divisor))
              : builder.AppendNull());
  }
  return std::make_shared<arrow::ChunkedArray>(ValueOf(builder.Finish()));
}

std::shared_ptr<arrow::Table> InChunks(const std::shared_ptr<arrow::Table>& table, Random* random) {
  std::vector<std::shared_ptr<arrow::Table>> pieces = {table->Slice(0, 0)};
  for (int64_t begin = 0; begin < table->num_rows();) {
    const int64_t rows = random->Int(1, std::max<int64_t>(1, table->num_rows() / 2));
    pieces.push_back(table->Slice(begin, rows));
    begin += rows;
  }
  return ValueOf(arrow::ConcatenateTables(pieces));
}

Case MakeCase(Random* random) {
  Case made;
  const std::vector<Unit> units = {Unit::SECOND, Unit::MILLI, Unit::MICRO, Unit::NANO};
  const Unit label_unit = random->One(units);
  const Unit event_unit = random->One(units);
  const Unit created_unit = random->One(units);
  const int64_t keys = random->One<int64_t>({1, 3, 30, 200});
  const int64_t seconds = random->One<int64_t>({1, 10, 1000});
  const auto time = [&](Unit unit) -> std::optional<int64_t> {
    if (random->Chance(0.05)) return std::nullopt;
    const int64_t second = random->Int(-seconds, seconds) * 1'000'000'000;
    const int64_t rest = random->Chance(0.6) ? 0 : random->Int(0, 999'999'999);
    return (second + rest) / NanosOf(unit) * NanosOf(unit);
  };
  const auto key = [&]() -> std::optional<int64_t> {
    if (random->Chance(0.05)) return std::nullopt;
    return random->Chance(0.3) ? 0 : random->Int(0, keys);
  };
  for (int64_t i = random->One<int64_t>({0, 1, 20, 300}); i > 0; --i)
    made.labels.push_back({key(), time(label_unit)});
  for (int64_t i = random->One<int64_t>({0, 1, 40, 600}); i > 0; --i) {
    made.events.push_back({key(), time(event_unit), time(created_unit), random->Int(-9, 9)});
    if (random->Chance(0.2)) made.events.back().value = std::nullopt;
    if (random->Chance(0.2)) made.events.push_back(made.events.back());
  }
  made.has_keys = random->Chance(0.9);
  made.has_created = random->Chance(0.6);
  made.match = {.left_time = "at", .right_time = "ts"};
  if (made.has_keys) {
    made.match.left_keys = {"id"};
    made.match.right_keys = {"key"};
  }
  if (made.has_created) {
    made.match.created = "made";
    made.match.filter_by_created = random->Chance(0.5);
    if (random->Chance(0.3)) made.match.created_before = random->Int(-seconds, seconds) * 1'000'000;
  }
  const auto number = [](Unit unit) { return NanosOf(unit); };
  made.left = arrow::Table::Make(
      arrow::schema({arrow::field("id", arrow::int32()),
                     arrow::field("at", arrow::timestamp(label_unit, "UTC"))}),
      {ColumnOf<arrow::Int32Builder>(arrow::int32(), made.labels, 1,
                                     [](const Label& label) { return label.key; }),
       ColumnOf<arrow::TimestampBuilder>(arrow::timestamp(label_unit, "UTC"), made.labels,
                                         number(label_unit),
                                         [](const Label& label) { return label.at; })});
  made.right = arrow::Table::Make(
      arrow::schema({arrow::field("key", arrow::int64()),
                     arrow::field("ts", arrow::timestamp(event_unit)),
                     arrow::field("made", arrow::timestamp(created_unit)),
                     arrow::field("v", arrow::int32())}),
      {ColumnOf<arrow::Int64Builder>(arrow::int64(), made.events, 1,
                                     [](const Event& event) { return event.key; }),
       ColumnOf<arrow::TimestampBuilder>(arrow::timestamp(event_unit), made.events,
                                         number(event_unit),
                                         [](const Event& event) { return event.at; }),
       ColumnOf<arrow::TimestampBuilder>(arrow::timestamp(created_unit), made.events,
                                         number(created_unit),
                                         [](const Event& event) { return event.made; }),
       ColumnOf<arrow::Int32Builder>(arrow::int32(), made.events, 1,
                                     [](const Event& event) { return event.value; })});
  made.left = InChunks(made.left, random);
  made.right = InChunks(made.right, random);
  return made;
}

bool Exists(const Case& of, const Label& label, const Event& event) {
  if (!event.at || !label.at || *event.at > *label.at) return false;
  if (of.has_keys && (!event.key || !label.key || *event.key != *label.key)) return false;
  if (!of.has_created || !event.made) return true;
  if (of.match.created_before && *event.made > *of.match.created_before * 1000) return false;
  return !of.match.filter_by_created || *event.made <= *label.at;
}

/// Is `a` before `b` in (time, created)?
bool IsOlder(const Case& of, const Event& a, const Event& b) {
  const auto created = [&](const Event& event) {
    return of.has_created && event.made ? *event.made : INT64_MIN;
  };
  return std::pair(*a.at, created(a)) < std::pair(*b.at, created(b));
}

std::optional<int64_t> NaiveAsOf(const Case& of, const Label& label, int64_t tolerance) {
  const Event* newest = nullptr;
  for (const Event& event : of.events) {
    if (!Exists(of, label, event)) continue;
    if (newest == nullptr || !IsOlder(of, event, *newest)) newest = &event;
  }
  if (newest == nullptr) return std::nullopt;
  if (tolerance > 0 && *newest->at < *label.at - tolerance * 1000) return std::nullopt;
  return newest->value;
}

struct NaiveWindow {
  int64_t count = 0;
  std::optional<int64_t> sum;
  std::optional<int64_t> last;
  std::string chain;  ///< the values, oldest first; the same moment: by creation, then position
};

NaiveWindow NaiveAggregates(const Case& of, const Label& label, std::optional<int64_t> window) {
  NaiveWindow result;
  std::vector<const Event*> inside;
  for (const Event& event : of.events) {
    if (!Exists(of, label, event) || !event.value) continue;
    if (window && *event.at <= *label.at - *window * 1000) continue;
    ++result.count;
    result.sum = result.sum.value_or(0) + *event.value;
    inside.push_back(&event);
  }
  std::ranges::stable_sort(inside,
                           [&](const Event* a, const Event* b) { return IsOlder(of, *a, *b); });
  if (!inside.empty()) result.last = inside.back()->value;
  for (const Event* event : inside)
    result.chain += Concat(result.chain.empty() ? "" : " ", *event->value);
  return result;
}

ExecutionOptions RandomOptions(Random* random, MemoryBudget* memory, Context* context) {
  if (random->Chance(0.6)) context->memory = memory;
  return {.batch_rows = random->One<int64_t>({1, 7, 64, 1000}), .optimize = random->Chance(0.7)};
}

void Require(const Case& made, const Dataset& dataset,
             const std::vector<std::shared_ptr<arrow::ChunkedArray>>& columns, Random* random) {
  MemoryBudget memory("test", random->One<int64_t>({1, 3000, 40'000}));
  Context context;
  const ExecutionOptions options = RandomOptions(random, &memory, &context);
  const auto actual = ValueOf(dataset.Collect(context, options));
  std::vector<std::shared_ptr<arrow::ChunkedArray>> all = made.left->columns();
  all.insert(all.end(), columns.begin(), columns.end());
  const auto expected = arrow::Table::Make(actual->schema(), all, made.left->num_rows());
  gnomon::test::RequireOk(expected->Validate());
  const std::string difference = TableDifference(actual, expected);
  REQUIRE_MESSAGE(difference.empty(), difference);
  CHECK(memory.used() == 0);
}

TEST_CASE("an as-of join gives each label the row that a loop over all rows gives it") {
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(300); seed < end; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const Case made = MakeCase(&random);
    const int64_t tolerance =
        random.Chance(0.5) ? 0 : random.One<int64_t>({1, 1'000'000, 5'500'000});
    const Dataset joined = Dataset::Of(made.left).AsOfJoin(
        Dataset::Of(made.right), {.match = made.match,
                                  .tolerance = tolerance,
                                  .features = {{"v"}, {"v", "wide", arrow::int64()}}});
    std::vector<std::optional<int64_t>> values;
    for (const Label& label : made.labels) values.push_back(NaiveAsOf(made, label, tolerance));
    const auto same = [](const std::optional<int64_t>& value) { return value; };
    Require(made, joined,
            {ColumnOf<arrow::Int32Builder>(arrow::int32(), values, 1, same),
             ColumnOf<arrow::Int64Builder>(arrow::int64(), values, 1, same)},
            &random);
  }
}

std::shared_ptr<arrow::ChunkedArray> Chains(const std::vector<NaiveWindow>& values) {
  arrow::StringBuilder builder;
  for (const NaiveWindow& value : values)
    gnomon::test::RequireOk(value.count == 0 ? builder.AppendNull() : builder.Append(value.chain));
  return std::make_shared<arrow::ChunkedArray>(ValueOf(builder.Finish()));
}

TEST_CASE("window aggregates are those of a loop over all rows") {
  const PlanExtensions extensions = TestExtensions();
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(300); seed < end; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed + 100'000);
    const Case made = MakeCase(&random);
    std::optional<int64_t> window;
    if (random.Chance(0.7)) window = random.One<int64_t>({1, 1'000'000, 7'300'000});
    const Dataset aggregated = Dataset::Of(made.left).WindowAggregate(
        Dataset::Of(made.right),
        {.match = made.match,
         .items = {{.function = AggregateFunction::kCount, .column = "v", .window = window},
                   {.function = AggregateFunction::kSum,
                    .column = "v",
                    .window = window,
                    .input_type = arrow::int64()},
                   {.function = AggregateFunction::kLast,
                    .column = "v",
                    .window = window,
                    .type = arrow::int64()},
                   {.function = AggregateFunction::kCustom,
                    .column = "v",
                    .window = window,
                    .custom = extensions.aggregates.at("chain")}}});
    std::vector<NaiveWindow> values;
    for (const Label& label : made.labels) values.push_back(NaiveAggregates(made, label, window));
    Require(made, aggregated,
            {ColumnOf<arrow::Int64Builder>(
                 arrow::int64(), values, 1,
                 [](const NaiveWindow& value) { return std::optional(value.count); }),
             ColumnOf<arrow::Int64Builder>(arrow::int64(), values, 1,
                                           [](const NaiveWindow& value) { return value.sum; }),
             ColumnOf<arrow::Int64Builder>(arrow::int64(), values, 1,
                                           [](const NaiveWindow& value) { return value.last; }),
             Chains(values)},
            &random);
  }
}

TEST_CASE("an as-of join spills both sides when memory holds neither") {
  Random random(7);
  Case made = MakeCase(&random);
  while (made.labels.size() < 300 || made.events.size() < 600 || !made.has_keys)
    made = MakeCase(&random);
  MemoryBudget memory("test", 2000);
  Context context;
  context.memory = &memory;
  ExecutionReport report;
  const Dataset joined = Dataset::Of(made.left).AsOfJoin(
      Dataset::Of(made.right), {.match = made.match, .features = {{"v"}}});
  const auto spilled = ValueOf(joined.Collect(context, {.batch_rows = 16}, &report));
  CHECK(report.stats[0].name == "asof_join");
  CHECK(report.stats[0].spilled_bytes > 0);
  CHECK_TABLE_EQ(joined.Collect({}), spilled);
}

TEST_CASE("plans say what cannot meet in time") {
  const auto left =
      Dataset::Of(gnomon::test::TableOf({{"id", arrow::int64()}, {"at", arrow::date32()}}, "[]"));
  const auto right = Dataset::Of(gnomon::test::TableOf(
      {{"id", arrow::utf8()}, {"at", arrow::int64()}, {"day", arrow::date32()}}, "[]"));
  const auto join = [&](TimeMatch match, std::vector<AsOfFeature> features = {}) {
    return left.AsOfJoin(right, {.match = std::move(match), .features = std::move(features)})
        .plan();
  };
  CHECK_ERROR(join({.left_keys = {"id"}, .left_time = "at"}), ErrorKind::kUser,
              "cannot be compared");
  CHECK_ERROR(join({.left_time = "at"}), ErrorKind::kUser, "is no time");
  CHECK_ERROR(join({.left_time = "nothing", .right_time = "day"}), ErrorKind::kUser,
              "no such column");
  CHECK_ERROR(join({.left_time = "at", .right_time = "day", .filter_by_created = true}),
              ErrorKind::kUser, "time of creation");
  CHECK_ERROR(join({.left_time = "at", .right_time = "day"}, {{"id"}}), ErrorKind::kUser,
              "same name");
  CHECK_ERROR(join({.left_time = "at", .right_time = "day"}, {{"id", "n", arrow::int32()}}),
              ErrorKind::kUser, "cannot convert");
}

}  // namespace

}  // namespace gnomon::dataset
