#include <functional>

#include "base/text.h"
#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

template <typename T, typename Compare>
Status CompareValues(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<uint8_t, T, T>(call, in[0], in[1], out, [](T a, T b) {
    return static_cast<uint8_t>(Compare{}(a, b) ? 1 : 0);
  });
}

template <typename T>
Status Between(const Call& call, std::span<const Vector> in, Vector* out) {
  // Three-valued, as a >= low and a <= high: one false bound decides even when the other is null.
  const int64_t count = call.rows.count;
  auto values = NewValues<uint8_t>(count);
  auto validity = NewValues<uint8_t>(count);
  for (int64_t i = 0; i < count; ++i) {
    const bool known = in[0].IsValid(i);
    const T value = in[0].At<T>(i);
    const bool low_known = known && in[1].IsValid(i);
    const bool high_known = known && in[2].IsValid(i);
    const bool outside =
        (low_known && !(value >= in[1].At<T>(i))) || (high_known && !(value <= in[2].At<T>(i)));
    values[i] = outside ? 0 : 1;
    validity[i] = outside || (low_known && high_known) ? 1 : 0;
  }
  out->values = std::move(values);
  out->validity = std::move(validity);
  return Status::OK();
}

// One overload per kind that can be compared.
template <typename Compare>
std::vector<Overload> Comparisons() {
  const auto pair = [](Type type, Kernel kernel) {
    return Overload{{type, type}, kBoolType, kernel};
  };
  return {pair(kIntType, CompareValues<int64_t, Compare>),
          pair(kFloatType, CompareValues<double, Compare>),
          pair(kBoolType, CompareValues<uint8_t, Compare>),
          pair(kTextType, CompareValues<std::string_view, Compare>),
          pair(kDateType, CompareValues<int64_t, Compare>),
          pair(kTimestampType, CompareValues<int64_t, Compare>),
          pair(kDurationType, CompareValues<int64_t, Compare>)};
}

std::vector<Overload> Betweens() {
  const auto triple = [](Type type, Kernel kernel) {
    return Overload{.parameters = {type, type, type},
                    .result = kBoolType,
                    .kernel = kernel,
                    .nulls_pass = true};
  };
  return {triple(kIntType, Between<int64_t>),     triple(kFloatType, Between<double>),
          triple(kBoolType, Between<uint8_t>),    triple(kTextType, Between<std::string_view>),
          triple(kDateType, Between<int64_t>),    triple(kTimestampType, Between<int64_t>),
          triple(kDurationType, Between<int64_t>)};
}

template <typename Compare>
Function Comparison(std::string sign, std::string doc, std::string example, std::string result) {
  return {.name = sign,
          .signature = Concat("a ", sign, " b"),
          .doc = std::move(doc),
          .example = std::move(example),
          .result = std::move(result),
          .overloads = Comparisons<Compare>()};
}

}  // namespace

FunctionFamily ComparisonFunctions() {
  return {
      .title = "Comparison",
      .doc =
          "Between values of one type; an integer compares with a float as a float, a date with a "
          "timestamp as "
          "midnight UTC, and a text literal with a timestamp or date as one. Texts compare by "
          "bytes, false is "
          "less than true, a comparison with NaN is false except `!=`.",
      .functions = {
          Comparison<std::equal_to<>>("=", "Equal; also written ==.", "'a' = 'a'", "true"),
          Comparison<std::not_equal_to<>>("!=", "Not equal; also written <>.", "2 != 2.0", "false"),
          Comparison<std::less<>>("<", "Less.", "date '2024-01-31' < '2024-02-01'", "true"),
          Comparison<std::less_equal<>>("<=", "Less or equal.", "1 <= 0.5", "false"),
          Comparison<std::greater<>>(">", "Greater.", "'b' > 'abc'", "true"),
          Comparison<std::greater_equal<>>(">=", "Greater or equal.",
                                           "interval '1h' >= interval '60min'", "true"),
          {.name = "between",
           .signature = "a [not] between low and high",
           .doc = "a >= low and a <= high, both ends included.",
           .example = "5 between 1 and 5",
           .result = "true",
           .overloads = Betweens()},
          {.name = "in",
           .signature = "a [not] in (b, ...)",
           .doc = "Is a equal to one of the values? Null when it is not and one of them is null. "
                  "Values that are "
                  "not literals are evaluated in order, where nothing before is equal.",
           .example = "3 in (1, 2, 3)",
           .result = "true",
           .overloads = {},
           .gives = "bool"},
          {.name = "is null",
           .signature = "a is [not] null",
           .doc = "Is the value null? For every type; never null itself.",
           .example = "null is not null",
           .result = "false",
           .overloads = {},
           .gives = "bool"},
      }};
}

}  // namespace gnomon::expr
