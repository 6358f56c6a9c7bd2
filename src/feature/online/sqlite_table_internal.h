#pragma once

#include <cstdint>
#include <memory>

#include "base/context.h"
#include "base/error.h"
#include "feature/online/feast_layout_internal.h"
#include "feature/online/online_store.h"
#include "sql/sqlite.h"

/// A view's tables in one SQLite file, by layout.
namespace gnomon::feature::internal {

/// Upserts rows in an open transaction. Dies before its connection. Not thread-safe.
class SqliteRowWriter {
 public:
  virtual ~SqliteRowWriter() = default;
  virtual Status Write(const Context& context, const OnlineRows& rows) = 0;
  /// Writes what Write has kept back.
  virtual Status Flush(const Context& context) = 0;
};

/// What a connection reads and writes a view with: statements, schemas, builders. Dies before its
/// connection; after an error throw it away. Not thread-safe.
class SqliteTable {
 public:
  virtual ~SqliteTable() = default;
  virtual Result<OnlineValues> Read(const OnlineRead& read) = 0;
  virtual Result<int64_t> CountRows() = 0;
  /// REQUIRES: a transaction.
  virtual Result<std::unique_ptr<SqliteRowWriter>> MakeWriter(const OnlineTable& table) = 0;
};

/// Finds a view's tables and their layout; null when they were not prepared.
Result<std::unique_ptr<SqliteTable>> OpenSqliteTable(const LayoutOptions& options,
                                                     const OnlineTable& table,
                                                     sql::Sqlite* database);

/// Creates a view's tables where they are missing. REQUIRES: a transaction.
Status CreateSqliteTable(const LayoutOptions& options, const OnlineTable& table,
                         sql::Sqlite* database);

/// Rows in Feast's table of a plain view, or the features of a window view.
Result<std::unique_ptr<SqliteTable>> OpenFeastTable(const OnlineTable& table, int key_version,
                                                    sql::Sqlite* database);

}  // namespace gnomon::feature::internal
