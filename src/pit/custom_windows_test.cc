#include <bit>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/builder.h>
#include <arrow/compare.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/parallel.h"
#include "base/text.h"
#include "pit/test_random.h"
#include "pit/window.h"
#include "tests/support/status.h"

namespace gnomon::pit {
namespace {

using test::ValueOf;

/// Sums doubles naively and writes down how it was called: "(1 2)(3)" for rows 1 and 2 in one state
/// and row 3 in another, merged. Any other grouping, order or repetition shows in the text.
struct Trace {
  double sum = 0;
  std::string text;

  void Add(double value) {
    sum += value;
    if (!text.empty() && text.back() != ')') text += ' ';
    text += Concat(value);
  }
  void Merge(const Trace& later) {
    sum += later.sum;
    text += Concat("(", later.text, ")");
  }
  std::string Result() const { return Concat(text, " = ", std::bit_cast<uint64_t>(sum)); }
};

class TraceInput : public CustomInput {
 public:
  explicit TraceInput(const std::shared_ptr<arrow::Array>& values) : values_(values) {}
  double At(int64_t i) const {
    REQUIRE(values_->IsValid(i));
    return static_cast<const arrow::DoubleArray&>(*values_).Value(i);
  }

 private:
  std::shared_ptr<arrow::Array> values_;
};

class TraceState : public CustomState {
 public:
  Status Reset() override {
    trace_ = {};
    return Status::OK();
  }
  Status Accumulate(const CustomInput& input, int64_t begin, int64_t end) override {
    for (int64_t i = begin; i < end; ++i) {
      const double value = static_cast<const TraceInput&>(input).At(i);
      if (value == 13) return Error(ErrorKind::kUser, "an unlucky value");
      trace_.Add(value);
    }
    return Status::OK();
  }
  Status Merge(const CustomState& later) override {
    trace_.Merge(static_cast<const TraceState&>(later).trace_);
    return Status::OK();
  }
  Result<CustomValue> Finish() const override {
    thread_local std::string kept;
    kept = trace_.Result();
    return CustomValue{.is_valid = true, .integer = 0, .real = 0, .text = kept};
  }

 private:
  Trace trace_;
};

class TraceAggregate : public CustomAggregate {
 public:
  explicit TraceAggregate(bool of_nothing = false) : of_nothing_(of_nothing) {}
  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::DataType>& input() const override { return input_; }
  const std::shared_ptr<arrow::DataType>& result() const override { return result_; }
  bool has_value_of_nothing() const override { return of_nothing_; }
  Result<std::unique_ptr<CustomInput>> Prepare(
      const std::shared_ptr<arrow::Array>& values) const override {
    return std::make_unique<TraceInput>(values);
  }
  Result<std::unique_ptr<CustomState>> MakeState() const override {
    return std::make_unique<TraceState>();
  }

 private:
  bool of_nothing_;
  std::string name_ = "trace";
  std::shared_ptr<arrow::DataType> input_ = arrow::float64();
  std::shared_ptr<arrow::DataType> result_ = arrow::utf8();
};

struct History {
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
  std::vector<int64_t> created;  ///< empty: none
  std::vector<std::optional<double>> values;

  std::shared_ptr<arrow::Array> Column() const {
    arrow::DoubleBuilder builder;
    for (const auto& value : values) {
      test::RequireOk(value ? builder.Append(*value) : builder.AppendNull());
    }
    return ValueOf(builder.Finish());
  }
  Events All() const { return {ids, times, created, {Column()}}; }
};

struct Labels {
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
};

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

/// docs/design/window_aggregates.md, "Custom aggregates", word by word.
std::optional<std::string> Expected(const History& history, int32_t id, int64_t time,
                                    const AggregateSpec& spec, bool filter) {
  std::vector<std::tuple<int64_t, int64_t, size_t>> rows;
  for (size_t i = 0; i < history.ids.size(); ++i) {
    if (id < 0 || history.ids[i] != id || !history.values[i] || history.times[i] > time) continue;
    if (spec.window && history.times[i] <= time - *spec.window) continue;
    const int64_t created = history.created.empty() ? INT64_MIN : history.created[i];
    if (filter && created > time) continue;
    rows.emplace_back(history.times[i], created, i);
  }
  if (rows.empty()) return std::nullopt;
  std::sort(rows.begin(), rows.end());
  Trace total;
  if (!spec.window) {
    for (const auto& [at, created, i] : rows) total.Add(*history.values[i]);
    return total.Result();
  }
  int64_t width = 1;
  while (2 * width * 32 * spec.ticks_per_micro <= *spec.window) width *= 2;
  std::map<int64_t, Trace> tiles;
  for (const auto& [at, created, i] : rows) {
    tiles[FloorDivide(FloorDivide(at, spec.ticks_per_micro), width)].Add(*history.values[i]);
  }
  for (const auto& [number, tile] : tiles) total.Merge(tile);
  return total.Result();
}

History RandomHistory(TestRandom* random, int64_t span) {
  History history;
  const bool with_created = random->Chance(0.5);
  const int64_t count = random->Int(0, random->Chance(0.2) ? 300 : 40);
  for (int64_t i = 0; i < count; ++i) {
    history.ids.push_back(static_cast<int32_t>(random->Int(-1, 3)));
    history.times.push_back(random->Int(-span, span));
    if (with_created) {
      history.created.push_back(random->Chance(0.2) ? INT64_MIN : random->Int(-span, span));
    }
    history.values.push_back(
        random->Chance(0.2) ? std::nullopt : std::optional<double>(random->Real() * 1e3 - 500));
  }
  return history;
}

Labels RandomLabels(TestRandom* random, int64_t span) {
  Labels labels;
  const int64_t count = random->Int(0, 20);
  for (int64_t i = 0; i < count; ++i) {
    labels.ids.push_back(static_cast<int32_t>(random->Int(-1, 4)));
    labels.times.push_back(random->Int(-span, 2 * span));
  }
  return labels;
}

std::vector<AggregateSpec> RandomSpecs(TestRandom* random, int64_t span, int64_t ticks) {
  static const auto kTrace = std::make_shared<TraceAggregate>();
  std::vector<AggregateSpec> specs;
  for (int i = 0; i < 3; ++i) {
    AggregateSpec spec{.function = AggregateFunction::kCustom, .custom = kTrace};
    if (random->Chance(0.8)) spec.window = random->Int(1, 2 * span);
    spec.ticks_per_micro = ticks;
    specs.push_back(spec);
  }
  specs.insert(specs.begin() + 1, {.function = AggregateFunction::kCount, .window = span});
  return specs;
}

std::optional<std::string> TextAt(const arrow::Array& array, size_t i) {
  const auto row = static_cast<int64_t>(i);
  if (array.IsNull(row)) return std::nullopt;
  return static_cast<const arrow::StringArray&>(array).GetString(row);
}

TEST_CASE("a custom aggregate sees its rows in the one order and grouping") {
  TestRandom random(606);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (int round = 0; round < 600; ++round) {
    CAPTURE(round);
    const int64_t span = random.Chance(0.5) ? random.Int(1, 60) : random.Int(1000, 100'000);
    const int64_t ticks = random.Chance(0.3) ? random.Int(2, 10) : 1;
    const History history = RandomHistory(&random, span);
    const Labels labels = RandomLabels(&random, span);
    const auto specs = RandomSpecs(&random, span, ticks);
    const bool filter = random.Chance(0.4);
    const auto arrays =
        ValueOf(AggregateWindows({}, history.All(), labels.ids, labels.times, specs, filter));
    for (size_t s = 0; s < specs.size(); ++s) {
      if (specs[s].function != AggregateFunction::kCustom) continue;
      CAPTURE(specs[s].window.value_or(-1));
      REQUIRE(arrays[s]->ValidateFull().ok());
      for (size_t i = 0; i < labels.ids.size(); ++i) {
        REQUIRE(TextAt(*arrays[s], i) ==
                Expected(history, labels.ids[i], labels.times[i], specs[s], filter));
      }
    }
  }
}

TEST_CASE("order of rows, other labels and threads never change a custom aggregate") {
  TestRandom random(707);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (int round = 0; round < 150; ++round) {
    CAPTURE(round);
    const int64_t span = random.Int(50, 5000);
    History history = RandomHistory(&random, span);
    history.created.resize(history.ids.size());
    std::iota(history.created.begin(), history.created.end(), -span);  // no full ties
    const Labels labels = RandomLabels(&random, span);
    const auto specs = RandomSpecs(&random, span, 1);
    SetNumThreads(1);
    const auto whole =
        ValueOf(AggregateWindows({}, history.All(), labels.ids, labels.times, specs));
    SetNumThreads(4);
    std::vector<size_t> order(history.ids.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), random.engine);
    History shuffled;
    for (const size_t i : order) {
      shuffled.ids.push_back(history.ids[i]);
      shuffled.times.push_back(history.times[i]);
      shuffled.created.push_back(history.created[i]);
      shuffled.values.push_back(history.values[i]);
    }
    for (size_t i = 0; i < labels.ids.size(); ++i) {
      const auto alone =
          ValueOf(AggregateWindows({}, shuffled.All(), std::span(labels.ids).subspan(i, 1),
                                   std::span(labels.times).subspan(i, 1), specs));
      for (size_t s = 0; s < specs.size(); ++s) {
        REQUIRE(alone[s]->Equals(*whole[s]->Slice(static_cast<int64_t>(i), 1)));
      }
    }
  }
  SetNumThreads(0);
}

TEST_CASE("finer units of time do not move the tiles") {
  TestRandom random(808);
  for (int round = 0; round < 50; ++round) {
    const History micros = RandomHistory(&random, 5000);
    const Labels labels = RandomLabels(&random, 5000);
    History nanos = micros;
    Labels nano_labels = labels;
    for (int64_t& time : nanos.times) time *= 1000;
    for (int64_t& time : nano_labels.times) time *= 1000;
    std::vector<AggregateSpec> specs = {{.function = AggregateFunction::kCustom,
                                         .window = 700,
                                         .custom = std::make_shared<TraceAggregate>()}};
    const auto coarse =
        ValueOf(AggregateWindows({}, micros.All(), labels.ids, labels.times, specs));
    specs[0].window = 700'000;
    specs[0].ticks_per_micro = 1000;
    const auto fine =
        ValueOf(AggregateWindows({}, nanos.All(), nano_labels.ids, nano_labels.times, specs));
    REQUIRE(coarse[0]->Equals(*fine[0]));
  }
}

TEST_CASE("a window without rows is null, or what the aggregate says of nothing") {
  const History history{{0}, {100}, {}, {{1.0}}};
  const Labels labels{{0, 0, 1, -1}, {100, 99, 100, 100}};
  const std::vector<AggregateSpec> specs = {
      {.function = AggregateFunction::kCustom, .custom = std::make_shared<TraceAggregate>()},
      {.function = AggregateFunction::kCustom, .custom = std::make_shared<TraceAggregate>(true)}};
  const auto arrays = ValueOf(AggregateWindows({}, history.All(), labels.ids, labels.times, specs));
  CHECK(arrays[0]->null_count() == 3);
  CHECK(arrays[1]->null_count() == 0);
  CHECK(*TextAt(*arrays[1], 0) == *TextAt(*arrays[0], 0));
  for (const size_t i : {1, 2, 3}) CHECK(TextAt(*arrays[1], i) == " = 0");
}

TEST_CASE("integers go to an aggregate of doubles, texts are refused by name") {
  const auto spec = AggregateSpec{.function = AggregateFunction::kCustom,
                                  .custom = std::make_shared<TraceAggregate>()};
  CHECK(ValueOf(ResultType(spec, *arrow::int32()))->Equals(*arrow::utf8()));
  CHECK_ERROR(ResultType(spec, *arrow::utf8()), ErrorKind::kUser,
              "trace does not take values of type string");
  arrow::Int32Builder builder;
  test::RequireOk(builder.AppendValues({7}));
  const std::vector<int32_t> ids = {0};
  const std::vector<int64_t> times = {5};
  const Events events{ids, times, {}, {ValueOf(builder.Finish())}};
  const auto arrays = ValueOf(AggregateWindows({}, events, ids, times, std::span(&spec, 1)));
  CHECK(TextAt(*arrays[0], 0)->starts_with("7 = "));
}

TEST_CASE("an error of a custom aggregate ends the call") {
  const History history{{0, 0}, {1, 2}, {}, {{1.0}, {13.0}}};
  const Labels labels{{0}, {5}};
  const std::vector<AggregateSpec> specs = {
      {.function = AggregateFunction::kCustom, .custom = std::make_shared<TraceAggregate>()}};
  CHECK_ERROR(AggregateWindows({}, history.All(), labels.ids, labels.times, specs),
              ErrorKind::kUser, "an unlucky value");
}

}  // namespace
}  // namespace gnomon::pit
