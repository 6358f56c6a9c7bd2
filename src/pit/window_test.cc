#include "pit/window.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/json/from_string.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/memory.h"

namespace gnomon::pit {
namespace {

constexpr int64_t kMinTime = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxTime = std::numeric_limits<int64_t>::max();
using F = AggregateFunction;

std::shared_ptr<arrow::Array> Column(const std::shared_ptr<arrow::DataType>& type,
                                     const std::string& json) {
  return arrow::json::ArrayFromJSONString(type, json).ValueOrDie();
}

/// Entity 0 at the given times, one label for each of `labels`.
Result<std::shared_ptr<arrow::Array>> Aggregate(const AggregateSpec& spec,
                                                const std::vector<int64_t>& times,
                                                const std::shared_ptr<arrow::Array>& values,
                                                const std::vector<int64_t>& labels) {
  const std::vector<int32_t> ids(times.size(), 0);
  const std::vector<int32_t> label_ids(labels.size(), 0);
  const Events events{ids, times, {}, {values}};
  GNOMON_ASSIGN_OR_RETURN(const auto arrays,
                          AggregateWindows({}, events, label_ids, labels, {&spec, 1}));
  return arrays[0];
}

void CheckArray(const Result<std::shared_ptr<arrow::Array>>& actual,
                const std::shared_ptr<arrow::DataType>& type, const std::string& json) {
  REQUIRE_MESSAGE(actual.ok(), actual.status().ToString());
  const auto expected = Column(type, json);
  CHECK_MESSAGE((*actual)->Equals(expected), (*actual)->ToString(), " instead of ",
                expected->ToString());
}

TEST_CASE("a window reaches from the label back to just after t - w") {
  const auto values = Column(arrow::int32(), "[1, 2, 4, 8]");
  const AggregateSpec spec{.function = F::kSum, .window = 5};
  CheckArray(Aggregate(spec, {5, 6, 10, 11}, values, {10, 9, 11, 15, 4, 16}), arrow::int64(),
             "[6, 3, 12, 8, null, null]");
}

TEST_CASE("without a window the whole past counts") {
  const auto values = Column(arrow::float64(), "[1.5, null, 4]");
  CheckArray(
      Aggregate({.function = F::kSum}, {kMinTime, 6, kMaxTime}, values, {kMinTime, 6, kMaxTime}),
      arrow::float64(), "[1.5, 1.5, 5.5]");
  CheckArray(Aggregate({.function = F::kCount, .window = kMaxTime}, {kMinTime, 6, kMaxTime}, values,
                       {kMinTime, 0}),
             arrow::int64(), "[1, 0]");
}

TEST_CASE("counts of nothing are zero and everything else of nothing is null") {
  const auto values = Column(arrow::int64(), "[null]");
  for (const F function : {F::kCount, F::kCountDistinct}) {
    CheckArray(Aggregate({.function = function}, {1}, values, {0, 1}), arrow::int64(), "[0, 0]");
  }
  CheckArray(Aggregate({.function = F::kSum}, {1}, values, {0, 1}), arrow::int64(), "[null, null]");
  CheckArray(Aggregate({.function = F::kVar}, {1}, values, {0, 1}), arrow::float64(),
             "[null, null]");
  CheckArray(Aggregate({.function = F::kLastK}, {1}, values, {0, 1}), arrow::list(arrow::int64()),
             "[null, null]");
  CheckArray(Aggregate({.function = F::kLast}, {}, Column(arrow::int64(), "[]"), {3}),
             arrow::int64(), "[null]");
  CheckArray(Aggregate({.function = F::kLast}, {1}, values, {}), arrow::int64(), "[]");
}

TEST_CASE("null keys of labels see nothing, those of events are seen by nobody") {
  const std::vector<int32_t> ids{-1, 0};
  const std::vector<int64_t> times{1, 1};
  const Events events{ids, times, {}, {Column(arrow::int64(), "[5, 7]")}};
  const std::vector<AggregateSpec> specs{{.function = F::kCount}, {.function = F::kSum}};
  const auto arrays =
      AggregateWindows({}, events, std::vector<int32_t>{-1, 0}, std::vector<int64_t>{2, 2}, specs);
  REQUIRE(arrays.ok());
  CheckArray((*arrays)[0], arrow::int64(), "[0, 1]");
  CheckArray((*arrays)[1], arrow::int64(), "[null, 7]");
}

TEST_CASE("events created after the label do not exist for it when asked so") {
  const std::vector<int32_t> ids{0, 0, 0};
  const std::vector<int64_t> times{1, 2, 3};
  const std::vector<int64_t> created{9, kMinTime, 3};
  const Events events{ids, times, created, {Column(arrow::int64(), "[1, 2, 4]")}};
  const AggregateSpec spec{.function = F::kSum};
  const std::vector<int32_t> label_ids{0, 0};
  const std::vector<int64_t> label_times{3, 9};
  CheckArray(AggregateWindows({}, events, label_ids, label_times, {&spec, 1}, true).ValueOrDie()[0],
             arrow::int64(), "[6, 7]");
  CheckArray(
      AggregateWindows({}, events, label_ids, label_times, {&spec, 1}, false).ValueOrDie()[0],
      arrow::int64(), "[7, 7]");
}

TEST_CASE("last_k gives the newest first") {
  const auto values = Column(arrow::utf8(), R"(["a", "b", null, "c"])");
  CheckArray(Aggregate({.function = F::kLastK, .k = 2}, {1, 2, 3, 4}, values, {1, 3, 9}),
             arrow::list(arrow::utf8()), R"([["a"], ["b", "a"], ["c", "b"]])");
}

TEST_CASE("the first value and the last see created times and input order in ties") {
  const std::vector<int32_t> ids{0, 0, 0, 0};
  const std::vector<int64_t> times{5, 5, 5, 5};
  const std::vector<int64_t> created{2, 1, 2, 1};
  const Events events{ids, times, created, {Column(arrow::int64(), "[0, 1, 2, 3]")}};
  const std::vector<AggregateSpec> specs{
      {.function = F::kFirst}, {.function = F::kLast}, {.function = F::kLastK, .k = 9}};
  const auto arrays =
      AggregateWindows({}, events, std::vector<int32_t>{0}, std::vector<int64_t>{5}, specs)
          .ValueOrDie();
  CheckArray(arrays[0], arrow::int64(), "[1]");
  CheckArray(arrays[1], arrow::int64(), "[2]");
  CheckArray(arrays[2], arrow::list(arrow::int64()), "[[2, 0, 3, 1]]");
}

TEST_CASE("a sliding standard deviation keeps its digits on a large offset") {
  std::vector<int64_t> times;
  arrow::DoubleBuilder builder;
  for (int64_t i = 0; i < 1000; ++i) {
    times.push_back(i);
    REQUIRE(builder.Append(1e9 + static_cast<double>(i % 7) / 1024).ok());
  }
  const auto result = Aggregate({.function = F::kStd, .window = 7}, times,
                                builder.Finish().ValueOrDie(), {999, 500, 6});
  REQUIRE(result.ok());
  const auto& stds = static_cast<const arrow::DoubleArray&>(**result);
  for (int64_t i = 0; i < 3; ++i) {
    CHECK(stds.Value(i) == doctest::Approx(std::sqrt(28.0 / 6) / 1024).epsilon(1e-15));
  }
}

TEST_CASE(
    "a sum of integers beyond 64 bits is the user's error, its mean and a sum that comes back are "
    "not") {
  const auto values = Column(arrow::int64(), "[9223372036854775807, 1, -1]");
  const auto sum = Aggregate({.function = F::kSum}, {1, 2, 3}, values, {2});
  CHECK(KindOf(sum.status()) == ErrorKind::kUser);
  CHECK(sum.status().message() == "sum of integers beyond 64 bits: value column 0, label 0");
  CheckArray(Aggregate({.function = F::kSum}, {1, 2, 3}, values, {1, 3}), arrow::int64(),
             "[9223372036854775807, 9223372036854775807]");
  CheckArray(Aggregate({.function = F::kMean}, {1, 2, 3}, values, {2}), arrow::float64(),
             "[4611686018427387904.0]");
  const auto big = Column(arrow::uint64(), "[18446744073709551615, 1]");
  CHECK(KindOf(Aggregate({.function = F::kSum}, {1, 2}, big, {1}).status()) == ErrorKind::kUser);
  CheckArray(Aggregate({.function = F::kMax}, {1, 2}, big, {2}), arrow::uint64(),
             "[18446744073709551615]");
  CheckArray(Aggregate({.function = F::kVar, .ddof = 0}, {1, 2},
                       Column(arrow::uint64(), "[9223372036854775807, 9223372036854775809]"), {2}),
             arrow::float64(), "[1]");
}

TEST_CASE("times, dates and strings have a smallest, a greatest and a most frequent value") {
  const auto stamps =
      Column(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"), "[30, 10, 20, 20, 10]");
  const std::vector<int64_t> times{1, 2, 3, 4, 5};
  CheckArray(Aggregate({.function = F::kMax, .window = 3}, times, stamps, {5, 3}), stamps->type(),
             "[20, 30]");
  CheckArray(Aggregate({.function = F::kMostFrequent}, times, stamps, {5, 4}), stamps->type(),
             "[10, 20]");
  const auto words = Column(arrow::large_utf8(), R"(["pear", "fig", "", "fig", null])");
  CheckArray(Aggregate({.function = F::kMin}, times, words, {2, 5}), words->type(),
             R"(["fig", ""])");
  CheckArray(Aggregate({.function = F::kMostFrequent}, times, words, {2, 5}), words->type(),
             R"(["fig", "fig"])");
  CheckArray(Aggregate({.function = F::kLast}, times,
                       Column(arrow::list(arrow::int8()), "[[1], [], null, [2, 3], null]"), {3, 5}),
             arrow::list(arrow::int8()), "[[], [2, 3]]");
}

TEST_CASE("a function that cannot take a type says so") {
  const auto refused = [](F function, const std::shared_ptr<arrow::DataType>& type) {
    return ResultType({.function = function}, *type).status().message();
  };
  CHECK(refused(F::kSum, arrow::utf8()) == "sum does not take values of type string");
  CHECK(refused(F::kStd, arrow::date32()) == "std does not take values of type date32[day]");
  CHECK(refused(F::kMin, arrow::list(arrow::int8())) ==
        "min does not take values of type list<item: int8>");
  CHECK(refused(F::kMedian, arrow::timestamp(arrow::TimeUnit::SECOND)) ==
        "median does not take values of type timestamp[s]");
  CHECK(ResultType({.function = F::kLastK}, *arrow::list(arrow::int8())).ok());
}

TEST_CASE("parameters out of range are the user's errors") {
  const auto message = [](const AggregateSpec& spec) {
    return ResultType(spec, *arrow::int64()).status().message();
  };
  CHECK(message({.function = F::kSum, .window = 0}) == "the window of sum must be above 0: 0");
  CHECK(message({.function = F::kLastK, .k = 0}) == "k of last_k must be above 0: 0");
  CHECK(message({.function = F::kQuantile, .quantile = 1.5}) ==
        "a quantile must be in [0, 1]: 1.5");
  CHECK(message({.function = F::kStd, .ddof = -1}) == "ddof of std must not be negative: -1");
  const auto values = Column(arrow::int64(), "[1]");
  CHECK(Aggregate({.function = F::kSum, .column = 1}, {1}, values, {1}).status().message() ==
        "sum of value column 1, but there are 1");
}

TEST_CASE("functions have the names that Feast gives them") {
  for (const char* name : {"count", "sum", "mean", "min", "max", "std", "var", "count_distinct",
                           "first", "last", "last_k", "median", "quantile", "most_frequent"}) {
    CHECK(NameOf(ParseAggregateFunction(name).ValueOrDie()) == std::string(name));
  }
  CHECK(ParseAggregateFunction("avg").ValueOrDie() == F::kMean);
  const Status status = ParseAggregateFunction("medain").status();
  CHECK(KindOf(status) == ErrorKind::kUser);
  CHECK(HintOf(status) == "did you mean 'median'?");
}

TEST_CASE(
    "aggregates that do not fit into the memory budget are refused and give everything back") {
  MemoryBudget budget("test", 1000);
  Context context;
  context.memory = &budget;
  const std::vector<int32_t> ids(200, 0);
  const std::vector<int64_t> times(200, 0);
  const AggregateSpec spec{.function = F::kCount, .column = 0};
  const Events events{{}, {}, {}, {Column(arrow::int64(), "[]")}};
  CHECK(KindOf(AggregateWindows(context, events, ids, times, {&spec, 1}).status()) ==
        ErrorKind::kExhausted);
  CHECK(budget.used() == 0);
}

}  // namespace
}  // namespace gnomon::pit
