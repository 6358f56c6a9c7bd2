#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sql/postgres_types.h"

struct pg_result;

namespace gnomon::sql {

/// Parameters of a statement, $1 first, in PostgreSQL's binary format. Values are copied.
class PostgresParameters {
 public:
  PostgresParameters() = default;
  PostgresParameters(PostgresParameters&&) = default;
  PostgresParameters& operator=(PostgresParameters&&) = default;

  PostgresParameters& Null(uint32_t type = oid::kUnknown);
  PostgresParameters& Bool(bool value);
  PostgresParameters& Int32(int32_t value);
  PostgresParameters& Int64(int64_t value);
  PostgresParameters& Double(double value);
  PostgresParameters& Text(std::string_view value);
  PostgresParameters& Bytea(std::string_view value);
  /// Microseconds since 1970-01-01T00:00:00Z.
  PostgresParameters& Timestamptz(int64_t micros);
  PostgresParameters& Timestamp(int64_t micros);
  /// A literal whose type the server infers from where it stands.
  PostgresParameters& Untyped(std::string_view literal);

  /// One-dimensional arrays, for `= ANY($1)` and unnest; nullopt is NULL.
  PostgresParameters& BoolArray(std::span<const std::optional<bool>> values);
  PostgresParameters& Int64Array(std::span<const std::optional<int64_t>> values);
  PostgresParameters& DoubleArray(std::span<const std::optional<double>> values);
  PostgresParameters& TextArray(std::span<const std::optional<std::string_view>> values);
  PostgresParameters& ByteaArray(std::span<const std::optional<std::string_view>> values);
  /// Microseconds since 1970-01-01T00:00:00Z.
  PostgresParameters& TimestamptzArray(std::span<const std::optional<int64_t>> micros);

  /// Ready for other values.
  void Clear();
  int size() const { return static_cast<int>(types_.size()); }

 private:
  friend class Postgres;
  PostgresParameters& Add(uint32_t type, std::string bytes, bool binary = true);
  template <typename T, typename Append>
  PostgresParameters& AddArray(uint32_t type, uint32_t element,
                               std::span<const std::optional<T>> values, Append append);

  std::vector<uint32_t> types_;
  std::deque<std::string> bytes_;  // stable addresses
  std::vector<const char*> values_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

/// Rows that a statement returned, in memory. Rows and columns count from 0. Thread-safe to read.
class PostgresResult {
 public:
  PostgresResult() = default;
  /// Takes over a result of libpq.
  explicit PostgresResult(pg_result* result);

  pg_result* raw() const { return result_.get(); }

  int64_t num_rows() const;
  int num_columns() const;
  std::string name(int column) const;
  /// One of sql::oid, or the number of a type that is not built in.
  uint32_t type(int column) const;
  /// Rows that INSERT, UPDATE, DELETE, SELECT or COPY counted; 0 for other commands.
  int64_t affected_rows() const;

  bool IsNull(int64_t row, int column) const;
  /// The value's bytes in binary format, valid as long as the result; empty for NULL.
  std::string_view Bytes(int64_t row, int column) const;

  /// Values of the type asked for; kDataLoss names the column when it has another one or is NULL.
  /// Int64 takes int2, int4, int8 and oid; Double float4 and float8; Text text, varchar, char,
  /// name, json and jsonb; Timestamptz also timestamp, in microseconds since 1970.
  Result<bool> Bool(int64_t row, int column) const;
  Result<int64_t> Int64(int64_t row, int column) const;
  Result<double> Double(int64_t row, int column) const;
  Result<std::string_view> Text(int64_t row, int column) const;
  Result<std::string_view> Bytea(int64_t row, int column) const;
  Result<int64_t> Timestamptz(int64_t row, int column) const;

 private:
  Status WrongType(int64_t row, int column, std::string_view wanted) const;
  std::shared_ptr<pg_result> result_;
};

}  // namespace gnomon::sql
