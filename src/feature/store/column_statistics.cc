#include "feature/store/column_statistics.h"

#include <cmath>
#include <memory>
#include <optional>
#include <string_view>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/checked_cast.h>

#include "base/parallel.h"
#include "base/text.h"
#include "base/time.h"
#include "pit/exact_sum.h"
#include "pit/exact_variance.h"
#include "table/column.h"
#include "table/key_index.h"

namespace gnomon::feature {
namespace {

using arrow::internal::checked_cast;

constexpr size_t kMaxText = 128;

/// The least and the greatest of the values that are there.
template <typename Value>
struct Extremes {
  std::optional<Value> min;
  std::optional<Value> max;

  void Add(const Value& value) {
    if (!min || value < *min) min = value;
    if (!max || *max < value) max = value;
  }
};

template <typename Value, typename Show>
void TellExtremes(const Extremes<Value>& extremes, Show show, ColumnStatistics* statistics) {
  if (extremes.min) statistics->min = show(*extremes.min);
  if (extremes.max) statistics->max = show(*extremes.max);
}

std::string ShortText(std::string_view text) { return std::string(text.substr(0, kMaxText)); }

template <typename Array>
void DescribeText(const arrow::Array& array, ColumnStatistics* statistics) {
  const auto& typed = checked_cast<const Array&>(array);
  Extremes<std::string_view> extremes;
  for (int64_t row = 0; row < array.length(); ++row) {
    if (array.IsValid(row)) extremes.Add(typed.GetView(row));
  }
  TellExtremes(extremes, ShortText, statistics);
}

Status DescribeTimes(const arrow::Array& array, ColumnStatistics* statistics) {
  GNOMON_ASSIGN_OR_RETURN(const auto micros, table::TimesAsMicros(array));
  Extremes<int64_t> extremes;
  for (int64_t row = 0; row < array.length(); ++row) {
    if (array.IsValid(row)) extremes.Add(micros[static_cast<size_t>(row)]);
  }
  TellExtremes(
      extremes, [](int64_t time) { return FormatTimestamp(time); }, statistics);
  return Status::OK();
}

/// Sums of finite values, extremes of all but NaN.
template <typename Array>
void DescribeNumbers(const arrow::Array& array, ColumnStatistics* statistics) {
  const auto& typed = checked_cast<const Array&>(array);
  Extremes<typename Array::value_type> extremes;
  pit::ExactSum sum;
  pit::ExactVariance variance;
  for (int64_t row = 0; row < array.length(); ++row) {
    if (array.IsNull(row)) continue;
    const auto value = typed.Value(row);
    const auto number = static_cast<double>(value);
    if (!std::isnan(number)) extremes.Add(value);
    if (!std::isfinite(number)) continue;
    sum.Add(number);
    variance.Add(number);
  }
  TellExtremes(
      extremes, [](auto value) { return Concat(value); }, statistics);
  if (variance.count() > 0) {
    statistics->mean = sum.Round() / static_cast<double>(variance.count());
  }
  if (variance.count() > 1) statistics->std = variance.StandardDeviation(1);
}

Status DescribeValues(const std::shared_ptr<arrow::Array>& array, ColumnStatistics* statistics) {
  const arrow::DataType& type = *array->type();
  if (table::IsTime(type)) return DescribeTimes(*array, statistics);
  switch (type.id()) {
    case arrow::Type::STRING:
      DescribeText<arrow::StringArray>(*array, statistics);
      return Status::OK();
    case arrow::Type::LARGE_STRING:
      DescribeText<arrow::LargeStringArray>(*array, statistics);
      return Status::OK();
    case arrow::Type::UINT64:
      DescribeNumbers<arrow::UInt64Array>(*array, statistics);
      return Status::OK();
    default:
      break;
  }
  if (arrow::is_integer(type.id())) {
    GNOMON_ASSIGN_OR_RETURN(const auto wide, table::CastLossless(array, arrow::int64()));
    DescribeNumbers<arrow::Int64Array>(*wide, statistics);
  } else if (type.id() == arrow::Type::FLOAT || type.id() == arrow::Type::DOUBLE) {
    GNOMON_ASSIGN_OR_RETURN(const auto wide, table::CastLossless(array, arrow::float64()));
    DescribeNumbers<arrow::DoubleArray>(*wide, statistics);
  }
  return Status::OK();
}

/// Absent for types that are no keys.
Result<std::optional<int64_t>> CountDistinct(const std::shared_ptr<arrow::Array>& array) {
  auto index = table::KeyIndex::Make({array->type()});
  if (!index.ok()) return std::nullopt;
  std::vector<int32_t> ids(static_cast<size_t>(array->length()));
  GNOMON_RETURN_NOT_OK(index->Insert({array}, ids));
  return index->size();
}

}  // namespace

Result<std::vector<ColumnStatistics>> DescribeColumns(const Context& context,
                                                      const arrow::Table& table) {
  std::vector<ColumnStatistics> columns(static_cast<size_t>(table.num_columns()));
  GNOMON_RETURN_NOT_OK(ParallelFor(context, table.num_columns(), [&](int64_t i) -> Status {
    ColumnStatistics& column = columns[static_cast<size_t>(i)];
    const auto& field = table.schema()->field(static_cast<int>(i));
    column.name = field->name();
    column.type = field->type()->ToString();
    GNOMON_ASSIGN_OR_RETURN(auto array, table::SingleChunk(*table.column(static_cast<int>(i))));
    if (array->type_id() == arrow::Type::DICTIONARY) {
      const auto& type = checked_cast<const arrow::DictionaryType&>(*array->type());
      GNOMON_ASSIGN_OR_RETURN(array, table::CastLossless(array, type.value_type()));
    }
    column.nulls = array->null_count();
    GNOMON_ASSIGN_OR_RETURN(column.distinct, CountDistinct(array));
    return DescribeValues(array, &column);
  }));
  return columns;
}

}  // namespace gnomon::feature
