#include <cmath>
#include <cstddef>
#include <memory>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "model/feature_column.h"
#include "table/key_index.h"
#include "train/baseline_internal.h"

namespace gnomon::train {

Result<std::shared_ptr<arrow::Array>> ColumnNamed(const arrow::RecordBatch& batch,
                                                  const std::string& name,
                                                  const std::string& role) {
  std::shared_ptr<arrow::Array> column = batch.GetColumnByName(name);
  if (column != nullptr) return column;
  return MakeError(ErrorKind::kUser,
                   Concat("the training table has no column ", Quoted(name), " (", role, ")"), {},
                   DidYouMean(name, batch.schema()->field_names()));
}

Result<std::vector<double>> LastValueBaseline(const arrow::RecordBatch& batch,
                                              const std::string& column,
                                              std::span<const int64_t> rows, double fallback) {
  GNOMON_ASSIGN_OR_RETURN(const auto array, ColumnNamed(batch, column, "baselines.last_value"));
  GNOMON_ASSIGN_OR_RETURN(const model::FeatureKind kind,
                          model::FeatureKindOf(*array->type(), column));
  if (kind == model::FeatureKind::kText) {
    return Error(ErrorKind::kUser, "baselines.last_value is not a number: ", column);
  }
  GNOMON_ASSIGN_OR_RETURN(const std::vector<double> values, model::NumberColumn(*array));
  std::vector<double> baseline;
  baseline.reserve(rows.size());
  for (const int64_t row : rows) {
    const double value = values[static_cast<size_t>(row)];
    baseline.push_back(std::isnan(value) ? fallback : value);
  }
  return baseline;
}

Result<std::vector<double>> GroupMeanBaseline(const arrow::RecordBatch& batch,
                                              const std::vector<std::string>& columns,
                                              std::span<const double> labels,
                                              std::span<const int64_t> known,
                                              std::span<const int64_t> rows, double fallback) {
  std::vector<std::shared_ptr<arrow::Array>> keys;
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const std::string& column : columns) {
    GNOMON_ASSIGN_OR_RETURN(const auto array, ColumnNamed(batch, column, "baselines.group_mean"));
    keys.push_back(array);
    types.push_back(array->type());
  }
  GNOMON_ASSIGN_OR_RETURN(table::KeyIndex index, table::KeyIndex::Make(types));
  std::vector<int32_t> groups(static_cast<size_t>(batch.num_rows()));
  GNOMON_RETURN_NOT_OK(index.Insert(keys, groups));

  std::vector<double> sums(static_cast<size_t>(index.size()));
  std::vector<double> counts(sums.size());
  for (const int64_t row : known) {
    const int32_t group = groups[static_cast<size_t>(row)];
    if (group < 0) continue;
    sums[static_cast<size_t>(group)] += labels[static_cast<size_t>(row)];
    ++counts[static_cast<size_t>(group)];
  }
  std::vector<double> baseline;
  baseline.reserve(rows.size());
  for (const int64_t row : rows) {
    const int32_t group = groups[static_cast<size_t>(row)];
    const bool is_known = group >= 0 && counts[static_cast<size_t>(group)] > 0;
    baseline.push_back(is_known
                           ? sums[static_cast<size_t>(group)] / counts[static_cast<size_t>(group)]
                           : fallback);
  }
  return baseline;
}

}  // namespace gnomon::train
