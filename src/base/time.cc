#include "base/time.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <optional>

namespace gnomon {

namespace {

constexpr int64_t kMicrosPerMinute = 60 * kMicrosPerSecond;
constexpr int64_t kMicrosPerHour = 60 * kMicrosPerMinute;

constexpr bool IsDigit(char letter) { return letter >= '0' && letter <= '9'; }

constexpr bool IsLeapYear(int year) {
  return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

constexpr int DaysInMonth(int year, int month) {
  constexpr std::array<int, 12> kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && IsLeapYear(year) ? 29 : kDays[static_cast<size_t>(month - 1)];
}

// Days since 1970-01-01 in the proleptic Gregorian calendar. The year is counted from March, so
// that a leap day is the last of its year; 719,468 days lie between 0000-03-01 and the epoch.
constexpr int64_t DaysOf(int year, int month, int day) {
  const int64_t march_year = month <= 2 ? year - 1 : year;
  const int64_t era = (march_year >= 0 ? march_year : march_year - 399) / 400;
  const int64_t year_of_era = march_year - era * 400;
  const int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

struct Date {
  int64_t year;
  int month;
  int day;
};

// The inverse of DaysOf.
constexpr Date DateOf(int64_t days) {
  const int64_t shifted = days + 719'468;
  const int64_t era = (shifted >= 0 ? shifted : shifted - 146'096) / 146'097;
  const int64_t day_of_era = shifted - era * 146'097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t march_month = (5 * day_of_year + 2) / 153;
  const int day = static_cast<int>(day_of_year - (153 * march_month + 2) / 5 + 1);
  const int month = static_cast<int>(march_month < 10 ? march_month + 3 : march_month - 9);
  return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

// Reads a timestamp from left to right.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool AtEnd() const { return text_.empty(); }

  // Exactly `count` digits.
  std::optional<int> Digits(size_t count) {
    if (text_.size() < count) return std::nullopt;
    int value = 0;
    for (const char letter : text_.substr(0, count)) {
      if (!IsDigit(letter)) return std::nullopt;
      value = value * 10 + (letter - '0');
    }
    text_.remove_prefix(count);
    return value;
  }

  // One of `letters`, else 0.
  char AnyOf(std::string_view letters) {
    if (text_.empty() || letters.find(text_.front()) == std::string_view::npos) return 0;
    const char letter = text_.front();
    text_.remove_prefix(1);
    return letter;
  }

  // One to nine digits after a point, in microseconds.
  std::optional<int> Fraction() {
    size_t count = 0;
    int micros = 0;
    while (count < text_.size() && IsDigit(text_[count])) {
      if (count < 6) micros = micros * 10 + (text_[count] - '0');
      ++count;
    }
    if (count == 0 || count > 9) return std::nullopt;
    for (size_t i = count; i < 6; ++i) micros *= 10;
    text_.remove_prefix(count);
    return micros;
  }

 private:
  std::string_view text_;
};

// Time of the day in microseconds.
std::optional<int64_t> ReadTimeOfDay(Reader* reader) {
  const auto hour = reader->Digits(2);
  if (!hour || *hour > 23 || !reader->AnyOf(":")) return std::nullopt;
  const auto minute = reader->Digits(2);
  if (!minute || *minute > 59) return std::nullopt;
  int64_t micros = *hour * kMicrosPerHour + *minute * kMicrosPerMinute;
  if (!reader->AnyOf(":")) return micros;
  const auto second = reader->Digits(2);
  if (!second || *second > 59) return std::nullopt;
  micros += *second * kMicrosPerSecond;
  if (!reader->AnyOf(".")) return micros;
  const auto fraction = reader->Fraction();
  if (!fraction) return std::nullopt;
  return micros + *fraction;
}

// What to take from the local time to get UTC; nothing means UTC.
std::optional<int64_t> ReadOffset(Reader* reader) {
  if (reader->AtEnd() || reader->AnyOf("Zz")) return 0;
  const char sign = reader->AnyOf("+-");
  if (!sign) return std::nullopt;
  const auto hours = reader->Digits(2);
  if (!hours || *hours > 23) return std::nullopt;
  int64_t offset = *hours * kMicrosPerHour;
  if (!reader->AtEnd()) {
    reader->AnyOf(":");
    const auto minutes = reader->Digits(2);
    if (!minutes || *minutes > 59) return std::nullopt;
    offset += *minutes * kMicrosPerMinute;
  }
  return sign == '-' ? -offset : offset;
}

std::optional<int64_t> ReadTimestamp(std::string_view text) {
  Reader reader(text);
  const auto year = reader.Digits(4);
  if (!year || *year == 0 || !reader.AnyOf("-")) return std::nullopt;
  const auto month = reader.Digits(2);
  if (!month || *month < 1 || *month > 12 || !reader.AnyOf("-")) return std::nullopt;
  const auto day = reader.Digits(2);
  if (!day || *day < 1 || *day > DaysInMonth(*year, *month)) return std::nullopt;
  const int64_t midnight = DaysOf(*year, *month, *day) * kMicrosPerDay;
  if (reader.AtEnd()) return midnight;
  if (!reader.AnyOf("Tt ")) return std::nullopt;
  const auto time_of_day = ReadTimeOfDay(&reader);
  if (!time_of_day) return std::nullopt;
  const auto offset = ReadOffset(&reader);
  if (!offset || !reader.AtEnd()) return std::nullopt;
  return midnight + *time_of_day - *offset;
}

struct DurationUnit {
  std::string_view name;
  int64_t micros;
};

constexpr std::array<DurationUnit, 9> kDurationUnits = {{
    {"w", 7 * kMicrosPerDay},
    {"d", kMicrosPerDay},
    {"h", kMicrosPerHour},
    {"H", kMicrosPerHour},
    {"min", kMicrosPerMinute},
    {"m", kMicrosPerMinute},
    {"s", kMicrosPerSecond},
    {"ms", 1'000},
    {"us", 1},
}};

constexpr std::array<DurationUnit, 6> kPrintedDurationUnits = {{
    {"d", kMicrosPerDay},
    {"h", kMicrosPerHour},
    {"min", kMicrosPerMinute},
    {"s", kMicrosPerSecond},
    {"ms", 1'000},
    {"us", 1},
}};

Status DurationError(std::string_view text) {
  return MakeError(ErrorKind::kUser, Concat("expected a duration, got ", Quoted(text)), {},
                   "write it like '7d', '1h 30min' or '15s'");
}

void SkipSpaces(std::string_view* text) {
  text->remove_prefix(std::min(text->find_first_not_of(' '), text->size()));
}

}  // namespace

Result<int64_t> ParseTimestamp(std::string_view text) {
  if (const auto micros = ReadTimestamp(Trim(text))) return *micros;
  return MakeError(ErrorKind::kUser, Concat("expected a timestamp, got ", Quoted(text)), {},
                   "write it like '2024-01-05T12:30:00Z' or '2024-01-05'");
}

std::string FormatTimestamp(int64_t micros) {
  int64_t days = micros / kMicrosPerDay;
  int64_t time_of_day = micros % kMicrosPerDay;
  if (time_of_day < 0) {
    time_of_day += kMicrosPerDay;
    --days;
  }
  const Date date = DateOf(days);
  if (date.year < 1 || date.year > 9999) return Concat(micros);
  std::array<char, 48> buffer;
  int length = std::snprintf(buffer.data(), buffer.size(), "%04d-%02d-%02dT%02d:%02d:%02d",
                             static_cast<int>(date.year), date.month, date.day,
                             static_cast<int>(time_of_day / kMicrosPerHour),
                             static_cast<int>(time_of_day / kMicrosPerMinute % 60),
                             static_cast<int>(time_of_day / kMicrosPerSecond % 60));
  std::string out(buffer.data(), static_cast<size_t>(length));
  if (const int64_t fraction = time_of_day % kMicrosPerSecond; fraction != 0) {
    length = std::snprintf(buffer.data(), buffer.size(), ".%06d", static_cast<int>(fraction));
    out.append(buffer.data(), static_cast<size_t>(length));
  }
  out += 'Z';
  return out;
}

Result<int64_t> ParseDuration(std::string_view text) {
  std::string_view rest = Trim(text);
  if (rest == "0") return 0;
  if (rest.empty()) return DurationError(text);
  int64_t total = 0;
  while (!rest.empty()) {
    int64_t number = 0;
    const auto [number_end, error] =
        std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error == std::errc::result_out_of_range) {
      return Error(ErrorKind::kUser, "duration out of range: ", Quoted(text));
    }
    if (error != std::errc{} || !IsDigit(rest.front())) return DurationError(text);
    rest.remove_prefix(static_cast<size_t>(number_end - rest.data()));
    SkipSpaces(&rest);
    const auto unit_end = std::ranges::find_if(rest, [](char c) { return c == ' ' || IsDigit(c); });
    const std::string_view unit_name(rest.begin(), unit_end);
    const auto unit = std::ranges::find(kDurationUnits, unit_name, &DurationUnit::name);
    if (unit == kDurationUnits.end()) return DurationError(text);
    int64_t micros = 0;
    if (__builtin_mul_overflow(number, unit->micros, &micros) ||
        __builtin_add_overflow(total, micros, &total)) {
      return Error(ErrorKind::kUser, "duration out of range: ", Quoted(text));
    }
    rest.remove_prefix(unit_name.size());
    SkipSpaces(&rest);
  }
  return total;
}

std::string FormatDuration(int64_t micros) {
  if (micros == 0) return "0s";
  std::string out = micros < 0 ? "-" : "";
  uint64_t rest = static_cast<uint64_t>(micros);
  if (micros < 0) rest = 0 - rest;
  bool first = true;
  for (const DurationUnit& unit : kPrintedDurationUnits) {
    const uint64_t size = static_cast<uint64_t>(unit.micros);
    if (rest < size) continue;
    if (!first) out += ' ';
    out += Concat(rest / size, unit.name);
    rest %= size;
    first = false;
  }
  return out;
}

std::string FormatSeconds(double seconds) {
  std::array<char, 400> buffer;
  const auto format = [&](const char* pattern, double value) {
    const int length = std::snprintf(buffer.data(), buffer.size(), pattern, value);
    return std::string(buffer.data(), static_cast<size_t>(length));
  };
  // The borders are where rounding would give 1000 of the smaller unit.
  const double magnitude = std::fabs(seconds);
  if (magnitude < 999.5e-6) return format("%.0f us", seconds * 1e6);
  if (magnitude < 0.9995) return format("%.0f ms", seconds * 1e3);
  if (magnitude < 9.995) return format("%.2f s", seconds);
  return format("%.1f s", seconds);
}

}  // namespace gnomon
