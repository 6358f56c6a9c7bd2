#include "base/time.h"

#include <array>
#include <cmath>
#include <optional>

#include "base/text.h"
#include "expr/calendar_internal.h"
#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

constexpr int64_t kMicrosPerMinute = 60 * kMicrosPerSecond;
constexpr int64_t kMicrosPerHour = 60 * kMicrosPerMinute;
constexpr int64_t kMicrosPerWeek = 7 * kMicrosPerDay;

int64_t DayNumber(int64_t micros) { return FloorDivide(micros, kMicrosPerDay); }

// A part of the calendar day.
template <int64_t (*part)(int64_t days)>
Status DatePart(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, int64_t>(call, in[0], out, [](int64_t days) { return part(days); });
}
template <int64_t (*part)(int64_t days)>
Status TimestampPart(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, int64_t>(call, in[0], out,
                                  [](int64_t micros) { return part(DayNumber(micros)); });
}

// A part of the clock.
template <int64_t unit, int64_t cycle>
Status ClockPart(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<int64_t, int64_t>(
      call, in[0], out, [](int64_t micros) { return FloorRemainder(micros, cycle) / unit; });
}

int64_t Year(int64_t days) { return DayOf(days).year; }
int64_t Month(int64_t days) { return DayOf(days).month; }
int64_t Day(int64_t days) { return DayOf(days).day; }
int64_t Quarter(int64_t days) { return (DayOf(days).month + 2) / 3; }

enum class Unit { kSecond, kMinute, kHour, kDay, kWeek, kMonth, kQuarter, kYear };

constexpr std::array<std::pair<std::string_view, Unit>, 8> kUnits = {{{"second", Unit::kSecond},
                                                                      {"minute", Unit::kMinute},
                                                                      {"hour", Unit::kHour},
                                                                      {"day", Unit::kDay},
                                                                      {"week", Unit::kWeek},
                                                                      {"month", Unit::kMonth},
                                                                      {"quarter", Unit::kQuarter},
                                                                      {"year", Unit::kYear}}};

std::optional<Unit> ParseUnit(std::string_view text) {
  const std::string lower = ToLower(text);
  for (const auto& [name, unit] : kUnits) {
    if (name == lower) return unit;
  }
  return std::nullopt;
}

// The unit is known and right: CheckUnit has seen it.
Unit UnitOf(const Vector& argument) { return *ParseUnit(argument.At<std::string_view>(0)); }

std::string CheckUnit(std::span<const BoundNodePtr> arguments, size_t* argument) {
  *argument = 0;
  const Vector* const unit = arguments[0]->constant();
  if (unit == nullptr) return "the unit must be a text literal";
  if (!unit->IsValid(0) || ParseUnit(unit->At<std::string_view>(0))) return {};
  std::vector<std::string> names;
  for (const auto& known : kUnits) names.emplace_back(known.first);
  return Concat("an unknown unit of time: ", Quoted(unit->At<std::string_view>(0)), "; one of ",
                Join(names, ", "));
}

// Microseconds of units of fixed length, else 0, and where they are counted from.
struct Fixed {
  int64_t length = 0;
  int64_t origin = 0;
};
Fixed FixedUnit(Unit unit) {
  switch (unit) {
    case Unit::kSecond:
      return {kMicrosPerSecond};
    case Unit::kMinute:
      return {kMicrosPerMinute};
    case Unit::kHour:
      return {kMicrosPerHour};
    case Unit::kDay:
      return {kMicrosPerDay};
    case Unit::kWeek:
      return {kMicrosPerWeek, -3 * kMicrosPerDay};  // Monday, 1969-12-29
    default:
      return {};
  }
}

// Units since the origin, rounded down: the boundaries that lie before the moment.
int64_t Boundaries(Unit unit, int64_t micros) {
  const Fixed fixed = FixedUnit(unit);
  if (fixed.length != 0) {
    const int64_t rest = FloorRemainder(micros, fixed.length) - fixed.origin;
    return FloorDivide(micros, fixed.length) + rest / fixed.length;
  }
  const CalendarDay day = DayOf(DayNumber(micros));
  const int64_t months = day.year * 12 + day.month - 1;
  if (unit == Unit::kYear) return day.year;
  return unit == Unit::kMonth ? months : FloorDivide(months, 3);
}

// The first day of the calendar unit (day, week or longer).
int64_t TruncateDays(Unit unit, int64_t days) {
  if (unit == Unit::kWeek) return days - WeekdayOf(days) + 1;
  const CalendarDay day = DayOf(days);
  if (unit == Unit::kMonth) return DaysOf(day.year, day.month, 1);
  if (unit == Unit::kQuarter) return DaysOf(day.year, (day.month - 1) / 3 * 3 + 1, 1);
  return unit == Unit::kYear ? DaysOf(day.year, 1, 1) : days;
}

bool TruncateFails(Unit unit, int64_t micros, int64_t* out) {
  const Fixed fixed = FixedUnit(unit);
  if (fixed.length != 0 && unit != Unit::kWeek) {
    return __builtin_sub_overflow(micros, FloorRemainder(micros, fixed.length), out);
  }
  return __builtin_mul_overflow(TruncateDays(unit, DayNumber(micros)), kMicrosPerDay, out);
}

Status TruncateTimestamp(const Call& call, std::span<const Vector> in, Vector* out) {
  const Unit unit = UnitOf(in[0]);
  return MapChecked<int64_t, int64_t>(
      call, in[1], out, "a time out of range",
      [unit](int64_t micros, int64_t* result) { return TruncateFails(unit, micros, result); });
}

Status TruncateDate(const Call& call, std::span<const Vector> in, Vector* out) {
  const Unit unit = UnitOf(in[0]);
  return MapAll<int64_t, int64_t>(call, in[1], out,
                                  [unit](int64_t days) { return TruncateDays(unit, days); });
}

Status DateDifference(const Call& call, std::span<const Vector> in, Vector* out) {
  const Unit unit = UnitOf(in[0]);
  return MapAll<int64_t, int64_t, int64_t>(
      call, in[1], in[2], out,
      [unit](int64_t from, int64_t to) { return Boundaries(unit, to) - Boundaries(unit, from); });
}

Status EpochSeconds(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapAll<double, int64_t>(call, in[0], out,
                                 [](int64_t micros) { return static_cast<double>(micros) / 1e6; });
}

Status TimestampOfSeconds(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, int64_t>(
      call, in[0], out, "a time out of range", [](int64_t seconds, int64_t* micros) {
        return __builtin_mul_overflow(seconds, kMicrosPerSecond, micros);
      });
}

Status TimestampOfFloatSeconds(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, double>(call, in[0], out, "a time out of range",
                                     [](double seconds, int64_t* micros) {
                                       constexpr double kLimit = 9.2e18;
                                       const double scaled = std::floor(seconds * 1e6 + 0.5);
                                       if (!(scaled > -kLimit && scaled < kLimit)) return true;
                                       *micros = static_cast<int64_t>(scaled);
                                       return false;
                                     });
}

template <int64_t (*part)(int64_t days)>
Function DayPartFunction(std::string name, std::string doc, std::string example,
                         std::string result) {
  std::string signature = name + "(t)";
  return {.name = std::move(name),
          .signature = std::move(signature),
          .doc = std::move(doc),
          .example = std::move(example),
          .result = std::move(result),
          .overloads = {{{kDateType}, kIntType, DatePart<part>},
                        {{kTimestampType}, kIntType, TimestampPart<part>}}};
}

template <int64_t unit, int64_t cycle>
Function ClockPartFunction(std::string name, std::string doc, std::string example,
                           std::string result) {
  std::string signature = name + "(t)";
  return {.name = std::move(name),
          .signature = std::move(signature),
          .doc = std::move(doc),
          .example = std::move(example),
          .result = std::move(result),
          .overloads = {{{kTimestampType}, kIntType, ClockPart<unit, cycle>}}};
}

}  // namespace

FunctionFamily TimeFunctions() {
  FunctionFamily family{.title = "Times",
                        .doc =
                            "Timestamps are instants in UTC to the microsecond, dates are days; a "
                            "date serves as midnight UTC where a "
                            "timestamp is wanted. Units are 'second', 'minute', 'hour', 'day', "
                            "'week' (from Monday), 'month', "
                            "'quarter' and 'year', as text literals.",
                        .functions = {}};
  std::vector<Function>& rows = family.functions;
  rows.push_back(DayPartFunction<Year>("year", "The year.", "year(date '2024-02-29')", "2024"));
  rows.push_back(DayPartFunction<Quarter>("quarter", "The quarter, 1 to 4.",
                                          "quarter(date '2024-02-29')", "1"));
  rows.push_back(
      DayPartFunction<Month>("month", "The month, 1 to 12.", "month(date '2024-02-29')", "2"));
  rows.push_back(DayPartFunction<WeekOf>(
      "week", "The ISO 8601 week, 1 to 53; it belongs to the year of its Thursday.",
      "week(date '2021-01-03')", "53"));
  rows.push_back(
      DayPartFunction<Day>("day", "The day of the month, 1 to 31.", "day('2024-02-29')", "29"));
  rows.push_back(DayPartFunction<DayOfYear>("day_of_year", "The day of the year, 1 to 366.",
                                            "day_of_year(date '2024-12-31')", "366"));
  rows.push_back(DayPartFunction<WeekdayOf>("day_of_week",
                                            "The day of the week, Monday 1 to Sunday 7 (ISO 8601).",
                                            "day_of_week(date '2024-01-01')", "1"));
  rows.push_back(ClockPartFunction<kMicrosPerHour, kMicrosPerDay>(
      "hour", "The hour, 0 to 23.", "hour(timestamp '2024-01-01T13:45:59Z')", "13"));
  rows.push_back(ClockPartFunction<kMicrosPerMinute, kMicrosPerHour>(
      "minute", "The minute, 0 to 59.", "minute(timestamp '2024-01-01T13:45:59Z')", "45"));
  rows.push_back(ClockPartFunction<kMicrosPerSecond, kMicrosPerMinute>(
      "second", "The whole second, 0 to 59.", "second(timestamp '2024-01-01T13:45:59Z')", "59"));
  rows.push_back({.name = "date_trunc",
                  .signature = "date_trunc(unit, t)",
                  .doc = "The beginning of the unit in which t lies, of the type of t.",
                  .example = "date_trunc('month', timestamp '2024-02-29T12:00:00Z')",
                  .result = "2024-02-01T00:00:00Z",
                  .overloads = {{{kTextType, kDateType}, kDateType, TruncateDate},
                                {{kTextType, kTimestampType}, kTimestampType, TruncateTimestamp}},
                  .check = CheckUnit});
  rows.push_back(
      {.name = "date_diff",
       .signature = "date_diff(unit, a, b)",
       .doc = "How many beginnings of the unit lie after a, up to b; negative when b is before a. "
              "(The time "
              "that passed is b - a, in seconds.)",
       .example =
           "date_diff('day', timestamp '2024-01-01T23:00:00Z', timestamp '2024-01-02T01:00:00Z')",
       .result = "1",
       .overloads = {{{kTextType, kTimestampType, kTimestampType}, kIntType, DateDifference}},
       .check = CheckUnit});
  rows.push_back({.name = "epoch_seconds",
                  .signature = "epoch_seconds(t)",
                  .doc = "Seconds since 1970-01-01T00:00:00Z with their fraction, a float64.",
                  .example = "epoch_seconds(timestamp '1970-01-02T00:00:00.5Z')",
                  .result = "86400.5",
                  .overloads = {{{kTimestampType}, kFloatType, EpochSeconds}}});
  rows.push_back(
      {.name = "timestamp_seconds",
       .signature = "timestamp_seconds(x)",
       .doc =
           "The timestamp so many seconds after 1970-01-01T00:00:00Z, to the nearest microsecond.",
       .example = "timestamp_seconds(86400)",
       .result = "1970-01-02T00:00:00Z",
       .overloads = {{{kIntType}, kTimestampType, TimestampOfSeconds},
                     {{kFloatType}, kTimestampType, TimestampOfFloatSeconds}}});
  return family;
}

}  // namespace gnomon::expr
