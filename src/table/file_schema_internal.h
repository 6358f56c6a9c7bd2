#pragma once

#include <memory>
#include <span>

#include "table/file_internal.h"
#include "table/folder_columns_internal.h"

namespace gnomon::table::internal {

/// How one file gives the columns of the whole table.
struct FilePlan {
  ScanRequest request;
  /// For each column of the table its place in request.columns, or -1: the folders', or nulls.
  std::vector<int> places;
};

/// The columns of the first of some files, each of the type that holds its values in all of them.
/// One for which no type does keeps the first file's. Null: a file that takes the others' types.
std::shared_ptr<arrow::Schema> WidenSchema(std::span<const std::shared_ptr<arrow::Schema>> schemas);

/// Schema of the table: the wanted columns of the first file (with those of folders), without
/// metadata. kNotFound for a
/// missing column.
Result<std::shared_ptr<arrow::Schema>> TableSchema(const arrow::Schema& first,
                                                   const std::string& path,
                                                   const ReadOptions& options);

/// kUser when the file lacks a column that may not be null.
Result<FilePlan> PlanFile(const arrow::Schema& file, const std::string& path,
                          const arrow::Schema& table, const FolderColumns& folders,
                          const ReadOptions& options);

/// Column `i` of the table from what the file gave (null when the file lacks it); cast without
/// loss.
Result<std::shared_ptr<arrow::Array>> AdaptColumn(const std::shared_ptr<arrow::Array>& column,
                                                  int64_t num_rows, const arrow::Field& field,
                                                  const std::string& path);

}  // namespace gnomon::table::internal
