#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/builder.h>
#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::table {

/// Columns of a known number of rows that are filled row by row. All fixed-width columns lie in one
/// allocation, so that a row or two cost no more than their bytes; texts and lists go through
/// Arrow's builders. Used again for the next rows. After an error call Start. Not thread-safe.
class RowColumns {
 public:
  /// Columns of the types that RowCodec knows.
  static Result<RowColumns> Make(const std::vector<std::shared_ptr<arrow::DataType>>& types);

  size_t size() const { return columns_.size(); }

  /// Begins `num_rows` rows and drops what was begun before.
  Status Start(int64_t num_rows);

  /// Each row: one of these for every column, then EndRow. `value` has the width of the type, a
  /// bool's is one byte.
  void SetFixed(size_t column, const char* value);
  /// Where texts and lists are appended; null for a fixed-width column.
  arrow::ArrayBuilder* builder(size_t column) { return columns_[column].builder.get(); }
  Status SetNull(size_t column);
  void EndRow() { ++row_; }

  Status AppendNullRow();

  /// REQUIRES: as many rows as Start was told.
  Result<std::vector<std::shared_ptr<arrow::Array>>> Finish();

 private:
  struct Column {
    std::shared_ptr<arrow::DataType> type;
    int64_t width = 0;  ///< bytes of a value in memory; 0: a bool, one bit
    int64_t null_count = 0;
    uint8_t* validity = nullptr;  ///< in block_
    uint8_t* values = nullptr;
    std::unique_ptr<arrow::ArrayBuilder> builder;  ///< of texts and lists, which use nothing else
  };
  RowColumns() = default;
  std::shared_ptr<arrow::Array> FinishFixed(const Column& column) const;

  std::vector<Column> columns_;
  std::shared_ptr<arrow::Buffer> block_;
  int64_t num_rows_ = 0;
  int64_t row_ = 0;
};

}  // namespace gnomon::table
