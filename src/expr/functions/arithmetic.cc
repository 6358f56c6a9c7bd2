#include <cmath>
#include <limits>

#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

constexpr std::string_view kOverflow = "integer overflow";
constexpr std::string_view kTimeOverflow = "a time out of range";
constexpr std::string_view kByZero = "division by zero";
constexpr double kMicros = 1e6;

enum class Operator { kAdd, kSubtract, kMultiply };

template <Operator op>
bool Overflows(int64_t a, int64_t b, int64_t* out) {
  if constexpr (op == Operator::kAdd) return __builtin_add_overflow(a, b, out);
  if constexpr (op == Operator::kSubtract) return __builtin_sub_overflow(a, b, out);
  return __builtin_mul_overflow(a, b, out);
}

template <Operator op>
Status Int(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t, int64_t>(call, in[0], in[1], out, kOverflow, Overflows<op>);
}

template <Operator op>
Status Float(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double, double>(call, in[0], in[1], out, [](double a, double b) {
    if constexpr (op == Operator::kAdd) return a + b;
    if constexpr (op == Operator::kSubtract) return a - b;
    return a * b;
  });
}

// timestamp +- duration, duration + timestamp, duration +- duration, duration * integer: all are
// int64 inside.
template <Operator op>
Status Time(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t, int64_t>(call, in[0], in[1], out, kTimeOverflow,
                                               Overflows<op>);
}

Status TimeMinusTime(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, int64_t, int64_t>(call, in[0], in[1], out, [](int64_t a, int64_t b) {
    int64_t difference = 0;
    const bool overflow = __builtin_sub_overflow(a, b, &difference);
    return (overflow ? static_cast<double>(a) - static_cast<double>(b)
                     : static_cast<double>(difference)) /
           kMicros;
  });
}

Status Divide(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double, double>(call, in[0], in[1], out,
                                        [](double a, double b) { return a / b; });
}

Status DivideDurations(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, int64_t, int64_t>(call, in[0], in[1], out, [](int64_t a, int64_t b) {
    return static_cast<double>(a) / static_cast<double>(b);
  });
}

bool QuotientFails(int64_t a, int64_t b, int64_t* out) {
  if (b == 0) return true;
  if (b == -1) return __builtin_sub_overflow(int64_t{0}, a, out);
  *out = a / b - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0);
  return false;
}

bool RemainderFails(int64_t a, int64_t b, int64_t* out) {
  if (b == 0) return true;
  const int64_t rest = b == -1 ? 0 : a % b;
  *out = rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  return false;
}

Status IntQuotient(const Call& call, std::span<const Vector> in, Vector* out) {
  const auto divides_by_zero = [&](int64_t row) { return in[1].At<int64_t>(row) == 0; };
  const Status status =
      MapChecked<int64_t, int64_t, int64_t>(call, in[0], in[1], out, kOverflow, QuotientFails);
  if (status.ok()) return status;
  const int64_t row = FirstLive(call, divides_by_zero);
  return row < 0 ? status : call.Fail(row, kByZero);
}

Status IntRemainder(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t, int64_t>(call, in[0], in[1], out, kByZero, RemainderFails);
}

Status FloatQuotient(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double, double>(call, in[0], in[1], out,
                                        [](double a, double b) { return std::floor(a / b); });
}

Status FloatRemainder(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double, double>(call, in[0], in[1], out, [](double a, double b) {
    const double rest = std::fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  });
}

Status IntNegate(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t>(call, in[0], out, kOverflow, [](int64_t a, int64_t* result) {
    return __builtin_sub_overflow(0, a, result);
  });
}

Status FloatNegate(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double>(call, in[0], out, [](double a) { return -a; });
}

}  // namespace

FunctionFamily ArithmeticFunctions() {
  using enum Operator;
  const std::vector<Type> ints = {kIntType, kIntType};
  const std::vector<Type> floats = {kFloatType, kFloatType};
  const std::vector<Type> timestamps = {kTimestampType, kTimestampType};
  const std::vector<Type> durations = {kDurationType, kDurationType};
  const std::vector<Type> timestamp_duration = {kTimestampType, kDurationType};
  return {
      .title = "Arithmetic",
      .doc = "An integer and a float give a float. Integer overflow is an error.",
      .functions = {
          {.name = "+",
           .signature = "a + b",
           .doc = "Sum of numbers or of durations; a timestamp or date moved by a duration is a "
                  "timestamp.",
           .example = "timestamp '2024-01-31' + interval '1d 6h'",
           .result = "2024-02-01T06:00:00Z",
           .overloads = {{ints, kIntType, Int<kAdd>},
                         {floats, kFloatType, Float<kAdd>},
                         {timestamp_duration, kTimestampType, Time<kAdd>},
                         {{kDurationType, kTimestampType}, kTimestampType, Time<kAdd>},
                         {durations, kDurationType, Time<kAdd>}}},
          {.name = "-",
           .signature = "a - b",
           .doc = "Difference of numbers or of durations. Between timestamps or dates: the seconds "
                  "from b to a, a "
                  "float64.",
           .example = "timestamp '2024-01-02' - timestamp '2024-01-01'",
           .result = "86400",
           .overloads = {{ints, kIntType, Int<kSubtract>},
                         {floats, kFloatType, Float<kSubtract>},
                         {timestamps, kFloatType, TimeMinusTime},
                         {timestamp_duration, kTimestampType, Time<kSubtract>},
                         {durations, kDurationType, Time<kSubtract>}}},
          {.name = "*",
           .signature = "a * b",
           .doc = "Product of numbers, or of a duration and an integer.",
           .example = "6 * 7",
           .result = "42",
           .overloads = {{ints, kIntType, Int<kMultiply>},
                         {floats, kFloatType, Float<kMultiply>},
                         {{kDurationType, kIntType}, kDurationType, Time<kMultiply>},
                         {{kIntType, kDurationType}, kDurationType, Time<kMultiply>}}},
          {.name = "/",
           .signature = "a / b",
           .doc = "Quotient, always a float64: x / 0 is an infinity or NaN. Also the ratio of two "
                  "durations.",
           .example = "7 / 2",
           .result = "3.5",
           .overloads = {{floats, kFloatType, Divide}, {durations, kFloatType, DivideDurations}}},
          {.name = "//",
           .signature = "a // b",
           .doc =
               "Quotient rounded towards minus infinity. Between integers, a zero b is an error.",
           .example = "-7 // 2",
           .result = "-4",
           .overloads = {{ints, kIntType, IntQuotient}, {floats, kFloatType, FloatQuotient}}},
          {.name = "%",
           .signature = "a % b",
           .doc = "Remainder with the sign of b, so that a = (a // b) * b + a % b. Between "
                  "integers, a zero b is an "
                  "error.",
           .example = "-7 % 2",
           .result = "1",
           .overloads = {{ints, kIntType, IntRemainder}, {floats, kFloatType, FloatRemainder}}},
          {.name = "unary -",
           .signature = "-a",
           .doc = "The negative of a number or duration.",
           .example = "-(2 + 3)",
           .result = "-5",
           .overloads = {{{kIntType}, kIntType, IntNegate},
                         {{kFloatType}, kFloatType, FloatNegate},
                         {{kDurationType}, kDurationType, IntNegate}}},
      }};
}

}  // namespace gnomon::expr
