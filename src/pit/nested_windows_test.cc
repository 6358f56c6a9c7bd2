// One label: the windows of all aggregates end together, and their states are widened from the
// shortest to the longest.

#include <array>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <doctest/doctest.h>

#include "pit/window.h"
#include "tests/support/status.h"

namespace gnomon::pit {
namespace {

using test::ValueOf;

std::shared_ptr<arrow::Array> RandomValues(std::mt19937_64& random, size_t count, bool nulls) {
  arrow::DoubleBuilder builder;
  for (size_t i = 0; i < count; ++i) {
    if (nulls && random() % 5 == 0) {
      CHECK_OK(builder.AppendNull());
    } else {
      const double big = random() % 7 == 0 ? 1e300 : 1.0;
      CHECK_OK(builder.Append(big * (static_cast<double>(random() % 60) - 30) / 7));
    }
  }
  return ValueOf(builder.Finish());
}

}  // namespace

TEST_CASE("an aggregate of one label has the same bits beside others and beside other labels") {
  constexpr std::array kFunctions = {
      AggregateFunction::kCount, AggregateFunction::kSum,           AggregateFunction::kMean,
      AggregateFunction::kMin,   AggregateFunction::kMax,           AggregateFunction::kStd,
      AggregateFunction::kVar,   AggregateFunction::kCountDistinct, AggregateFunction::kFirst,
      AggregateFunction::kLast,  AggregateFunction::kMedian,        AggregateFunction::kQuantile,
      AggregateFunction::kLastK, AggregateFunction::kMostFrequent};
  std::mt19937_64 random(11);
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    const size_t count = random() % 200;
    std::vector<int64_t> times;
    for (size_t i = 0; i < count; ++i) times.push_back(static_cast<int64_t>(random() % 300));
    const std::vector<int32_t> ids(count, 0);
    Events events{.ids = ids, .times = times, .created = {}, .columns = {}};
    events.columns = {RandomValues(random, count, false), RandomValues(random, count, true)};
    std::vector<AggregateSpec> specs;
    for (int i = 0; i < 40; ++i) {
      AggregateSpec spec{.function = kFunctions[random() % kFunctions.size()],
                         .column = static_cast<int>(random() % 2),
                         .k = 3};
      if (random() % 5 != 0) spec.window = static_cast<int64_t>(1 + random() % 250);
      if (spec.function == AggregateFunction::kQuantile) spec.quantile = 0.9;
      specs.push_back(spec);
    }
    const std::vector<int32_t> one = {0};
    const std::vector<int64_t> at = {static_cast<int64_t>(random() % 320)};
    const auto together = ValueOf(AggregateWindows({}, events, one, at, specs));
    // Two labels make windows slide; the second is the one that is asked for.
    const std::vector<int32_t> two = {0, 0};
    const std::vector<int64_t> both = {at[0] - 40, at[0]};
    for (size_t i = 0; i < specs.size(); ++i) {
      CAPTURE(NameOf(specs[i].function));
      const auto alone = ValueOf(AggregateWindows({}, events, two, both, {{specs[i]}}));
      CHECK(alone[0]->Slice(1)->Equals(*together[i],
                                       arrow::EqualOptions().signed_zeros_equal(false)));
    }
  }
}

}  // namespace gnomon::pit
