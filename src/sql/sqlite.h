#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace gnomon::sql {

enum class SqliteType { kInteger, kReal, kText, kBlob, kNull };

/// A prepared statement. Parameters count from 1, columns from 0. Text and blobs bound by view must
/// live until Reset. Not thread-safe.
class SqliteStatement {
 public:
  SqliteStatement() = default;
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&& other) noexcept;
  ~SqliteStatement();

  void BindNull(int index);
  void BindInt(int index, int64_t value);
  void BindDouble(int index, double value);
  void BindText(int index, std::string_view value);
  void BindBlob(int index, std::string_view value);
  /// A temporary would be gone before the Step.
  template <std::same_as<std::string> Text>
  void BindText(int index, Text&& value) = delete;
  template <std::same_as<std::string> Bytes>
  void BindBlob(int index, Bytes&& value) = delete;

  /// True when there is a row to look at; false at the end.
  Result<bool> Step();
  /// Runs to the end, ready for the next bindings.
  Status Execute();
  void Reset();

  int ColumnCount() const;
  std::string ColumnName(int column) const;
  /// As the table declares it; empty for expressions.
  std::string DeclaredType(int column) const;
  /// Of the value in the present row.
  SqliteType Type(int column) const;

  bool IsNull(int column) const;
  int64_t Int(int column) const;
  double Double(int column) const;
  /// Valid until the next Step or Reset.
  std::string_view Text(int column) const;
  std::string_view Blob(int column) const;

 private:
  friend class Sqlite;
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}
  void NoteBinding(int code);
  sqlite3_stmt* statement_ = nullptr;
  int binding_error_ = 0;  ///< SQLITE_TOOBIG or SQLITE_NOMEM; the next Step returns it
};

struct SqliteOptions {
  bool read_only = false;
  bool create = true;
  double busy_seconds =
      10;  ///< how long a locked database is waited for, then kUnavailable "database is locked"
};

/// One connection: WAL journal, synchronous=NORMAL, foreign keys on. Not thread-safe: one per
/// thread.
class Sqlite {
 public:
  /// A file that is no database is kDataLoss, a folder or an unwritable place kDenied, a missing
  /// file that is not to be created kNotFound; each names the path.
  static Result<Sqlite> Open(const std::string& path, const SqliteOptions& options = {});
  Sqlite(Sqlite&& other) noexcept;
  Sqlite& operator=(Sqlite&& other) noexcept;
  ~Sqlite();

  /// Runs one or more statements without results.
  Status Execute(const std::string& statements);
  Result<SqliteStatement> Prepare(std::string_view statement);

  /// BEGIN IMMEDIATE, body, COMMIT; ROLLBACK when the body fails.
  Status Transaction(const std::function<Status()>& body);

  const std::string& path() const { return path_; }
  sqlite3* handle() { return handle_; }

 private:
  Sqlite() = default;
  sqlite3* handle_ = nullptr;
  std::string path_;
};

/// "name" with quotes doubled, for identifiers.
std::string QuoteIdentifier(std::string_view name);

/// SQLite's code as an error: BUSY/LOCKED/PROTOCOL/IOERR -> kUnavailable, FULL/TOOBIG/NOMEM ->
/// kExhausted, CORRUPT/NOTADB -> kDataLoss, READONLY/PERM/AUTH/CANTOPEN -> kDenied, CONSTRAINT ->
/// kConflict, INTERRUPT -> kCancelled, the rest kInternal. The message is "what: SQLite's message:
/// path".
Status SqliteError(sqlite3* handle, int code, std::string_view what);

}  // namespace gnomon::sql
