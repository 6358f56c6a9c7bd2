#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/postgres_catalog_internal.h"
#include "sql/postgres.h"
#include "sql/postgres_copy.h"
#include "sql/postgres_pool.h"

/// Rows of views in a PostgreSQL database.
namespace gnomon::feature::internal {

/// What is kept between reads: the schemas that rows were written with, by id, which never change,
/// and decoders that are not in use, by table. Thread-safe.
class PostgresSchemas {
 public:
  Result<std::shared_ptr<arrow::Schema>> Find(const Context& context, int64_t id,
                                              sql::Postgres* connection);

  /// A decoder of a table's rows that has read before, or a new one.
  PackedRows TakeDecoder(int64_t table);
  /// Only after a read that went well.
  void GiveBack(int64_t table, PackedRows decoder);

 private:
  Mutex mutex_;
  std::map<int64_t, std::shared_ptr<arrow::Schema>> schemas_ GNOMON_GUARDED_BY(mutex_);
  std::multimap<int64_t, PackedRows> decoders_ GNOMON_GUARDED_BY(mutex_);
};

/// Reads rows of several tables by one statement: one round trip, one snapshot.
Result<std::vector<OnlineValues>> ReadPostgresRows(
    const Context& context, const LayoutOptions& options, std::span<const OnlineRead> reads,
    std::span<const std::shared_ptr<const PostgresTable>> tables, PostgresSchemas* schemas,
    sql::Postgres* connection);

/// Rows of one table, kept until they are stored. What is kept becomes one guarded upsert for each
/// of the table's layouts: of a few rows as parameters of one statement, of many by COPY into a
/// temporary table. Keys are locked in their order, so that writers never wait for each other in a
/// circle. Not thread-safe.
class PostgresRows {
 public:
  static Result<PostgresRows> Make(const OnlineTable& table, const PostgresTable& place,
                                   const LayoutOptions& options);

  Status Add(const Context& context, const OnlineRows& rows);
  size_t num_bytes() const { return bytes_.size() + rows_.size() * sizeof(Row); }
  bool empty() const { return rows_.empty(); }
  void Clear();

  /// Upserts what is kept, in the open transaction.
  Status Upsert(const Context& context, sql::Postgres* connection);

  /// Creates the temporary tables, which end with the transaction; Copy puts there what is kept,
  /// Merge upserts all that was put there.
  Status BeginCopy(const Context& context, sql::Postgres* connection) const;
  Status Copy(const Context& context, sql::Postgres* connection);
  Status Merge(const Context& context, sql::Postgres* connection) const;

 private:
  struct Row {
    size_t key = 0;
    size_t packed = 0;  ///< place of the packed value in bytes_; the key ends here
    size_t feast = 0;   ///< of Feast's values; the packed one ends
    int64_t event_time = 0;
    int64_t created_time = 0;
  };
  /// One feature of a row as Feast keeps it.
  struct FeastCell {
    std::string_view value;
    std::optional<std::string_view> text;
    std::optional<double> number;
  };
  PostgresRows() = default;
  std::string_view KeyOf(const Row& row) const {
    return std::string_view(bytes_).substr(row.key, row.packed - row.key);
  }
  std::vector<FeastCell> CellsOf(const Row& row) const;
  std::vector<const Row*> NewestRows() const;
  Status NoteSchema(const Context& context, sql::Postgres* connection);
  Status UpsertPacked(const Context& context, std::span<const Row* const> rows,
                      sql::Postgres* connection) const;
  Status UpsertFeast(const Context& context, std::span<const Row* const> rows,
                     sql::Postgres* connection) const;
  Status CopyPacked(const Context& context, sql::Postgres* connection) const;
  Status CopyFeast(const Context& context, sql::Postgres* connection) const;

  OnlineTable table_;
  PostgresTable place_;
  int key_version_ = 3;
  std::optional<table::RowCodec> codec_;
  std::optional<FeastEncoder> encoder_;
  int64_t schema_id_ = 0;
  std::string bytes_;
  std::vector<Row> rows_;
};

}  // namespace gnomon::feature::internal
