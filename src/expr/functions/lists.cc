#include <array>
#include <cmath>
#include <limits>
#include <type_traits>

#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

constexpr std::array kElementKinds = {Kind::kInt,  Kind::kFloat,     Kind::kText,    Kind::kBool,
                                      Kind::kDate, Kind::kTimestamp, Kind::kDuration};

// A result per live row that may be null. function(row, slice, &out) returns whether there is a
// value.
template <typename Out, typename Function>
Status MapLists(const Call& call, const Vector& lists, Vector* out, Function function) {
  const int64_t count = call.rows.count;
  auto values = NewZeros<Out>(count);
  auto validity = NewZeros<uint8_t>(count);
  for (int64_t i = 0; i < count; ++i) {
    if (!call.IsLive(i)) continue;
    GNOMON_ASSIGN_OR_RETURN(const bool has_value, function(i, lists.At<ListSlice>(i), &values[i]));
    validity[i] = has_value ? 1 : 0;
  }
  out->values = std::move(values);
  out->validity = std::move(validity);
  return Status::OK();
}

// Calls visit(value) for the elements that are not null.
template <typename T, typename Visit>
void ForElements(const ListSlice& slice, Visit visit) {
  for (int64_t i = slice.begin; i < slice.begin + slice.length; ++i) {
    if (slice.elements->IsValid(i)) visit(slice.elements->At<T>(i));
  }
}

template <typename T>
Status ElementAt(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLists<T>(call, in[0], out,
                     [&](int64_t row, const ListSlice& slice, T* value) -> Result<bool> {
                       const int64_t index = in[1].At<int64_t>(row);
                       if (index < 0) return call.Fail(row, "a negative list index");
                       if (index >= slice.length || !slice.elements->IsValid(slice.begin + index))
                         return false;
                       *value = slice.elements->At<T>(slice.begin + index);
                       return true;
                     });
}

Status Length(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, ListSlice>(call, in[0], out,
                                    [](const ListSlice& slice) { return slice.length; });
}

template <typename T>
Status Sum(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLists<T>(call, in[0], out,
                     [&](int64_t row, const ListSlice& slice, T* sum) -> Result<bool> {
                       bool any = false;
                       bool overflow = false;
                       ForElements<T>(slice, [&](T value) {
                         any = true;
                         if constexpr (std::is_same_v<T, int64_t>) {
                           overflow |= __builtin_add_overflow(*sum, value, sum);
                         } else {
                           *sum += value;
                         }
                       });
                       if (overflow) return call.Fail(row, "integer overflow");
                       return any;
                     });
}

template <typename T>
Status Mean(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLists<double>(call, in[0], out,
                          [&](int64_t, const ListSlice& slice, double* mean) -> Result<bool> {
                            int64_t count = 0;
                            double sum = 0;
                            ForElements<T>(slice, [&](T value) {
                              ++count;
                              sum += static_cast<double>(value);
                            });
                            *mean = sum / static_cast<double>(count);
                            return count > 0;
                          });
}

template <typename T, bool least>
Status Extreme(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLists<T>(call, in[0], out,
                     [&](int64_t, const ListSlice& slice, T* extreme) -> Result<bool> {
                       bool any = false;
                       ForElements<T>(slice, [&](T value) {
                         const bool is_nan = value != value;
                         const bool better = least ? value < *extreme : *extreme < value;
                         if (!any || is_nan || (better && *extreme == *extreme)) *extreme = value;
                         any = true;
                       });
                       return any;
                     });
}

std::vector<Overload> IndexOverloads() {
  std::vector<Overload> overloads;
  for (const Kind kind : kElementKinds) {
    const Kernel kernel =
        WithValueType(kind, [](auto zero) -> Kernel { return ElementAt<decltype(zero)>; });
    overloads.push_back({{ListOf(kind), kIntType}, {kind}, kernel});
  }
  return overloads;
}

template <bool least>
std::vector<Overload> Extremes() {
  return {{{ListOf(Kind::kInt)}, kIntType, Extreme<int64_t, least>},
          {{ListOf(Kind::kFloat)}, kFloatType, Extreme<double, least>},
          {{ListOf(Kind::kDate)}, kDateType, Extreme<int64_t, least>},
          {{ListOf(Kind::kTimestamp)}, kTimestampType, Extreme<int64_t, least>}};
}

}  // namespace

std::vector<Overload> ListLengthOverloads() {
  std::vector<Overload> overloads;
  for (const Kind kind : kElementKinds) overloads.push_back({{ListOf(kind)}, kIntType, Length});
  return overloads;
}

FunctionFamily ListFunctions() {
  return {
      .title = "Lists",
      .doc =
          "For list columns; `length` is among the texts. Null elements are passed over, and a "
          "list without other "
          "elements gives null.",
      .functions = {
          {.name = "[]",
           .signature = "a[i]",
           .doc = "The element at i, counted from 0; null past the end. A negative i is an error.",
           .example = {},
           .result = {},
           .overloads = IndexOverloads()},
          {.name = "list_sum",
           .signature = "list_sum(a)",
           .doc = "The sum of the numbers.",
           .example = {},
           .result = {},
           .overloads = {{{ListOf(Kind::kInt)}, kIntType, Sum<int64_t>},
                         {{ListOf(Kind::kFloat)}, kFloatType, Sum<double>}}},
          {.name = "list_mean",
           .signature = "list_mean(a)",
           .doc = "The mean of the numbers, a float64.",
           .example = {},
           .result = {},
           .overloads = {{{ListOf(Kind::kInt)}, kFloatType, Mean<int64_t>},
                         {{ListOf(Kind::kFloat)}, kFloatType, Mean<double>}}},
          {.name = "list_min",
           .signature = "list_min(a)",
           .doc = "The least number, date or timestamp. NaN when one is NaN.",
           .example = {},
           .result = {},
           .overloads = Extremes<true>()},
          {.name = "list_max",
           .signature = "list_max(a)",
           .doc = "The greatest number, date or timestamp. NaN when one is NaN.",
           .example = {},
           .result = {},
           .overloads = Extremes<false>()},
      }};
}

}  // namespace gnomon::expr
