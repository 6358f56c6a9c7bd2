#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "dataset/plan.h"
#include "pit/custom_aggregate.h"
#include "pit/exact_variance.h"
#include "tests/support/status.h"

/// A second, slow way to compute what plans mean: rows as values, one obvious loop an operator.
namespace gnomon::dataset::test {

using gnomon::test::RequireOk;
using gnomon::test::ValueOf;

/// monostate is null.
using Value = std::variant<std::monostate, int64_t, double, std::string>;
using Row = std::vector<Value>;

inline bool IsNull(const Value& value) { return value.index() == 0; }

/// The order of sort: NaN above all numbers, -0.0 as 0.0; nulls are equal. -1, 0 or 1.
inline int Compare(const Value& left, const Value& right) {
  if (const auto* a = std::get_if<double>(&left)) {
    const double b = std::get<double>(right);
    if (std::isnan(*a) || std::isnan(b)) return int{std::isnan(*a)} - int{std::isnan(b)};
    return *a < b ? -1 : int{*a > b};
  }
  return left < right ? -1 : int{right < left};
}

inline int CompareKeys(const Value& left, const Value& right, const SortKey& key) {
  if (IsNull(left) || IsNull(right)) {
    const int order = int{IsNull(left)} - int{IsNull(right)};
    return key.nulls_first ? -order : order;
  }
  return key.descending ? -Compare(left, right) : Compare(left, right);
}

inline void AppendTo(arrow::ArrayBuilder& builder, const Value& value) {
  if (IsNull(value)) return RequireOk(builder.AppendNull());
  switch (builder.type()->id()) {
    case arrow::Type::INT64:
      return RequireOk(static_cast<arrow::Int64Builder&>(builder).Append(std::get<int64_t>(value)));
    case arrow::Type::INT32:
      return RequireOk(static_cast<arrow::Int32Builder&>(builder).Append(
          static_cast<int32_t>(std::get<int64_t>(value))));
    case arrow::Type::TIMESTAMP:
      return RequireOk(
          static_cast<arrow::TimestampBuilder&>(builder).Append(std::get<int64_t>(value)));
    case arrow::Type::DOUBLE:
      return RequireOk(static_cast<arrow::DoubleBuilder&>(builder).Append(std::get<double>(value)));
    default:
      return RequireOk(
          static_cast<arrow::StringBuilder&>(builder).Append(std::get<std::string>(value)));
  }
}

struct NaiveTable {
  std::vector<std::string> names = {};
  std::vector<std::shared_ptr<arrow::DataType>> types =
      {};  ///< int64, int32, timestamp, float64 or utf8
  std::vector<Row> rows = {};

  size_t Place(const std::string& name) const {
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return i;
    }
    FAIL("no column ", name);
    return 0;
  }

  std::shared_ptr<arrow::Table> ToArrow() const {
    arrow::FieldVector fields;
    arrow::ArrayVector columns;
    for (size_t i = 0; i < names.size(); ++i) {
      fields.push_back(arrow::field(names[i], types[i]));
      auto builder = ValueOf(arrow::MakeBuilder(types[i]));
      for (const Row& row : rows) {
        AppendTo(*builder, row[i]);
      }
      columns.push_back(ValueOf(builder->Finish()));
    }
    return arrow::Table::Make(arrow::schema(fields), columns, static_cast<int64_t>(rows.size()));
  }
};

inline NaiveTable NaiveSelect(const NaiveTable& input, const std::vector<std::string>& names) {
  NaiveTable output;
  for (const std::string& name : names) {
    output.names.push_back(name);
    output.types.push_back(input.types[input.Place(name)]);
  }
  for (const Row& row : input.rows) {
    Row& selected = output.rows.emplace_back();
    for (const std::string& name : names) selected.push_back(row[input.Place(name)]);
  }
  return output;
}

inline NaiveTable NaiveSort(NaiveTable table, const std::vector<SortKey>& keys) {
  std::stable_sort(table.rows.begin(), table.rows.end(), [&](const Row& left, const Row& right) {
    for (const SortKey& key : keys) {
      const size_t place = table.Place(key.column);
      if (const int order = CompareKeys(left[place], right[place], key); order != 0)
        return order < 0;
    }
    return false;
  });
  return table;
}

inline NaiveTable NaiveJoin(const NaiveTable& left, const NaiveTable& right, const JoinSpec& spec) {
  NaiveTable output{left.names, left.types};
  std::vector<size_t> given;
  const bool gives_right = spec.type != JoinType::kSemi && spec.type != JoinType::kAnti;
  for (size_t i = 0; gives_right && i < right.names.size(); ++i) {
    bool is_key = false;
    for (const std::string& key : spec.right_keys) is_key = is_key || key == right.names[i];
    if (is_key) continue;
    bool taken = false;
    for (const std::string& name : left.names) taken = taken || name == right.names[i];
    given.push_back(i);
    output.names.push_back(taken ? right.names[i] + spec.right_suffix : right.names[i]);
    output.types.push_back(right.types[i]);
  }
  const auto matches = [&](const Row& a, const Row& b) {
    for (size_t i = 0; i < spec.left_keys.size(); ++i) {
      const Value& x = a[left.Place(spec.left_keys[i])];
      const Value& y = b[right.Place(spec.right_keys[i])];
      if (IsNull(x) || IsNull(y) || x != y) return false;
    }
    return true;
  };
  const auto add = [&](Row row, const Row* other) {
    for (const size_t i : given) row.push_back(other != nullptr ? (*other)[i] : Value());
    output.rows.push_back(std::move(row));
  };
  std::vector<bool> met(right.rows.size(), false);
  for (const Row& row : left.rows) {
    bool matched = false;
    for (size_t i = 0; i < right.rows.size(); ++i) {
      if (!matches(row, right.rows[i])) continue;
      if (gives_right) add(row, &right.rows[i]);
      if (spec.type == JoinType::kSemi && !matched) add(row, nullptr);
      matched = met[i] = true;
    }
    const bool keeps = spec.type == JoinType::kLeft || spec.type == JoinType::kFull ||
                       spec.type == JoinType::kAnti;
    if (!matched && keeps) add(row, nullptr);
  }
  for (size_t i = 0; spec.type == JoinType::kFull && i < right.rows.size(); ++i) {
    if (met[i]) continue;
    Row row(left.names.size());
    for (size_t k = 0; k < spec.left_keys.size(); ++k)
      row[left.Place(spec.left_keys[k])] = right.rows[i][right.Place(spec.right_keys[k])];
    add(std::move(row), &right.rows[i]);
  }
  return output;
}

inline Value NaiveNumber(const std::vector<Value>& values, const AggregateItem& item) {
  using pit::AggregateFunction;
  if (values.empty()) return {};
  const auto count = static_cast<double>(values.size());
  if (item.function == AggregateFunction::kStd || item.function == AggregateFunction::kVar) {
    pit::ExactVariance variance;
    for (const Value& value : values) {
      if (const auto* number = std::get_if<int64_t>(&value)) {
        variance.AddInteger(*number);
      } else {
        variance.Add(std::get<double>(value));
      }
    }
    if (variance.count() <= item.ddof) return {};
    return item.function == AggregateFunction::kStd ? variance.StandardDeviation(item.ddof)
                                                    : variance.Variance(item.ddof);
  }
  // The numbers of the tests are few, small and multiples of a quarter: plain sums are exact.
  const bool mean = item.function == AggregateFunction::kMean;
  if (std::holds_alternative<int64_t>(values[0])) {
    int64_t sum = 0;
    for (const Value& value : values) sum += std::get<int64_t>(value);
    return mean ? Value(static_cast<double>(sum) / count) : Value(sum);
  }
  double sum = 0;
  for (const Value& value : values) sum += std::get<double>(value);
  return mean ? sum / count : sum;
}

/// The aggregates of sample_extension_test.h: the values one after the other.
inline Value NaiveTrail(const std::vector<Value>& values, const pit::CustomAggregate& aggregate) {
  if (values.empty() && !aggregate.has_value_of_nothing()) return {};
  std::string trail;
  for (const Value& value : values) {
    trail += (trail.empty() ? "" : " ") + std::to_string(std::get<int64_t>(value));
  }
  return trail;
}

inline Value NaiveAggregate(const std::vector<Value>& values, const AggregateItem& item) {
  using pit::AggregateFunction;
  if (item.custom != nullptr) return NaiveTrail(values, *item.custom);
  switch (item.function) {
    case AggregateFunction::kCount:
      return static_cast<int64_t>(values.size());
    case AggregateFunction::kCountDistinct: {
      const auto less = [](const Value& a, const Value& b) { return Compare(a, b) < 0; };
      return static_cast<int64_t>(
          std::set<Value, decltype(less)>(values.begin(), values.end(), less).size());
    }
    case AggregateFunction::kFirst:
      return values.empty() ? Value() : values.front();
    case AggregateFunction::kLast:
      return values.empty() ? Value() : values.back();
    case AggregateFunction::kMin:
    case AggregateFunction::kMax: {
      const auto is_nan = [](const Value& value) {
        const auto* number = std::get_if<double>(&value);
        return number != nullptr && std::isnan(*number);
      };
      Value best;
      for (const Value& value : values) {
        if (!IsNull(best) && is_nan(value)) continue;
        const int order = IsNull(best) || is_nan(best) ? -1 : Compare(value, best);
        if (item.function == AggregateFunction::kMin ? order < 0
                                                     : order > 0 || IsNull(best) || is_nan(best))
          best = value;
      }
      if (auto* number = std::get_if<double>(&best); number != nullptr && *number == 0) *number = 0;
      return best;
    }
    case AggregateFunction::kMedian:
    case AggregateFunction::kQuantile: {
      if (values.empty()) return {};
      std::vector<double> numbers;
      for (const Value& value : values) {
        const auto* integer = std::get_if<int64_t>(&value);
        numbers.push_back(integer != nullptr ? static_cast<double>(*integer)
                                             : std::get<double>(value));
      }
      if (std::ranges::any_of(numbers, [](double number) { return std::isnan(number); }))
        return std::numeric_limits<double>::quiet_NaN();
      std::ranges::sort(numbers);
      const double share = item.function == AggregateFunction::kMedian ? 0.5 : item.quantile;
      const double place = share * static_cast<double>(numbers.size() - 1);
      const auto below = static_cast<size_t>(place);
      const double rest = place - static_cast<double>(below);
      if (rest == 0 || numbers[below] == numbers[below + 1]) return numbers[below] + 0.0;
      return std::lerp(numbers[below], numbers[below + 1], rest);
    }
    case AggregateFunction::kMostFrequent: {
      Value best;
      int64_t most = 0;
      for (const Value& value : values) {
        const int64_t count = std::ranges::count_if(
            values, [&](const Value& other) { return Compare(other, value) == 0; });
        if (count > most || (count == most && Compare(value, best) < 0)) {
          most = count;
          best = value;
        }
      }
      if (auto* number = std::get_if<double>(&best); number != nullptr && *number == 0) *number = 0;
      return best;
    }
    default:
      return NaiveNumber(values, item);
  }
}

/// Types of the items come from the plan's schema.
inline NaiveTable NaiveAggregate(const NaiveTable& input, const AggregateSpec& spec,
                                 const arrow::Schema& schema) {
  NaiveTable output{schema.field_names()};
  for (const auto& field : schema.fields()) output.types.push_back(field->type());
  struct Group {
    Row key;
    std::vector<const Row*> rows;
  };
  std::vector<Group> groups;
  if (spec.keys.empty()) groups.emplace_back();
  for (const Row& row : input.rows) {
    Row key;
    for (const std::string& name : spec.keys) key.push_back(row[input.Place(name)]);
    const auto same = [&](const Group& group) {
      for (size_t i = 0; i < key.size(); ++i) {
        if (CompareKeys(group.key[i], key[i], {}) != 0) return false;
      }
      return true;
    };
    auto place = std::find_if(groups.begin(), groups.end(), same);
    if (place == groups.end()) place = groups.insert(groups.end(), Group{key, {}});
    place->rows.push_back(&row);
  }
  for (const Group& group : groups) {
    Row& row = output.rows.emplace_back(group.key);
    for (const AggregateItem& item : spec.items) {
      std::vector<Value> values;
      for (const Row* member : group.rows) {
        const Value value =
            item.column.empty() ? Value(int64_t{1}) : (*member)[input.Place(item.column)];
        if (!IsNull(value)) values.push_back(value);
      }
      row.push_back(NaiveAggregate(values, item));
    }
  }
  return output;
}

}  // namespace gnomon::dataset::test
