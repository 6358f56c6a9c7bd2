#include <algorithm>
#include <bit>
#include <cmath>
#include <deque>
#include <limits>
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
#include <doctest/doctest.h>

#include "base/parallel.h"
#include "base/text.h"
#include "pit/test_random.h"
#include "pit/window.h"

namespace gnomon::pit {
namespace {

constexpr int64_t kMinTime = std::numeric_limits<int64_t>::min();
using F = AggregateFunction;

template <typename T>
constexpr bool kIsString = std::is_same_v<T, std::string>;

template <typename T>
using Values = std::deque<T>;  // a vector of bool has no elements

template <typename T>
struct History {
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
  std::vector<int64_t> created;  ///< empty: none
  std::vector<std::optional<T>> values;
};

struct Labels {
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
};

template <typename T>
std::string Text(T value) {
  if constexpr (std::is_same_v<T, double>) return Concat("bits ", std::bit_cast<uint64_t>(value));
  if constexpr (std::is_same_v<T, float>) return Concat("bits ", std::bit_cast<uint32_t>(value));
  if constexpr (!std::is_floating_point_v<T>) return Concat(value);
}

template <typename T>
T Canonical(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::isnan(value) ? std::numeric_limits<T>::quiet_NaN() : value + T{0};
  } else {
    return value;
  }
}

/// The order of values, NaN last.
struct Smaller {
  template <typename T>
  bool operator()(const T& a, const T& b) const {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return !std::isnan(a);
    }
    return a < b;
  }
};

/// The values that a label sees, oldest first: rule 9 of the point-in-time semantics, word by word.
template <typename T>
Values<T> Visible(const History<T>& history, int32_t id, int64_t time, const AggregateSpec& spec,
                  bool filter) {
  std::vector<std::tuple<int64_t, int64_t, size_t>> order;
  for (size_t i = 0; i < history.ids.size(); ++i) {
    if (id < 0 || history.ids[i] != id || !history.values[i] || history.times[i] > time) continue;
    if (spec.window && history.times[i] <= time - *spec.window) continue;
    const int64_t created = history.created.empty() ? kMinTime : history.created[i];
    if (filter && created > time) continue;
    order.emplace_back(history.times[i], created, i);
  }
  std::ranges::sort(order);
  Values<T> values;
  for (const auto& [ts, created, i] : order) values.push_back(*history.values[i]);
  return values;
}

template <typename T>
double QuantileOf(const Values<T>& sorted, double quantile) {
  const double place = quantile * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(std::floor(place));
  const auto high = static_cast<size_t>(std::ceil(place));
  const auto a = static_cast<double>(sorted[low]);
  const auto b = static_cast<double>(sorted[high]);
  if (std::isnan(static_cast<double>(sorted.back())))
    return std::numeric_limits<double>::quiet_NaN();
  return a == b || low == high ? a : std::lerp(a, b, place - std::floor(place));
}

template <typename T>
double VarianceOf(const Values<T>& values, int ddof) {
  long double mean = 0;
  for (const T value : values) mean += static_cast<long double>(value);
  mean /= static_cast<long double>(values.size());
  long double squares = 0;
  for (const T value : values) {
    const long double difference = static_cast<long double>(value) - mean;
    squares += difference * difference;
  }
  return static_cast<double>(squares / (static_cast<long double>(values.size()) - ddof));
}

/// The functions that take numbers only. Values are such that long double sums are exact.
template <typename T>
std::string ExpectedNumber(const AggregateSpec& spec, const Values<T>& values,
                           const Values<T>& sorted) {
  const auto count = static_cast<double>(values.size());
  long double sum = 0;
  for (const T value : values) sum += static_cast<long double>(value);
  const bool nan = std::isnan(sum);
  switch (spec.function) {
    case F::kSum:
      if constexpr (!std::is_floating_point_v<T>) return Text(static_cast<int64_t>(sum));
      return Text(nan ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(sum) + 0.0);
    case F::kMean:
      return Text(nan ? std::numeric_limits<double>::quiet_NaN()
                      : (static_cast<double>(sum) + 0.0) / count);
    case F::kVar:
    case F::kStd: {
      if (static_cast<int>(values.size()) <= spec.ddof) return "null";
      const double variance = VarianceOf(values, spec.ddof);
      return std::isfinite(variance)
                 ? Concat("near ", spec.function == F::kVar ? variance : std::sqrt(variance))
                 : Text(std::numeric_limits<double>::quiet_NaN());
    }
    default:
      return Text(QuantileOf(sorted, spec.function == F::kMedian ? 0.5 : spec.quantile));
  }
}

template <typename T>
std::string Expected(const AggregateSpec& spec, const Values<T>& values) {
  if (spec.function == F::kCount) return Text(static_cast<int64_t>(values.size()));
  Values<T> sorted;
  for (const T& value : values) sorted.push_back(Canonical(value));
  std::stable_sort(sorted.begin(), sorted.end(), Smaller());
  std::map<T, int64_t, Smaller> counts;
  for (const T& value : sorted) ++counts[value];
  if (spec.function == F::kCountDistinct) return Text(static_cast<int64_t>(counts.size()));
  if (values.empty()) return "null";
  switch (spec.function) {
    case F::kFirst:
      return Text(values.front());
    case F::kLast:
      return Text(values.back());
    case F::kLastK: {
      std::string list;
      for (size_t i = values.size(); i > 0 && values.size() - i < static_cast<size_t>(spec.k);
           --i) {
        list += Text(values[i - 1]) + ";";
      }
      return list;
    }
    case F::kMin:
      return Text(sorted.front());
    case F::kMax: {
      T greatest = sorted.back();
      if constexpr (std::is_floating_point_v<T>) {
        for (const T value : sorted) {
          if (!std::isnan(value)) greatest = value;
        }
      }
      return Text(greatest);
    }
    case F::kMostFrequent: {
      auto best = counts.begin();
      for (auto i = counts.begin(); i != counts.end(); ++i) {
        if (i->second > best->second) best = i;
      }
      return Text(best->first);
    }
    default:
      if constexpr (!kIsString<T>) return ExpectedNumber(spec, values, sorted);
      return "?";
  }
}

template <typename T>
using ArrayOf = typename arrow::CTypeTraits<T>::ArrayType;

template <typename T>
std::string TextAt(const arrow::Array& array, int64_t i) {
  if constexpr (kIsString<T>) {
    return static_cast<const arrow::StringArray&>(array).GetString(i);
  } else {
    return Text<T>(static_cast<const ArrayOf<T>&>(array).Value(i));
  }
}

template <typename T>
std::string Actual(const AggregateSpec& spec, const arrow::Array& array, int64_t i) {
  if (array.IsNull(i)) return "null";
  if (spec.function == F::kLastK) {
    const auto& lists = static_cast<const arrow::ListArray&>(array);
    std::string text;
    for (int64_t j = lists.value_offset(i); j < lists.value_offset(i + 1); ++j)
      text += TextAt<T>(*lists.values(), j) + ";";
    return text;
  }
  if (array.type_id() == arrow::CTypeTraits<T>::ArrowType::type_id) return TextAt<T>(array, i);
  return array.type_id() == arrow::Type::INT64 ? TextAt<int64_t>(array, i)
                                               : TextAt<double>(array, i);
}

void CheckSame(const std::string& actual, const std::string& expected) {
  if (!expected.starts_with("near ")) {
    REQUIRE(actual == expected);
    return;
  }
  const double wanted = std::stod(expected.substr(5));
  REQUIRE(actual.starts_with("bits "));
  const auto got = std::bit_cast<double>(static_cast<uint64_t>(std::stoull(actual.substr(5))));
  REQUIRE(std::fabs(got - wanted) <= 1e-12 * wanted);
}

template <typename T>
std::shared_ptr<arrow::Array> MakeColumn(const std::vector<std::optional<T>>& values) {
  typename arrow::CTypeTraits<T>::BuilderType builder;
  // A slice in the middle: offsets must be honoured.
  REQUIRE(builder.Append(T{}).ok());
  for (const auto& value : values)
    REQUIRE((value ? builder.Append(*value) : builder.AppendNull()).ok());
  REQUIRE(builder.AppendNull().ok());
  return builder.Finish().ValueOrDie()->Slice(1, static_cast<int64_t>(values.size()));
}

template <typename T>
T RandomValue(TestRandom* random, bool special) {
  if constexpr (kIsString<T>) {
    return std::string(static_cast<size_t>(random->Int(0, 2)),
                       static_cast<char>('a' + random->Int(0, 3)));
  } else if constexpr (std::is_floating_point_v<T>) {
    const T specials[] = {T{0}, -T{0}, std::numeric_limits<T>::quiet_NaN(),
                          std::numeric_limits<T>::infinity()};
    if (special && random->Chance(0.2)) return specials[random->Int(0, 3)];
    return static_cast<T>(static_cast<double>(random->Int(-4000, 4000)) / 1024);
  } else if constexpr (std::is_same_v<T, bool>) {
    return random->Chance(0.5);
  } else if constexpr (std::is_unsigned_v<T>) {
    return static_cast<T>(random->Int(0, 100));
  } else {
    return static_cast<T>(random->Int(-50, 50));
  }
}

template <typename T>
History<T> RandomHistory(TestRandom* random) {
  History<T> history;
  const int64_t span = random->Int(1, 30);
  const bool with_created = random->Chance(0.5);
  const bool special = random->Chance(0.3);
  const int64_t count = random->Int(0, random->Chance(0.1) ? 400 : 50);
  for (int64_t i = 0; i < count; ++i) {
    history.ids.push_back(static_cast<int32_t>(random->Int(-1, 4)));
    history.times.push_back(random->Int(-span, span));
    if (with_created)
      history.created.push_back(random->Chance(0.2) ? kMinTime : random->Int(-span, span + 3));
    history.values.push_back(
        random->Chance(0.2) ? std::nullopt : std::optional<T>(RandomValue<T>(random, special)));
  }
  return history;
}

Labels RandomLabels(TestRandom* random) {
  Labels labels;
  const int64_t span = random->Int(1, 35);
  const int64_t count = random->Int(0, 25);
  for (int64_t i = 0; i < count; ++i) {
    labels.ids.push_back(static_cast<int32_t>(random->Int(-1, 5)));
    labels.times.push_back(random->Int(-span, span));
  }
  return labels;
}

std::vector<AggregateSpec> RandomSpecs(TestRandom* random, bool numeric) {
  std::vector<F> functions = {F::kCount, F::kMin,  F::kMax,   F::kCountDistinct,
                              F::kFirst, F::kLast, F::kLastK, F::kMostFrequent};
  if (numeric)
    functions.insert(functions.end(),
                     {F::kSum, F::kMean, F::kStd, F::kVar, F::kMedian, F::kQuantile});
  std::vector<AggregateSpec> specs;
  for (const F function : functions) {
    AggregateSpec spec;
    spec.function = function;
    if (random->Chance(0.8)) spec.window = random->Int(1, 20);
    spec.k = random->Int(1, 4);
    spec.quantile = random->Chance(0.3) ? static_cast<double>(random->Int(0, 1)) : random->Real();
    spec.ddof = static_cast<int>(random->Int(0, 2));
    specs.push_back(spec);
  }
  std::shuffle(specs.begin(), specs.end(), random->engine);
  return specs;
}

TEST_CASE_TEMPLATE("every function equals the brute force at every label", T, double, float,
                   int64_t, int32_t, int8_t, uint64_t, uint16_t, bool, std::string) {
  TestRandom random(404);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    const History<T> history = RandomHistory<T>(&random);
    const Labels labels = RandomLabels(&random);
    const std::vector<AggregateSpec> specs = RandomSpecs(&random, !kIsString<T>);
    const bool filter = random.Chance(0.4);
    const Events events{history.ids, history.times, history.created, {MakeColumn(history.values)}};
    const auto arrays =
        AggregateWindows({}, events, labels.ids, labels.times, specs, filter).ValueOrDie();
    REQUIRE(arrays.size() == specs.size());
    for (size_t s = 0; s < specs.size(); ++s) {
      CAPTURE(std::string(NameOf(specs[s].function)));
      REQUIRE(arrays[s]->ValidateFull().ok());
      REQUIRE(arrays[s]->type()->Equals(
          *ResultType(specs[s], *events.columns[0]->type()).ValueOrDie()));
      REQUIRE(static_cast<size_t>(arrays[s]->length()) == labels.ids.size());
      for (size_t i = 0; i < labels.ids.size(); ++i) {
        const Values<T> values = Visible(history, labels.ids[i], labels.times[i], specs[s], filter);
        CheckSame(Actual<T>(specs[s], *arrays[s], static_cast<int64_t>(i)),
                  Expected(specs[s], values));
      }
    }
  }
}

TEST_CASE(
    "results are the same bits for any order of events, any partition of labels and any number of "
    "threads") {
  TestRandom random(505);
  INFO("GNOMON_TEST_SEED=", random.seed);
  const auto equal = arrow::EqualOptions().nans_equal(true).signed_zeros_equal(false);
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    History<double> history = RandomHistory<double>(&random);
    const size_t count = history.ids.size();
    const bool special = random.Chance(0.2);
    for (auto& value : history.values) {  // magnitudes that would cancel badly
      if (value && (!special || random.Chance(0.7))) {
        value = std::ldexp(random.Real() - 0.5, static_cast<int>(random.Int(-300, 300)));
      }
    }
    // Distinct created times: otherwise first and last depend on the input order, as they should.
    history.created.resize(count);
    std::iota(history.created.begin(), history.created.end(), -20);
    std::shuffle(history.created.begin(), history.created.end(), random.engine);
    const Labels labels = RandomLabels(&random);
    const std::vector<AggregateSpec> specs = RandomSpecs(&random, true);
    const bool filter = random.Chance(0.3);
    SetNumThreads(1);
    const Events events{history.ids, history.times, history.created, {MakeColumn(history.values)}};
    const auto whole =
        AggregateWindows({}, events, labels.ids, labels.times, specs, filter).ValueOrDie();

    SetNumThreads(4);
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), random.engine);
    History<double> shuffled;
    for (const size_t i : order) {
      shuffled.ids.push_back(history.ids[i]);
      shuffled.times.push_back(history.times[i]);
      shuffled.created.push_back(history.created[i]);
      shuffled.values.push_back(history.values[i]);
    }
    const Events same{
        shuffled.ids, shuffled.times, shuffled.created, {MakeColumn(shuffled.values)}};
    const size_t num_labels = labels.ids.size();
    const auto step = static_cast<size_t>(random.Int(1, 10));
    std::vector<arrow::ArrayVector> parts(specs.size());
    for (size_t at = 0; at < num_labels; at += step) {
      const size_t size = std::min(step, num_labels - at);
      const auto part = AggregateWindows({}, same, std::span(labels.ids).subspan(at, size),
                                         std::span(labels.times).subspan(at, size), specs, filter)
                            .ValueOrDie();
      for (size_t s = 0; s < specs.size(); ++s) parts[s].push_back(part[s]);
    }
    for (size_t s = 0; s < specs.size() && num_labels > 0; ++s) {
      CAPTURE(std::string(NameOf(specs[s].function)));
      REQUIRE(arrow::Concatenate(parts[s]).ValueOrDie()->Equals(whole[s], equal));
    }
  }
  SetNumThreads(0);
}

}  // namespace
}  // namespace gnomon::pit
