#include <cstdint>
#include <vector>

#include <doctest/doctest.h>

#include "base/time.h"
#include "tests/support/status.h"
#include "train/trainer.h"

namespace gnomon::train {
namespace {

using Part = TrainingConfig::Part;
using Rows = std::vector<int64_t>;

constexpr int64_t kWeek = 7 * kMicrosPerDay;

Part Last(int64_t duration) { return {.duration = duration, .fraction = 0}; }
Part Fraction(double fraction) { return {.duration = {}, .fraction = fraction}; }

TEST_CASE(
    "the last eight weeks of weekly data are eight weeks, and the four before them validate") {
  std::vector<int64_t> times;
  for (int64_t week = 0; week < 52; ++week) times.push_back(week * kWeek);
  const TimeSplit split = test::ValueOf(SplitByTime(times, Last(4 * kWeek), Last(8 * kWeek)));
  CHECK(split.test_start == 44 * kWeek);
  CHECK(split.validation_start == 40 * kWeek);
  CHECK(split.training.size() == 40);
  CHECK(split.validation == Rows{40, 41, 42, 43});
  CHECK(split.test == Rows{44, 45, 46, 47, 48, 49, 50, 51});
}

TEST_CASE("rows of one time stay together, whatever their order") {
  const std::vector<int64_t> times = {3, 1, 4, 2, 4, 1, 3, 2, 1, 1};
  const TimeSplit split = test::ValueOf(SplitByTime(times, Fraction(0.25), Fraction(0.25)));
  CHECK(split.test == Rows{2, 4});
  CHECK(split.validation == Rows{0, 6});
  CHECK(split.training == Rows{1, 3, 5, 7, 8, 9});
}

TEST_CASE("fractions are of the distinct times, at least one") {
  std::vector<int64_t> times;
  for (int64_t time = 0; time < 20; ++time) times.push_back(time);
  TimeSplit split = test::ValueOf(SplitByTime(times, Fraction(0.1), Fraction(0.2)));
  CHECK(split.test_start == 16);
  CHECK(split.validation_start == 14);
  split = test::ValueOf(SplitByTime(times, Fraction(0.001), Fraction(0.001)));
  CHECK(split.test_start == 19);
  CHECK(split.validation_start == 18);
}

TEST_CASE("a duration that ends exactly at a time leaves that time out") {
  const TimeSplit split = test::ValueOf(SplitByTime({0, 10, 20, 30}, Last(10), Last(10)));
  CHECK(split.test == Rows{3});
  CHECK(split.validation == Rows{2});
  const TimeSplit longer = test::ValueOf(SplitByTime({0, 10, 20, 30}, Last(10), Last(11)));
  CHECK(longer.test == Rows{2, 3});
}

TEST_CASE("the validation part is cut from what the test part leaves, across a gap") {
  const TimeSplit split = test::ValueOf(SplitByTime({0, 1, 2, 1'000}, Last(1), Last(10)));
  CHECK(split.test == Rows{3});
  CHECK(split.validation == Rows{2});
}

TEST_CASE("a part without rows is an error which names it and the range of the data") {
  CHECK_ERROR(SplitByTime({}, Fraction(0.1), Fraction(0.2)), ErrorKind::kUser, "no rows");
  CHECK_ERROR(SplitByTime({5, 5}, Fraction(0.1), Fraction(0.2)), ErrorKind::kUser,
              "1 distinct times");
  CHECK_ERROR(SplitByTime({0, kWeek}, Last(kWeek), Last(kWeek)), ErrorKind::kUser, "for training");
  CHECK_ERROR(SplitByTime({0, kWeek}, Last(kWeek), Last(3 * kWeek)), ErrorKind::kUser,
              "1970-01-08");
}

TEST_CASE("times at the ends of the range do not overflow") {
  const TimeSplit split =
      test::ValueOf(SplitByTime({INT64_MIN, INT64_MIN + 5, INT64_MIN + 9}, Last(1), Last(1)));
  CHECK(split.test == Rows{2});
  CHECK_ERROR(SplitByTime({INT64_MIN, INT64_MIN + 5}, Last(1), Last(INT64_MAX)), ErrorKind::kUser,
              "for");
}

}  // namespace
}  // namespace gnomon::train
