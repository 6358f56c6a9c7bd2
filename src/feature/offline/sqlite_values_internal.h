#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "sql/sqlite.h"

/// SQLite's values as Arrow's and back.
namespace gnomon::feature {

/// The type that a declared one stands for: SQLite's own rules of affinity, and before them truth
/// and times, which it knows only as numbers and text. Null: nothing is declared.
std::shared_ptr<arrow::DataType> DeclaredType(const std::string& declared);

/// What a value of a column without declared type says about it.
std::shared_ptr<arrow::DataType> TypeOfValue(sql::SqliteType type);

/// Appends a value of the present row; kUser names the column when the builder's type cannot hold
/// it.
Status AppendTo(const sql::SqliteStatement& row, int column, arrow::ArrayBuilder* builder);

/// A hash of all values of the present row and of their types.
int64_t HashOf(const sql::SqliteStatement& row);

/// The rows of a batch by a statement with a parameter for each column; times as the text that
/// SQLite's own functions read.
Status InsertRows(const arrow::RecordBatch& batch, sql::SqliteStatement* statement);

}  // namespace gnomon::feature
