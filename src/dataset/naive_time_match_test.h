#pragma once

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "dataset/naive_table_test.h"

/// Point-in-time joins and windows as loops over all pairs of rows. All times are milliseconds.
namespace gnomon::dataset::test {

/// The rows of `right` that exist for row `label` of `left`, oldest first.
inline std::vector<const Row*> NaiveEvents(const NaiveTable& left, const NaiveTable& right,
                                           const TimeMatch& match, const Row& label) {
  const auto number = [](const NaiveTable& table, const Row& row,
                         const std::string& name) -> std::optional<int64_t> {
    const Value& value = row[table.Place(name)];
    if (IsNull(value)) return std::nullopt;
    return std::get<int64_t>(value);
  };
  const auto at = number(left, label, match.left_time);
  if (!at) return {};
  std::vector<std::tuple<int64_t, int64_t, const Row*>> events;
  for (const Row& row : right.rows) {
    const auto time = number(right, row, match.right_time);
    if (!time || *time > *at) continue;
    bool equal = true;
    for (size_t i = 0; i < match.left_keys.size(); ++i) {
      const Value& a = label[left.Place(match.left_keys[i])];
      const Value& b = row[right.Place(match.right_keys[i])];
      equal = equal && !IsNull(a) && a == b;
    }
    if (!equal) continue;
    std::optional<int64_t> created;
    if (!match.created.empty()) created = number(right, row, match.created);
    if (created && match.created_before && *created * 1000 > *match.created_before) continue;
    if (created && match.filter_by_created && *created > *at) continue;
    events.emplace_back(*time, created.value_or(std::numeric_limits<int64_t>::min()), &row);
  }
  std::stable_sort(events.begin(), events.end(), [](const auto& a, const auto& b) {
    return std::tie(std::get<0>(a), std::get<1>(a)) < std::tie(std::get<0>(b), std::get<1>(b));
  });
  std::vector<const Row*> rows;
  for (const auto& event : events) rows.push_back(std::get<2>(event));
  return rows;
}

/// Rows of `right` within `micros` before the label; `inclusive`: also that long ago exactly.
inline bool IsWithin(const NaiveTable& left, const NaiveTable& right, const TimeMatch& match,
                     const Row& label, const Row& event, int64_t micros, bool inclusive) {
  const int64_t age = (std::get<int64_t>(label[left.Place(match.left_time)]) -
                       std::get<int64_t>(event[right.Place(match.right_time)])) *
                      1000;
  return inclusive ? age <= micros : age < micros;
}

inline NaiveTable NaiveAsOfJoin(NaiveTable left, const NaiveTable& right,
                                const AsOfJoinSpec& spec) {
  NaiveTable output = left;
  for (const AsOfFeature& feature : spec.features) {
    output.names.push_back(feature.name);
    output.types.push_back(right.types[right.Place(feature.column)]);
  }
  for (size_t i = 0; i < left.rows.size(); ++i) {
    const Row& label = left.rows[i];
    const auto events = NaiveEvents(left, right, spec.match, label);
    const bool matches =
        !events.empty() && (spec.tolerance == 0 || IsWithin(left, right, spec.match, label,
                                                            *events.back(), spec.tolerance, true));
    for (const AsOfFeature& feature : spec.features) {
      output.rows[i].push_back(matches ? (*events.back())[right.Place(feature.column)] : Value());
    }
  }
  return output;
}

/// Types of the items come from the plan's schema.
inline NaiveTable NaiveWindows(NaiveTable left, const NaiveTable& right,
                               const WindowAggregateSpec& spec, const arrow::Schema& schema) {
  NaiveTable output = left;
  for (const WindowItem& item : spec.items) {
    output.names.push_back(item.name);
    output.types.push_back(schema.GetFieldByName(item.name)->type());
  }
  for (size_t i = 0; i < left.rows.size(); ++i) {
    const Row& label = left.rows[i];
    const auto events = NaiveEvents(left, right, spec.match, label);
    for (const WindowItem& item : spec.items) {
      std::vector<Value> values;
      for (const Row* event : events) {
        const Value& value = (*event)[right.Place(item.column)];
        if (IsNull(value)) continue;
        if (item.window && !IsWithin(left, right, spec.match, label, *event, *item.window, false)) {
          continue;
        }
        values.push_back(value);
      }
      output.rows[i].push_back(NaiveAggregate(values, {.function = item.function,
                                                       .ddof = item.ddof,
                                                       .quantile = item.quantile,
                                                       .custom = item.custom}));
    }
  }
  return output;
}

}  // namespace gnomon::dataset::test
