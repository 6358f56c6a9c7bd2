#include <cmath>
#include <type_traits>

#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

// `a` unless it equals `b`: then null.
template <typename T>
Status NullIf(const Call& call, std::span<const Vector> in, Vector* out) {
  const int64_t count = call.rows.count;
  auto values = NewValues<T>(count);
  auto validity = NewValues<uint8_t>(count);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = in[0].At<T>(i);
    const bool equal = in[1].IsValid(i) && values[i] == in[1].At<T>(i);
    validity[i] = in[0].IsValid(i) && !equal ? 1 : 0;
  }
  out->values = std::move(values);
  out->validity = std::move(validity);
  return Status::OK();
}

template <typename T>
bool IsNan(const T& value) {
  if constexpr (std::is_same_v<T, double>) return std::isnan(value);
  return false;
}

// The least or greatest of the arguments that are not null. NaN wins.
template <typename T, bool least>
Status Extreme(const Call& call, std::span<const Vector> in, Vector* out) {
  const int64_t count = call.rows.count;
  auto values = NewZeros<T>(count);
  auto validity = NewZeros<uint8_t>(count);
  for (const Vector& argument : in) {
    for (int64_t i = 0; i < count; ++i) {
      if (!argument.IsValid(i)) continue;
      const T value = argument.At<T>(i);
      const bool better = least ? value < values[i] : values[i] < value;
      if (validity[i] == 0 || (better && !IsNan(values[i])) || IsNan(value)) values[i] = value;
      validity[i] = 1;
    }
  }
  out->values = std::move(values);
  out->validity = std::move(validity);
  return Status::OK();
}

template <typename T>
Status Clip(const Call& call, std::span<const Vector> in, Vector* out) {
  const int64_t count = call.rows.count;
  auto values = NewValues<T>(count);
  for (int64_t i = 0; i < count; ++i) {
    T value = in[0].At<T>(i);
    if (value < in[1].At<T>(i)) value = in[1].At<T>(i);
    if (value > in[2].At<T>(i)) value = in[2].At<T>(i);
    values[i] = value;
  }
  out->values = std::move(values);
  return Status::OK();
}

std::vector<Overload> NullIfs() {
  const auto pair = [](Type type, Kernel kernel) {
    return Overload{
        .parameters = {type, type}, .result = type, .kernel = kernel, .nulls_pass = true};
  };
  return {pair(kIntType, NullIf<int64_t>),     pair(kFloatType, NullIf<double>),
          pair(kBoolType, NullIf<uint8_t>),    pair(kTextType, NullIf<std::string_view>),
          pair(kDateType, NullIf<int64_t>),    pair(kTimestampType, NullIf<int64_t>),
          pair(kDurationType, NullIf<int64_t>)};
}

template <bool least>
std::vector<Overload> Extremes() {
  const auto some = [](Type type, Kernel kernel) {
    return Overload{.parameters = {type},
                    .result = type,
                    .kernel = kernel,
                    .variadic = true,
                    .nulls_pass = true};
  };
  return {some(kIntType, Extreme<int64_t, least>),
          some(kFloatType, Extreme<double, least>),
          some(kBoolType, Extreme<uint8_t, least>),
          some(kTextType, Extreme<std::string_view, least>),
          some(kDateType, Extreme<int64_t, least>),
          some(kTimestampType, Extreme<int64_t, least>),
          some(kDurationType, Extreme<int64_t, least>)};
}

}  // namespace

FunctionFamily ConditionalFunctions() {
  const auto triple = [](Type type) { return std::vector<Type>{type, type, type}; };
  return {
      .title = "Conditions",
      .doc =
          "The branches of one expression have one type, to which their values are brought as in a "
          "comparison.",
      .functions = {
          {.name = "case",
           .signature = "case when a then x [when ...] [else y] end",
           .doc = "The value beside the first condition that is true, else y, else null. A part is "
                  "evaluated only for "
                  "the rows that need it.",
           .example = "case when 2 > 1 then 'high' else 'low' end",
           .result = "high",
           .overloads = {},
           .gives = "the type of the branches"},
          {.name = "case of",
           .signature = "case a when b then x [when ...] [else y] end",
           .doc = "The value beside the first b that equals a, else y, else null. Null equals "
                  "nothing.",
           .example = "case 3 when 1 then 'one' when 3 then 'three' end",
           .result = "three",
           .overloads = {},
           .gives = "the type of the branches"},
          {.name = "coalesce",
           .signature = "coalesce(a, ...)",
           .doc = "The first argument that is not null. An argument is evaluated only where those "
                  "before are null.",
           .example = "coalesce(null, 7)",
           .result = "7",
           .overloads = {},
           .gives = "the type of the arguments"},
          {.name = "if_null",
           .signature = "if_null(a, b)",
           .doc = "The same as coalesce(a, b).",
           .example = "if_null('x', 'y')",
           .result = "x",
           .overloads = {},
           .gives = "the type of the arguments"},
          {.name = "nullif",
           .signature = "nullif(a, b)",
           .doc = "Null where a equals b, else a.",
           .example = "nullif(-1, -1) is null",
           .result = "true",
           .overloads = NullIfs()},
          {.name = "least",
           .signature = "least(a, ...)",
           .doc = "The least of the arguments that are not null; null when all are. NaN when one "
                  "is NaN.",
           .example = "least(3, null, 2)",
           .result = "2",
           .overloads = Extremes<true>()},
          {.name = "greatest",
           .signature = "greatest(a, ...)",
           .doc = "The greatest of the arguments that are not null; null when all are. NaN when "
                  "one is NaN.",
           .example = "greatest('a', 'b')",
           .result = "b",
           .overloads = Extremes<false>()},
          {.name = "clip",
           .signature = "clip(x, low, high)",
           .doc =
               "x, raised to low and lowered to high (which wins when they cross). NaN stays NaN.",
           .example = "clip(15, 0, 10)",
           .result = "10",
           .overloads = {{triple(kIntType), kIntType, Clip<int64_t>},
                         {triple(kFloatType), kFloatType, Clip<double>},
                         {triple(kDateType), kDateType, Clip<int64_t>},
                         {triple(kTimestampType), kTimestampType, Clip<int64_t>},
                         {triple(kDurationType), kDurationType, Clip<int64_t>}}},
      }};
}

}  // namespace gnomon::expr
