#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "sql/postgres.h"
#include "sql/postgres_copy.h"

/// PostgreSQL's rows as Arrow record batches and back, by binary COPY.
///
///   bool bool | int2, int4 int32 | int8, oid int64 | float4 float | float8, numeric double
///   text, varchar, char, name, "char", xml, json, jsonb, uuid, citext, enums utf8 | bytea binary
///   date date32 | timestamp timestamp[us] | timestamptz timestamp[us, UTC]
///   arrays of these: lists of them (one dimension)
///
/// numeric becomes the nearest double. NULL is null, NaN is NaN. Infinite dates and times, arrays
/// of several dimensions and all other types are errors that name the column and what to write
/// instead.
namespace gnomon::sql {

struct PostgresColumn {
  std::string name;
  uint32_t type = 0;      ///< see sql/postgres_types.h
  std::string type_name;  ///< as SQL calls it
  bool is_label = false;  ///< its binary form is text: enums, citext
};

/// The columns of a query (one SELECT), without running it.
Result<std::vector<PostgresColumn>> DescribeQuery(const Context& context, Postgres* connection,
                                                  const std::string& query);

/// kUnsupported, with the cast to write, for a type that has no place in a record batch.
Result<std::shared_ptr<arrow::DataType>> ArrowTypeOf(const PostgresColumn& column);

class PostgresColumnDecoder;

/// The rows of a query as a stream. Not thread-safe; the connection is its own until the end.
class PostgresBatchReader {
 public:
  /// `columns` are those of DescribeQuery. A batch has at most `batch_rows` rows, and fewer when
  /// their values are long.
  static Result<PostgresBatchReader> Open(const Context& context, Postgres* connection,
                                          const std::string& query,
                                          const std::vector<PostgresColumn>& columns,
                                          int64_t batch_rows = int64_t{64} * 1024);
  PostgresBatchReader(PostgresBatchReader&&) noexcept;
  ~PostgresBatchReader();

  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }
  /// Null at the end.
  Result<std::shared_ptr<arrow::RecordBatch>> Next();

 private:
  PostgresBatchReader(PostgresCopyOut copy, int64_t batch_rows);
  Status Decode(std::string_view piece);
  Status DecodeRow(std::string_view* piece);
  PostgresCopyOut copy_;
  int64_t batch_rows_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::unique_ptr<PostgresColumnDecoder>> decoders_;
  bool header_read_ = false;
  bool ended_ = false;
  int64_t rows_ = 0;         // in the builders
  int64_t bytes_ = 0;        // likewise
  int64_t rows_before_ = 0;  // in earlier batches
};

/// Appends record batches to a table. Without Finish nothing is stored. Not thread-safe.
class PostgresBatchWriter {
 public:
  /// `table` is SQL (quoted where needed); `columns` those of it that are written, in the order of
  /// the batches' columns, whose types are ArrowTypeOf of theirs.
  static Result<PostgresBatchWriter> Open(const Context& context, Postgres* connection,
                                          const std::string& table,
                                          std::vector<PostgresColumn> columns);

  /// kUser names column and row for a value that the column's type cannot hold.
  Status Write(const arrow::RecordBatch& batch);
  /// The number of rows that were stored.
  Result<int64_t> Finish();

 private:
  PostgresBatchWriter(PostgresCopyIn copy, std::vector<PostgresColumn> columns);
  PostgresCopyIn copy_;
  std::vector<PostgresColumn> columns_;
  int64_t rows_ = 0;
  std::string buffer_;
};

}  // namespace gnomon::sql
