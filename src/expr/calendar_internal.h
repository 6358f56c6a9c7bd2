#pragma once

#include <cstdint>

/// The proleptic Gregorian calendar over all of int64 microseconds.
namespace gnomon::expr {

constexpr int64_t FloorDivide(int64_t value, int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}
constexpr int64_t FloorRemainder(int64_t value, int64_t by) {
  return value % by + (value % by < 0 ? by : 0);
}

struct CalendarDay {
  int64_t year = 0;
  int64_t month = 0;  ///< 1 to 12
  int64_t day = 0;    ///< 1 to 31
};

// Both count years from March, so that a leap day is the last of its year; 719,468 days lie between
// 0000-03-01 and 1970-01-01, 146,097 in 400 years.
constexpr int64_t DaysOf(int64_t year, int64_t month, int64_t day) {
  const int64_t march_year = month <= 2 ? year - 1 : year;
  const int64_t era = FloorDivide(march_year, 400);
  const int64_t year_of_era = march_year - era * 400;
  const int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
         719'468;
}

constexpr CalendarDay DayOf(int64_t days) {
  const int64_t shifted = days + 719'468;
  const int64_t era = FloorDivide(shifted, 146'097);
  const int64_t day_of_era = shifted - era * 146'097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t march_month = (5 * day_of_year + 2) / 153;
  const int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
  return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month,
          day_of_year - (153 * march_month + 2) / 5 + 1};
}

/// Monday 1 to Sunday 7. 1970-01-01 was a Thursday.
constexpr int64_t WeekdayOf(int64_t days) { return FloorRemainder(days + 3, 7) + 1; }

constexpr int64_t DayOfYear(int64_t days) { return days - DaysOf(DayOf(days).year, 1, 1) + 1; }

/// ISO 8601: the week belongs to the year of its Thursday.
constexpr int64_t WeekOf(int64_t days) {
  const int64_t thursday = days - WeekdayOf(days) + 4;
  return (DayOfYear(thursday) - 1) / 7 + 1;
}

}  // namespace gnomon::expr
