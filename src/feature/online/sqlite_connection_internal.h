#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "feature/online/online_store.h"
#include "feature/online/sqlite_table_internal.h"
#include "sql/sqlite.h"

namespace gnomon::feature::internal {

/// One connection with its prepared statements, schemas and builders. Not thread-safe. After an
/// error throw it away.
class SqliteConnection {
 public:
  enum class Role { kRead, kWrite, kCreate };
  /// kNotFound when the file is missing, except for kCreate.
  static Result<std::unique_ptr<SqliteConnection>> Open(const std::string& path, Role role,
                                                        const LayoutOptions& layout);

  sql::Sqlite& database() { return database_; }

  /// Does the path still lead to the open file?
  bool IsCurrent() const;

  /// Forgets prepared tables: another process may have dropped them and made new ones.
  void ForgetTables() { tables_.clear(); }

  /// All reads in one snapshot.
  Result<std::vector<OnlineValues>> Read(std::span<const OnlineRead> reads);

  /// A view's table as it is now; kNotFound when it was never prepared.
  Result<SqliteTable*> FindTable(const OnlineTable& table);

 private:
  struct Known {
    std::string project;
    std::string view;
    bool window = false;
    std::unique_ptr<SqliteTable> table;
  };

  SqliteConnection(sql::Sqlite database, const LayoutOptions& layout, uint64_t device,
                   uint64_t inode);

  sql::Sqlite database_;
  const LayoutOptions layout_;
  const uint64_t device_;
  const uint64_t inode_;
  sql::SqliteStatement begin_;
  sql::SqliteStatement commit_;
  std::vector<Known> tables_;
};

}  // namespace gnomon::feature::internal
