#include "feature/engine/view_columns.h"

#include <doctest/doctest.h>

#include "feature/definition/definition.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kHour = 3'600'000'000;

TEST_CASE("a window view is read as far back as the windows that are asked for reach") {
  FeatureView view;
  view.name = "fares";
  for (const auto& [name, window] : {std::pair<const char*, std::optional<int64_t>>{"hour", kHour},
                                     {"day", 24 * kHour},
                                     {"ever", std::nullopt}}) {
    Aggregation aggregation;
    aggregation.column = "fare";
    aggregation.name = name;
    aggregation.time_window = window;
    view.aggregations.push_back(aggregation);
    view.schema.push_back({.name = name, .dtype = {}, .description = {}, .tags = {}});
  }
  const auto first = [&](const std::vector<size_t>& features) {
    PlannedView planned;
    planned.view = &view;
    for (const size_t i : features) planned.features.push_back(&view.schema[i]);
    const SourceRange range = RangeToRead(planned, 30 * kHour, 40 * kHour, {});
    CHECK(range.max == 40 * kHour);
    return range.min;
  };
  CHECK(first({0}) == 29 * kHour);
  CHECK(first({1, 0}) == 6 * kHour);
  CHECK(first({0, 2}) == std::nullopt);
}

}  // namespace
}  // namespace gnomon::feature
