#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "base/text.h"
#include "base/time.h"
#include "train/trainer.h"

namespace gnomon::train {

namespace {

// How many of the sorted, distinct `times` belong to the part at their end.
size_t TimesAtEnd(std::span<const int64_t> times, const TrainingConfig::Part& part) {
  if (times.empty()) return 0;
  if (!part.duration.has_value()) {
    return static_cast<size_t>(
        std::max(1.0, std::round(part.fraction * static_cast<double>(times.size()))));
  }
  int64_t last_outside = 0;
  if (__builtin_sub_overflow(times.back(), *part.duration, &last_outside)) {
    last_outside = std::numeric_limits<int64_t>::min();
  }
  return static_cast<size_t>(times.end() - std::ranges::upper_bound(times, last_outside));
}

}  // namespace

Result<TimeSplit> SplitByTime(const std::vector<int64_t>& times,
                              const TrainingConfig::Part& validation,
                              const TrainingConfig::Part& test) {
  std::vector<int64_t> distinct = times;
  std::ranges::sort(distinct);
  const auto repeated = std::ranges::unique(distinct);
  distinct.erase(repeated.begin(), repeated.end());

  const size_t test_times = TimesAtEnd(distinct, test);
  const size_t before_test = distinct.size() - std::min(test_times, distinct.size());
  // Fractions are of all distinct times.
  const size_t validation_times =
      validation.duration.has_value()
          ? TimesAtEnd(std::span(distinct).first(before_test), validation)
          : TimesAtEnd(distinct, validation);
  if (before_test <= validation_times || test_times == 0 || validation_times == 0) {
    const std::string range = distinct.empty() ? "no rows"
                                               : Concat(distinct.size(), " distinct times from ",
                                                        FormatTimestamp(distinct.front()), " to ",
                                                        FormatTimestamp(distinct.back()));
    const char* empty = "training";
    if (test_times == 0) {
      empty = "test";
    } else if (validation_times == 0) {
      empty = "validation";
    }
    return MakeError(ErrorKind::kUser,
                     Concat("the split leaves no rows for ", empty, "; the data has ", range), {},
                     "change 'split': {test: ..., validation: ...}");
  }
  TimeSplit split;
  split.test_start = distinct[before_test];
  split.validation_start = distinct[before_test - validation_times];
  for (size_t row = 0; row < times.size(); ++row) {
    std::vector<int64_t>* part = &split.training;
    if (times[row] >= split.test_start) {
      part = &split.test;
    } else if (times[row] >= split.validation_start) {
      part = &split.validation;
    }
    part->push_back(static_cast<int64_t>(row));
  }
  return split;
}

}  // namespace gnomon::train
