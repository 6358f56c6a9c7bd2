#include "feature/store/column_statistics.h"

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/checked_cast.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/engine/distinct_values.h"
#include "pit/exact_sum.h"
#include "pit/exact_variance.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

using arrow::internal::checked_cast;

constexpr size_t kMaxText = 128;
/// Of the memory limit for all indexes of distinct values together.
constexpr int64_t kDistinctShare = 8;

/// The least and the greatest of the values that are there.
template <typename Value>
struct Extremes {
  std::optional<Value> min;
  std::optional<Value> max;

  template <typename Seen>
  void Add(const Seen& value) {
    if (!min || value < *min) min = Value(value);
    if (!max || *max < value) max = Value(value);
  }
};

template <typename Value, typename Show>
void TellExtremes(const Extremes<Value>& extremes, Show show, ColumnStatistics* statistics) {
  if (extremes.min) statistics->min = show(*extremes.min);
  if (extremes.max) statistics->max = show(*extremes.max);
}

/// Values of one kind, batch by batch.
struct NoValues {
  Status Add(const std::shared_ptr<arrow::Array>& /*array*/) { return Status::OK(); }
  void Tell(ColumnStatistics* /*statistics*/) const {}
};

template <typename Array>
struct TextValues {
  Extremes<std::string> extremes;

  Status Add(const std::shared_ptr<arrow::Array>& array) {
    const auto& typed = checked_cast<const Array&>(*array);
    for (int64_t row = 0; row < array->length(); ++row) {
      if (array->IsValid(row)) extremes.Add(typed.GetView(row));
    }
    return Status::OK();
  }
  void Tell(ColumnStatistics* statistics) const {
    TellExtremes(
        extremes, [](const std::string& text) { return text.substr(0, kMaxText); }, statistics);
  }
};

struct TimeValues {
  Extremes<int64_t> extremes;

  Status Add(const std::shared_ptr<arrow::Array>& array) {
    GNOMON_ASSIGN_OR_RETURN(const auto micros, table::TimesAsMicros(*array));
    for (int64_t row = 0; row < array->length(); ++row) {
      if (array->IsValid(row)) extremes.Add(micros[static_cast<size_t>(row)]);
    }
    return Status::OK();
  }
  void Tell(ColumnStatistics* statistics) const {
    TellExtremes(
        extremes, [](int64_t time) { return FormatTimestamp(time); }, statistics);
  }
};

/// Sums of finite values, extremes of all but NaN; of arrays that are brought to Array's type.
template <typename Array>
struct NumberValues {
  Extremes<typename Array::value_type> extremes;
  pit::ExactSum sum;
  pit::ExactVariance variance;

  Status Add(const std::shared_ptr<arrow::Array>& array) {
    const auto type = arrow::TypeTraits<typename Array::TypeClass>::type_singleton();
    GNOMON_ASSIGN_OR_RETURN(const auto wide, table::CastLossless(array, type));
    const auto& typed = checked_cast<const Array&>(*wide);
    for (int64_t row = 0; row < typed.length(); ++row) {
      if (typed.IsNull(row)) continue;
      const auto value = typed.Value(row);
      const auto number = static_cast<double>(value);
      if (!std::isnan(number)) extremes.Add(value);
      if (!std::isfinite(number)) continue;
      sum.Add(number);
      variance.Add(number);
    }
    return Status::OK();
  }
  void Tell(ColumnStatistics* statistics) const {
    TellExtremes(
        extremes, [](auto value) { return Concat(value); }, statistics);
    if (variance.count() > 0)
      statistics->mean = sum.Round() / static_cast<double>(variance.count());
    if (variance.count() > 1) statistics->std = variance.StandardDeviation(1);
  }
};

using Values = std::variant<NoValues, TimeValues, TextValues<arrow::StringArray>,
                            TextValues<arrow::LargeStringArray>, NumberValues<arrow::UInt64Array>,
                            NumberValues<arrow::Int64Array>, NumberValues<arrow::DoubleArray>>;

Values ValuesOf(const arrow::DataType& type) {
  if (table::IsTime(type)) return TimeValues();
  switch (type.id()) {
    case arrow::Type::STRING:
      return TextValues<arrow::StringArray>();
    case arrow::Type::LARGE_STRING:
      return TextValues<arrow::LargeStringArray>();
    case arrow::Type::UINT64:
      return NumberValues<arrow::UInt64Array>();
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
      return NumberValues<arrow::DoubleArray>();
    default:
      break;
  }
  if (arrow::is_integer(type.id())) return NumberValues<arrow::Int64Array>();
  return NoValues();
}

}  // namespace

/// One column.
class ColumnDescription {
 public:
  ColumnDescription(const Context& context, const arrow::Field& field, MemoryBudget* budget)
      : type_(field.type()) {
    statistics_.name = field.name();
    statistics_.type = type_->ToString();
    if (type_->id() == arrow::Type::DICTIONARY)
      type_ = checked_cast<const arrow::DictionaryType&>(*type_).value_type();
    values_ = ValuesOf(*type_);
    auto distinct = DistinctValues::Make(context, type_, budget);
    if (distinct.ok()) distinct_ = *std::move(distinct);
  }

  Status Add(std::shared_ptr<arrow::Array> array) {
    if (array->type_id() == arrow::Type::DICTIONARY) {
      GNOMON_ASSIGN_OR_RETURN(array, table::CastLossless(array, type_));
    }
    statistics_.nulls += array->null_count();
    if (distinct_) GNOMON_RETURN_NOT_OK(distinct_->Add(array));
    return std::visit([&](auto& values) { return values.Add(array); }, values_);
  }

  Result<ColumnStatistics> Finish() {
    if (distinct_) {
      GNOMON_ASSIGN_OR_RETURN(statistics_.distinct, distinct_->Count());
    }
    std::visit([&](const auto& values) { values.Tell(&statistics_); }, values_);
    return std::move(statistics_);
  }

  int64_t spilled_bytes() const { return distinct_ ? distinct_->spilled_bytes() : 0; }

 private:
  std::shared_ptr<arrow::DataType> type_;  ///< of the values, decoded
  ColumnStatistics statistics_;
  Values values_;
  std::optional<DistinctValues> distinct_;  ///< absent for types that are no keys
};

TableDescription::TableDescription(const Context& context)
    : distinct_memory_("distinct values",
                       context.memory == nullptr ? 0 : context.memory->limit() / kDistinctShare,
                       context.memory) {}

TableDescription::~TableDescription() = default;

Result<std::unique_ptr<TableDescription>> TableDescription::Make(const Context& context,
                                                                 const arrow::Schema& schema) {
  std::unique_ptr<TableDescription> description(new TableDescription(context));
  for (const auto& field : schema.fields()) {
    description->columns_.push_back(
        std::make_unique<ColumnDescription>(context, *field, &description->distinct_memory_));
  }
  return description;
}

Status TableDescription::AddTo(int column, std::shared_ptr<arrow::Array> values) {
  return columns_[static_cast<size_t>(column)]->Add(std::move(values));
}

Result<std::vector<ColumnStatistics>> TableDescription::Finish() {
  std::vector<ColumnStatistics> columns;
  for (const auto& column : columns_) {
    GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(), column->Finish());
  }
  return columns;
}

int64_t TableDescription::spilled_bytes() const {
  int64_t bytes = 0;
  for (const auto& column : columns_) bytes += column->spilled_bytes();
  return bytes;
}

}  // namespace gnomon::feature
