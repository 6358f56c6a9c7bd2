#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// What a model has to beat. Each gives a value for every row of `rows`.
namespace gnomon::train {

/// The feature `column`'s value; `fallback` where it is missing.
Result<std::vector<double>> LastValueBaseline(const arrow::RecordBatch& batch,
                                              const std::string& column,
                                              std::span<const int64_t> rows, double fallback);

/// The mean label of the `known` rows with the same values in `columns`; `fallback` for a group
/// that has none and for keys with a null. labels: one for each row of the batch.
Result<std::vector<double>> GroupMeanBaseline(const arrow::RecordBatch& batch,
                                              const std::vector<std::string>& columns,
                                              std::span<const double> labels,
                                              std::span<const int64_t> known,
                                              std::span<const int64_t> rows, double fallback);

/// The column of that name; kUser with the nearest one when it is missing.
Result<std::shared_ptr<arrow::Array>> ColumnNamed(const arrow::RecordBatch& batch,
                                                  const std::string& name, const std::string& role);

}  // namespace gnomon::train
