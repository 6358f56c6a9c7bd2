#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::model {

/// How one feature column becomes network inputs.
struct FittedColumn {
  enum class Kind { kNumeric, kCategorical };
  std::string name;
  Kind kind = Kind::kNumeric;
  double mean = 0;                 ///< numeric, of the non-null training values
  double scale = 1;                ///< numeric, their standard deviation (1 when it is 0)
  bool missing_indicator = false;  ///< numeric: one more input, 1 where the value is null
  std::vector<std::string>
      categories;  ///< categorical: sorted; an unknown or null value gives all zeros
  int64_t inputs() const;
};

/// A scaler fitted on the training part only. Numbers (bools and times as numbers) are
/// standardised, nulls and NaN become 0, which is the mean, with an indicator when the training
/// part had any; strings are one-hot encoded. Infinite values count as missing; a value a million
/// standard deviations away is cut there, so that predictions stay finite. Immutable, thread-safe.
class Preprocessor {
 public:
  /// Fits on `rows` of `table`; columns in the given order. A column of a type that is no feature
  /// (list, binary) and a string column with more than `max_categories` values are kUser. Columns
  /// of nulls only: kUser.
  static Result<Preprocessor> Fit(const arrow::RecordBatch& batch,
                                  const std::vector<std::string>& columns,
                                  const std::vector<int64_t>& rows, int64_t max_categories = 256);
  static Result<Preprocessor> FromJson(const std::string& json);
  std::string ToJson() const;

  const std::vector<FittedColumn>& columns() const { return columns_; }
  int64_t inputs() const { return inputs_; }

  /// [rows, inputs] row-major. Columns are found by name; one that is missing is kUser and named.
  Result<std::vector<float>> Transform(const arrow::RecordBatch& batch) const;

 private:
  explicit Preprocessor(std::vector<FittedColumn> columns);
  std::vector<FittedColumn> columns_;
  int64_t inputs_ = 0;
};

}  // namespace gnomon::model
