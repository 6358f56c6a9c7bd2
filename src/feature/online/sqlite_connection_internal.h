#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <arrow/builder.h>

#include "base/error.h"
#include "feature/online/online_store.h"
#include "sql/sqlite.h"
#include "table/row_codec.h"

namespace gnomon::feature::internal {

/// One connection with its prepared statements, schemas and builders. Not thread-safe. After an
/// error throw it away.
class SqliteConnection {
 public:
  enum class Role { kRead, kWrite, kCreate };
  /// kNotFound when the file is missing, except for kCreate.
  static Result<std::unique_ptr<SqliteConnection>> Open(const std::string& path, Role role);

  sql::Sqlite& database() { return database_; }

  /// Does the path still lead to the open file?
  bool IsCurrent() const;

  /// Forgets prepared tables: another process may have dropped them and made new ones.
  void ForgetTables() { tables_.clear(); }

  /// All reads in one snapshot.
  Result<std::vector<OnlineValues>> Read(std::span<const OnlineRead> reads);

  /// One read, inside a transaction of the caller.
  Result<OnlineValues> ReadTable(const OnlineRead& read);

  /// The table's id; kNotFound when it was never prepared.
  Result<int64_t> TableId(const OnlineTable& table);

  Result<int64_t> CountRows(const OnlineTable& table);

 private:
  struct StoredSchema {
    std::shared_ptr<arrow::Schema> schema;
    std::optional<table::RowCodec> codec;
    std::shared_ptr<arrow::Schema> same;  ///< a schema of a reader that equals this one
  };
  struct Table {
    std::string project;
    std::string view;
    int64_t id = 0;
    sql::SqliteStatement select;
    std::map<int64_t, StoredSchema> schemas;
    // Of the last read, used again when the next one asks for the same.
    std::shared_ptr<arrow::Schema> schema;
    std::vector<int> fields;
    std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders;
  };

  SqliteConnection(sql::Sqlite database, uint64_t device, uint64_t inode);
  Result<Table*> FindOrOpenTable(const OnlineTable& table);
  Result<StoredSchema*> FindOrLoadSchema(Table* table, int64_t id);
  Status AppendRow(const OnlineTable& asked, std::string_view bytes, int64_t schema_id,
                   Table* table);

  sql::Sqlite database_;
  const uint64_t device_;
  const uint64_t inode_;
  sql::SqliteStatement begin_;
  sql::SqliteStatement commit_;
  std::vector<std::unique_ptr<Table>> tables_;
};

}  // namespace gnomon::feature::internal
