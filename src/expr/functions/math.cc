#include <array>
#include <cmath>
#include <limits>

#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

constexpr std::string_view kOverflow = "integer overflow";

template <double (*function)(double)>
Status Float(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double>(call, in[0], out, [](double x) { return function(x); });
}

Status Power(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double, double>(call, in[0], in[1], out,
                                        [](double x, double y) { return std::pow(x, y); });
}

// floor, ceil and round of an integer.
Status Same(const Call& /*call*/, std::span<const Vector> in, Vector* out) {
  out->values = in[0].values;
  return Status::OK();
}

Status IntAbs(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t>(call, in[0], out, kOverflow, [](int64_t x, int64_t* result) {
    *result = x;
    return x < 0 && __builtin_sub_overflow(0, x, result);
  });
}

Status IntSign(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, int64_t>(
      call, in[0], out, [](int64_t x) -> int64_t { return (x > 0 ? 1 : 0) - (x < 0 ? 1 : 0); });
}

double SignOf(double x) {
  if (x > 0) return 1;
  return x < 0 ? -1 : x;
}

double RoundTo(double x, int64_t digits) {
  if (digits == 0) return std::round(x);
  if (digits > 308 || !std::isfinite(x)) return x;
  if (digits < -308) return std::copysign(0.0, x);
  const double scale = std::pow(10.0, static_cast<double>(digits < 0 ? -digits : digits));
  if (digits < 0) return std::round(x / scale) * scale;
  const double scaled = x * scale;
  return std::isfinite(scaled) ? std::round(scaled) / scale : x;
}

// Half away from zero; true when the result overflows.
bool RoundTo(int64_t x, int64_t digits, int64_t* out) {
  constexpr std::array<int64_t, 19> kPowers = [] {
    std::array<int64_t, 19> powers{};
    int64_t power = 1;
    for (size_t i = 0; i < powers.size(); ++i) {
      powers[i] = power;
      if (i + 1 < powers.size()) power *= 10;
    }
    return powers;
  }();
  if (digits >= 0) {
    *out = x;
    return false;
  }
  if (digits < -18) {
    // 10^19 rounds up from 5 * 10^18, and then does not fit.
    constexpr int64_t kHalf = 5'000'000'000'000'000'000;
    *out = 0;
    return digits == -19 && (x >= kHalf || x <= -kHalf);
  }
  const int64_t unit = kPowers[static_cast<size_t>(-digits)];
  const int64_t rest = x % unit;
  const int64_t half = unit / 2;
  const int64_t up = rest >= half ? unit : 0;
  const int64_t down = rest <= -half ? unit : 0;
  return __builtin_add_overflow(x - rest, up - down, out);
}

Status FloatRoundTo(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double, int64_t>(
      call, in[0], in[1], out, [](double x, int64_t digits) { return RoundTo(x, digits); });
}

Status IntRoundTo(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t, int64_t>(
      call, in[0], in[1], out, kOverflow,
      [](int64_t x, int64_t digits, int64_t* result) { return RoundTo(x, digits, result); });
}

Status IsNan(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<uint8_t, double>(
      call, in[0], out, [](double x) { return static_cast<uint8_t>(std::isnan(x) ? 1 : 0); });
}

Status IsFinite(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<uint8_t, double>(
      call, in[0], out, [](double x) { return static_cast<uint8_t>(std::isfinite(x) ? 1 : 0); });
}

template <double (*function)(double)>
Function FloatFunction(std::string name, std::string doc, std::string example, std::string result) {
  std::string signature = name + "(x)";
  return {.name = std::move(name),
          .signature = std::move(signature),
          .doc = std::move(doc),
          .example = std::move(example),
          .result = std::move(result),
          .overloads = {{{kFloatType}, kFloatType, Float<function>}}};
}

template <double (*function)(double)>
Function WholeFunction(std::string name, std::string doc, std::string example, std::string result) {
  Function row = FloatFunction<function>(std::move(name), std::move(doc), std::move(example),
                                         std::move(result));
  row.overloads.insert(row.overloads.begin(), {{kIntType}, kIntType, Same});
  return row;
}

double Floor(double x) { return std::floor(x); }
double Ceil(double x) { return std::ceil(x); }
double Abs(double x) { return std::fabs(x); }
double Sqrt(double x) { return std::sqrt(x); }
double Exp(double x) { return std::exp(x); }
double Ln(double x) { return std::log(x); }
double Log10(double x) { return std::log10(x); }
double Log2(double x) { return std::log2(x); }
double Sin(double x) { return std::sin(x); }
double Cos(double x) { return std::cos(x); }
double Tan(double x) { return std::tan(x); }
double Round(double x) { return std::round(x); }

}  // namespace

FunctionFamily MathFunctions() {
  FunctionFamily family{
      .title = "Mathematics",
      .doc = "Outside their domain functions give NaN or an infinity, never an error.",
      .functions = {}};
  std::vector<Function>& rows = family.functions;
  rows.push_back({.name = "abs",
                  .signature = "abs(x)",
                  .doc = "The absolute value.",
                  .example = "abs(-3)",
                  .result = "3",
                  .overloads = {{{kIntType}, kIntType, IntAbs},
                                {{kFloatType}, kFloatType, Float<Abs>},
                                {{kDurationType}, kDurationType, IntAbs}}});
  rows.push_back(
      {.name = "sign",
       .signature = "sign(x)",
       .doc = "-1, 0 or 1, of the type of x; NaN for NaN.",
       .example = "sign(-2.5)",
       .result = "-1",
       .overloads = {{{kIntType}, kIntType, IntSign}, {{kFloatType}, kFloatType, Float<SignOf>}}});
  rows.push_back(WholeFunction<Floor>(
      "floor", "The greatest whole number not above x, of the type of x.", "floor(-1.5)", "-2"));
  rows.push_back(WholeFunction<Ceil>(
      "ceil", "The least whole number not below x, of the type of x.", "ceil(1.2)", "2"));
  Function round = WholeFunction<Round>("round",
                                        "x rounded to so many digits after the point (0 when "
                                        "absent, negative for tens and hundreds), of the "
                                        "type of x. Halves go away from zero.",
                                        "round(2.456, 2)", "2.46");
  round.signature = "round(x[, digits])";
  round.overloads.push_back({{kIntType, kIntType}, kIntType, IntRoundTo});
  round.overloads.push_back({{kFloatType, kIntType}, kFloatType, FloatRoundTo});
  rows.push_back(std::move(round));
  rows.push_back(FloatFunction<Sqrt>("sqrt", "The square root.", "sqrt(2.25)", "1.5"));
  rows.push_back({.name = "power",
                  .signature = "power(x, y)",
                  .doc = "x to the power of y, a float64.",
                  .example = "power(2, 10)",
                  .result = "1024",
                  .overloads = {{{kFloatType, kFloatType}, kFloatType, Power}}});
  rows.push_back(FloatFunction<Exp>("exp", "e to the power of x.", "exp(0)", "1"));
  rows.push_back(FloatFunction<Ln>("ln", "The natural logarithm.", "ln(1)", "0"));
  rows.push_back(FloatFunction<Log10>("log10", "The decimal logarithm.", "log10(1000)", "3"));
  rows.push_back(FloatFunction<Log2>("log2", "The binary logarithm.", "log2(8)", "3"));
  rows.push_back(FloatFunction<Sin>("sin", "The sine of an angle in radians.", "sin(0)", "0"));
  rows.push_back(FloatFunction<Cos>("cos", "The cosine of an angle in radians.", "cos(0)", "1"));
  rows.push_back(FloatFunction<Tan>("tan", "The tangent of an angle in radians.", "tan(0)", "0"));
  rows.push_back({.name = "is_nan",
                  .signature = "is_nan(x)",
                  .doc = "Is x NaN?",
                  .example = "is_nan(sqrt(-1))",
                  .result = "true",
                  .overloads = {{{kFloatType}, kBoolType, IsNan}}});
  rows.push_back({.name = "is_finite",
                  .signature = "is_finite(x)",
                  .doc = "Is x neither NaN nor an infinity?",
                  .example = "is_finite(1 / 0)",
                  .result = "false",
                  .overloads = {{{kFloatType}, kBoolType, IsFinite}}});
  return family;
}

}  // namespace gnomon::expr
