#include "base/time.h"

#include <limits>
#include <random>

#include <doctest/doctest.h>

#include "base/clock.h"
#include "tests/support/status.h"

namespace gnomon {

using test::ValueOf;

TEST_CASE("a timestamp is read in UTC, with an offset, or as a date") {
  constexpr int64_t kNoon = 1'704'456'000'000'000;  // 2024-01-05T12:00:00Z
  CHECK(ValueOf(ParseTimestamp("2024-01-05T12:00:00Z")) == kNoon);
  CHECK(ValueOf(ParseTimestamp("2024-01-05 12:00:00")) == kNoon);
  CHECK(ValueOf(ParseTimestamp("2024-01-05t12:00z")) == kNoon);
  CHECK(ValueOf(ParseTimestamp("2024-01-05T14:00:00+02:00")) == kNoon);
  CHECK(ValueOf(ParseTimestamp("2024-01-05T06:30:00-0530")) == kNoon);
  CHECK(ValueOf(ParseTimestamp("2024-01-05T13:00:00+01")) == kNoon);
  CHECK(ValueOf(ParseTimestamp(" 2024-01-05 ")) == kNoon - kMicrosPerDay / 2);
}

TEST_CASE("a fraction is cut off after microseconds") {
  CHECK(ValueOf(ParseTimestamp("1970-01-01T00:00:00.25Z")) == 250'000);
  CHECK(ValueOf(ParseTimestamp("1970-01-01T00:00:00.123456789Z")) == 123'456);
  CHECK(ValueOf(ParseTimestamp("1969-12-31T23:59:59.999999999Z")) == -1);
}

TEST_CASE("days that do not exist are errors") {
  CHECK_ERROR(ParseTimestamp("2024-02-30"), ErrorKind::kUser, "'2024-02-30'");
  for (const char* text : {"2023-02-29", "1900-02-29", "2024-04-31", "2024-13-01", "2024-00-01",
                           "2024-01-00", "0000-01-01"}) {
    CAPTURE(text);
    CHECK_FALSE(ParseTimestamp(text).ok());
  }
  CHECK_OK(ParseTimestamp("2024-02-29"));
  CHECK_OK(ParseTimestamp("2000-02-29"));
}

TEST_CASE("what is no timestamp is an error") {
  for (const char* text :
       {"", "now", "2024", "2024-1-5", "2024-01-05T", "2024-01-05T24:00:00Z", "2024-01-05T12",
        "2024-01-05T12:60", "2024-01-05T12:00:60Z", "2024-01-05T12:00:00.Z",
        "2024-01-05T12:00:00.1234567890Z", "2024-01-05T12:00:00ZZ", "2024-01-05T12:00:00+2",
        "2024-01-05T12:00:00+24:00", "2024-01-05T12:00:00 Z", "+024-01-05", "1704456000"}) {
    CAPTURE(text);
    CHECK_FALSE(ParseTimestamp(text).ok());
  }
}

TEST_CASE("the first and the last year are read and written") {
  for (const char* text :
       {"0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1582-10-10T01:02:03Z"}) {
    CHECK(FormatTimestamp(ValueOf(ParseTimestamp(text))) == text);
  }
  CHECK(ValueOf(ParseTimestamp("0001-01-01")) == -62'135'596'800'000'000);
}

TEST_CASE("years outside 1 to 9999 are written as the number") {
  const int64_t first = ValueOf(ParseTimestamp("0001-01-01"));
  const int64_t last = ValueOf(ParseTimestamp("9999-12-31T23:59:59.999999Z"));
  CHECK(FormatTimestamp(first - 1) == "-62135596800000001");
  CHECK(FormatTimestamp(last + 1) == Concat(last + 1));
  CHECK(FormatTimestamp(std::numeric_limits<int64_t>::min()) == "-9223372036854775808");
  CHECK(FormatTimestamp(std::numeric_limits<int64_t>::max()) == "9223372036854775807");
}

TEST_CASE("a fraction has six digits or none") {
  CHECK(FormatTimestamp(0) == "1970-01-01T00:00:00Z");
  CHECK(FormatTimestamp(1) == "1970-01-01T00:00:00.000001Z");
  CHECK(FormatTimestamp(-1) == "1969-12-31T23:59:59.999999Z");
  CHECK(FormatTimestamp(-kMicrosPerSecond) == "1969-12-31T23:59:59Z");
}

TEST_CASE("every instant is read back as it was written") {
  const int64_t first = ValueOf(ParseTimestamp("0001-01-01"));
  const int64_t last = ValueOf(ParseTimestamp("9999-12-31T23:59:59.999999Z"));
  constexpr unsigned kSeed = 20240105;
  CAPTURE(kSeed);
  std::mt19937_64 random(kSeed);
  std::uniform_int_distribution<int64_t> instants(first, last);
  for (int i = 0; i < 20'000; ++i) {
    const int64_t micros = instants(random);
    REQUIRE(ValueOf(ParseTimestamp(FormatTimestamp(micros))) == micros);
  }
}

TEST_CASE("every day of four hundred years follows the day before") {
  std::string before;
  const int64_t begin = ValueOf(ParseTimestamp("1799-12-31"));
  for (int64_t day = 0; day < 146'097; ++day) {
    const std::string text = FormatTimestamp(begin + day * kMicrosPerDay);
    REQUIRE(text > before);
    REQUIRE(ValueOf(ParseTimestamp(text.substr(0, 10))) == begin + day * kMicrosPerDay);
    before = text;
  }
}

TEST_CASE("a duration is a sum of numbers with units") {
  CHECK(ValueOf(ParseDuration("7d 1h 30min")) == 7 * kMicrosPerDay + 5'400 * kMicrosPerSecond);
  CHECK(ValueOf(ParseDuration("1H")) == 3'600 * kMicrosPerSecond);
  CHECK(ValueOf(ParseDuration("2w")) == 14 * kMicrosPerDay);
  CHECK(ValueOf(ParseDuration("5m")) == 300 * kMicrosPerSecond);
  CHECK(ValueOf(ParseDuration("1h30m")) == 5'400 * kMicrosPerSecond);
  CHECK(ValueOf(ParseDuration(" 250 ms ")) == 250'000);
  CHECK(ValueOf(ParseDuration("15s 3us")) == 15'000'003);
  CHECK(ValueOf(ParseDuration("0")) == 0);
}

TEST_CASE("what is no duration is an error") {
  for (const char* text :
       {"", " ", "7", "d", "-1d", "1.5h", "1 fortnight", "1D", "0 0", "1d,2h", "+1d"}) {
    CAPTURE(text);
    CHECK_ERROR(ParseDuration(text), ErrorKind::kUser, "expected a duration");
  }
}

TEST_CASE("a duration that does not fit is an error") {
  CHECK_ERROR(ParseDuration("106751992d"), ErrorKind::kUser, "out of range");
  CHECK_ERROR(ParseDuration("99999999999999999999us"), ErrorKind::kUser, "out of range");
  CHECK_ERROR(ParseDuration("9223372036854775807us 1us"), ErrorKind::kUser, "out of range");
  CHECK(ValueOf(ParseDuration("9223372036854775807us")) == std::numeric_limits<int64_t>::max());
}

TEST_CASE("a duration is written with the largest units first") {
  CHECK(FormatDuration(0) == "0s");
  CHECK(FormatDuration(7 * kMicrosPerDay + 5'400 * kMicrosPerSecond) == "7d 1h 30min");
  CHECK(FormatDuration(1'001'001) == "1s 1ms 1us");
  CHECK(FormatDuration(-kMicrosPerSecond) == "-1s");
}

TEST_CASE("every duration is read back as it was written") {
  std::mt19937_64 random(7);
  for (int i = 0; i < 2'000; ++i) {
    const auto micros = static_cast<int64_t>(random() >> (1 + random() % 62));
    REQUIRE(ValueOf(ParseDuration(FormatDuration(micros))) == micros);
  }
}

TEST_CASE("seconds are written for people") {
  CHECK(FormatSeconds(1.2444) == "1.24 s");
  CHECK(FormatSeconds(0.016) == "16 ms");
  CHECK(FormatSeconds(0.00082) == "820 us");
  CHECK(FormatSeconds(0) == "0 us");
  CHECK(FormatSeconds(0.0009996) == "1 ms");
  CHECK(FormatSeconds(0.9996) == "1.00 s");
  CHECK(FormatSeconds(75.25) == "75.2 s");
}

TEST_CASE("the real clock runs and the fake one stands still until it is moved") {
  CHECK(RealClock().NowMicros() > ValueOf(ParseTimestamp("2024-01-01")));
  const double before = MonotonicSeconds();
  CHECK(before <= MonotonicSeconds());
  FakeClock clock(5);
  CHECK(clock.NowMicros() == 5);
  clock.Advance(3);
  CHECK(clock.NowMicros() == 8);
  clock.Set(1);
  CHECK(clock.NowMicros() == 1);
}

}  // namespace gnomon
