#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/text.h"
#include "base/time.h"
#include "expr/calendar_internal.h"
#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

using Text = std::string_view;
using Width = CastTarget::Width;

Status IntToFloat(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, int64_t>(call, in[0], out,
                                 [](int64_t x) { return static_cast<double>(x); });
}

Status BoolToInt(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, uint8_t>(call, in[0], out,
                                  [](uint8_t x) { return static_cast<int64_t>(x); });
}

Status BoolToFloat(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, uint8_t>(call, in[0], out,
                                 [](uint8_t x) { return static_cast<double>(x); });
}

template <typename T>
Status NumberToBool(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<uint8_t, T>(call, in[0], out,
                            [](T x) { return static_cast<uint8_t>(x != 0 ? 1 : 0); });
}

Status IntToInt32(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t>(call, in[0], out, "a number that int32 cannot hold",
                                      [](int64_t x, int64_t* result) {
                                        *result = x;
                                        return x != static_cast<int32_t>(x);
                                      });
}

Status FloatToFloat32(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, double>(call, in[0], out, [](double x) {
    constexpr double kMax = static_cast<double>(std::numeric_limits<float>::max());
    // The conversion of a double past the greatest float is undefined in C++; IEEE says infinity.
    if (std::fabs(x) > kMax * (1 + 0x1p-25))
      return std::copysign(std::numeric_limits<double>::infinity(), x);
    if (std::fabs(x) > kMax) return std::copysign(kMax, x);
    return static_cast<double>(static_cast<float>(x));
  });
}

// Towards zero.
template <Width width>
Status FloatToInt(const Call& call, std::span<const Vector> in, Vector* out) {
  constexpr bool kNarrow = width == Width::kInt32;
  constexpr std::string_view kProblem =
      kNarrow ? "a number that int32 cannot hold" : "a number that int64 cannot hold";
  return MapChecked<int64_t, double>(call, in[0], out, kProblem, [](double x, int64_t* result) {
    constexpr double kEnd = kNarrow ? 0x1p31 : 0x1p63;
    const double whole = std::trunc(x);
    if (!(whole >= -kEnd && whole < kEnd)) return true;
    *result = static_cast<int64_t>(whole);
    return false;
  });
}

// Reads live texts with read(text, &out), which returns false when the text is not of the type.
template <typename Out, typename Read>
Status ReadTexts(const Call& call, const Vector& texts, Vector* out, Text type, Read read) {
  return MapLive<Out>(call, out, [&](int64_t row, Out* result) {
    const Text text = texts.At<Text>(row);
    if (read(text, result)) return Status::OK();
    constexpr size_t kShown = 40;
    const std::string shown = Quoted(text.substr(0, kShown)) + (text.size() > kShown ? "..." : "");
    return call.Fail(row, Concat("cannot cast ", shown, " to ", type));
  });
}

template <typename T>
bool ReadNumber(Text text, T* out) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return false;
  }
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && stop == end;
}

Status TextToInt(const Call& call, std::span<const Vector> in, Vector* out) {
  return ReadTexts<int64_t>(call, in[0], out, "int64", ReadNumber<int64_t>);
}

Status TextToInt32(const Call& call, std::span<const Vector> in, Vector* out) {
  return ReadTexts<int64_t>(call, in[0], out, "int32", [](Text text, int64_t* result) {
    return ReadNumber(text, result) && *result == static_cast<int32_t>(*result);
  });
}

Status TextToFloat(const Call& call, std::span<const Vector> in, Vector* out) {
  return ReadTexts<double>(call, in[0], out, "float64", ReadNumber<double>);
}

Status TextToFloat32(const Call& call, std::span<const Vector> in, Vector* out) {
  GNOMON_RETURN_NOT_OK(TextToFloat(call, in, out));
  const Vector floats = *out;
  return FloatToFloat32(call, std::span(&floats, 1), out);
}

Status TextToBool(const Call& call, std::span<const Vector> in, Vector* out) {
  return ReadTexts<uint8_t>(call, in[0], out, "bool", [](Text text, uint8_t* result) {
    const std::string lower = ToLower(text);
    *result = lower == "true" ? 1 : 0;
    return lower == "true" || lower == "false";
  });
}

Status TextToTimestamp(const Call& call, std::span<const Vector> in, Vector* out) {
  return ReadTexts<int64_t>(call, in[0], out, "timestamp", [](Text text, int64_t* result) {
    const Result<int64_t> parsed = ParseTimestamp(text);
    *result = parsed.ValueOr(0);
    return parsed.ok();
  });
}

Status TextToDate(const Call& call, std::span<const Vector> in, Vector* out) {
  return ReadTexts<int64_t>(call, in[0], out, "date", [](Text text, int64_t* result) {
    const Result<int64_t> parsed = ParseTimestamp(text);
    *result = FloorDivide(parsed.ValueOr(0), kMicrosPerDay);
    return parsed.ok();
  });
}

Status DateToTimestamp(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t>(call, in[0], out, "a date that a timestamp cannot hold",
                                      [](int64_t days, int64_t* micros) {
                                        return __builtin_mul_overflow(days, kMicrosPerDay, micros);
                                      });
}

Status TimestampToDate(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, int64_t>(
      call, in[0], out, [](int64_t micros) { return FloorDivide(micros, kMicrosPerDay); });
}

std::string FormatDate(int64_t days) {
  const CalendarDay day = DayOf(days);
  const auto padded = [](int64_t value, size_t width) {
    std::string digits = std::to_string(value);
    return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
  };
  const std::string year = day.year < 0 ? "-" + padded(-day.year, 4) : padded(day.year, 4);
  return Concat(year, '-', padded(day.month, 2), '-', padded(day.day, 2));
}

std::string FormatSignedDuration(int64_t micros) {
  if (micros >= 0) return FormatDuration(micros);
  if (micros == std::numeric_limits<int64_t>::min()) return Concat(micros, "us");
  return "-" + FormatDuration(-micros);
}

std::string FormatBool(uint8_t value) { return value != 0 ? "true" : "false"; }
template <typename T>
std::string FormatNumber(T value) {
  return Concat(value);
}

template <typename T, std::string (*format)(T)>
Status ToText(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapLive<Text>(call, out, [&](int64_t row, Text* result) {
    *result = call.evaluation.CopyText(format(in[0].At<T>(row)));
    return Status::OK();
  });
}

Kernel ToTextKernel(Kind from) {
  switch (from) {
    case Kind::kBool:
      return ToText<uint8_t, FormatBool>;
    case Kind::kInt:
      return ToText<int64_t, FormatNumber<int64_t>>;
    case Kind::kFloat:
      return ToText<double, FormatNumber<double>>;
    case Kind::kTimestamp:
      return ToText<int64_t, FormatTimestamp>;
    case Kind::kDate:
      return ToText<int64_t, FormatDate>;
    case Kind::kDuration:
      return ToText<int64_t, FormatSignedDuration>;
    default:
      return nullptr;
  }
}

Kernel ToIntKernel(Kind from, Width width) {
  const bool narrow = width == Width::kInt32;
  if (from == Kind::kBool) return BoolToInt;
  if (from == Kind::kInt) return narrow ? IntToInt32 : nullptr;
  if (from == Kind::kFloat) return narrow ? FloatToInt<Width::kInt32> : FloatToInt<Width::kFull>;
  if (from == Kind::kText) return narrow ? TextToInt32 : TextToInt;
  return nullptr;
}

// float32(int64) rounds twice, as any float64 computation with a float32 result does.
Status IntToFloat32(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, int64_t>(call, in[0], out, [](int64_t x) {
    return static_cast<double>(static_cast<float>(static_cast<double>(x)));
  });
}

Kernel ToFloatKernel(Kind from, Width width) {
  const bool narrow = width == Width::kFloat32;
  if (from == Kind::kBool) return BoolToFloat;
  if (from == Kind::kInt) return narrow ? IntToFloat32 : IntToFloat;
  if (from == Kind::kFloat) return narrow ? FloatToFloat32 : nullptr;
  if (from == Kind::kText) return narrow ? TextToFloat32 : TextToFloat;
  return nullptr;
}

}  // namespace

Kernel CastKernel(Type from, CastTarget to) {
  switch (to.type.kind) {
    case Kind::kBool:
      if (from.kind == Kind::kInt) return NumberToBool<int64_t>;
      if (from.kind == Kind::kFloat) return NumberToBool<double>;
      return from.kind == Kind::kText ? TextToBool : nullptr;
    case Kind::kInt:
      return ToIntKernel(from.kind, to.width);
    case Kind::kFloat:
      return ToFloatKernel(from.kind, to.width);
    case Kind::kText:
      return ToTextKernel(from.kind);
    case Kind::kTimestamp:
      if (from.kind == Kind::kDate) return DateToTimestamp;
      return from.kind == Kind::kText ? TextToTimestamp : nullptr;
    case Kind::kDate:
      if (from.kind == Kind::kTimestamp) return TimestampToDate;
      return from.kind == Kind::kText ? TextToDate : nullptr;
    default:
      return nullptr;
  }
}

FunctionFamily CastFunctions() {
  return {
      .title = "Casts",
      .doc =
          "Integers widen to floats and dates to timestamps by themselves; all else is said. A "
          "value that does not "
          "fit is an error that names the row.",
      .functions = {
          {.name = "cast",
           .signature = "cast(x as type)",
           .doc =
               "x as bool, int32, int64, float32, float64, string, timestamp or date (in any case; "
               "also int, float, "
               "double, text and Feast's names). Floats become integers towards zero; NaN and what "
               "does not fit are "
               "errors. Texts are read strictly: '42', '1e3', 'true', RFC 3339. int32 and float32 "
               "are computed as "
               "int64 and float64, and written as they are when the cast is the whole expression.",
           .example = "cast('12' as int64) + cast(3.9 as Int32)",
           .result = "15",
           .overloads = {},
           .gives = "the named type"},
      }};
}

}  // namespace gnomon::expr
