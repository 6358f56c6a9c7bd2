#include "sql/sqlite.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <thread>
#include <utility>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/text.h"

namespace gnomon::sql {

namespace {

// The disk is full, or a quota or limit on file sizes is reached. SQLite itself calls only ENOSPC
// so.
bool IsFull(int errno_value) {
  return errno_value == ENOSPC || errno_value == EDQUOT || errno_value == EFBIG;
}

bool IsWriteError(int code) {
  return code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_SHMSIZE ||
         code == SQLITE_IOERR_SHMMAP || code == SQLITE_IOERR_TRUNCATE;
}

ErrorKind KindOfCode(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_IOERR:
      return ErrorKind::kUnavailable;
    case SQLITE_FULL:
    case SQLITE_TOOBIG:
    case SQLITE_NOMEM:
      return ErrorKind::kExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorKind::kDataLoss;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
      return ErrorKind::kDenied;
    case SQLITE_CONSTRAINT:
      return ErrorKind::kConflict;
    case SQLITE_INTERRUPT:
      return ErrorKind::kCancelled;
    default:
      return ErrorKind::kInternal;
  }
}

// The beginning of a statement, for messages.
std::string Shown(const char* statement) {
  constexpr size_t kMax = 60;
  std::string text(statement != nullptr ? Trim(statement) : std::string_view());
  std::ranges::replace(text, '\n', ' ');
  if (text.size() > kMax) {
    text.resize(kMax);
    text += "...";
  }
  return text;
}

// The switch of a new database to WAL answers "locked" at once while another connection does the
// same, whatever the busy timeout is: it is tried again until the time is up.
Status SwitchToWal(Sqlite* database, double busy_seconds) {
  const double give_up = MonotonicSeconds() + busy_seconds;
  for (;;) {
    const Status status = database->Execute("PRAGMA journal_mode=WAL");
    if (status.ok() || KindOf(status) != ErrorKind::kUnavailable) return status;
    if (MonotonicSeconds() >= give_up) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// Statements bind non-null pointers for empty views: SQLite takes a null pointer for NULL.
const char* NonNull(std::string_view value) { return value.data() != nullptr ? value.data() : ""; }

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)),
      binding_error_(std::exchange(other.binding_error_, SQLITE_OK)) {}

SqliteStatement& SqliteStatement::operator=(SqliteStatement&& other) noexcept {
  if (this != &other) {
    sqlite3_finalize(statement_);
    statement_ = std::exchange(other.statement_, nullptr);
    binding_error_ = std::exchange(other.binding_error_, SQLITE_OK);
  }
  return *this;
}

SqliteStatement::~SqliteStatement() { sqlite3_finalize(statement_); }

void SqliteStatement::NoteBinding(int code) {
  GNOMON_CHECK(code != SQLITE_RANGE && code != SQLITE_MISUSE,
               "wrong parameter of: ", Shown(sqlite3_sql(statement_)));
  if (code != SQLITE_OK && binding_error_ == SQLITE_OK) binding_error_ = code;
}

void SqliteStatement::BindNull(int index) { NoteBinding(sqlite3_bind_null(statement_, index)); }

void SqliteStatement::BindInt(int index, int64_t value) {
  NoteBinding(sqlite3_bind_int64(statement_, index, value));
}

void SqliteStatement::BindDouble(int index, double value) {
  NoteBinding(sqlite3_bind_double(statement_, index, value));
}

void SqliteStatement::BindText(int index, std::string_view value) {
  NoteBinding(sqlite3_bind_text64(statement_, index, NonNull(value), value.size(), SQLITE_STATIC,
                                  SQLITE_UTF8));
}

void SqliteStatement::BindBlob(int index, std::string_view value) {
  NoteBinding(sqlite3_bind_blob64(statement_, index, NonNull(value), value.size(), SQLITE_STATIC));
}

Result<bool> SqliteStatement::Step() {
  GNOMON_CHECK(statement_ != nullptr, "an empty statement");
  const int code = binding_error_ != SQLITE_OK ? binding_error_ : sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  const std::string what = Concat("sqlite: ", Shown(sqlite3_sql(statement_)));
  const Status status = SqliteError(
      binding_error_ != SQLITE_OK ? nullptr : sqlite3_db_handle(statement_), code, what);
  Reset();
  return status;
}

Status SqliteStatement::Execute() {
  bool more = true;
  while (more) {
    GNOMON_ASSIGN_OR_RETURN(more, Step());
  }
  Reset();
  return Status::OK();
}

void SqliteStatement::Reset() {
  sqlite3_reset(statement_);  // repeats the error of the last Step, which has been returned
  binding_error_ = SQLITE_OK;
}

int SqliteStatement::ColumnCount() const { return sqlite3_column_count(statement_); }

std::string SqliteStatement::ColumnName(int column) const {
  const char* name = sqlite3_column_name(statement_, column);
  return name == nullptr ? "" : name;
}

std::string SqliteStatement::DeclaredType(int column) const {
  const char* type = sqlite3_column_decltype(statement_, column);
  return type == nullptr ? "" : type;
}

SqliteType SqliteStatement::Type(int column) const {
  switch (sqlite3_column_type(statement_, column)) {
    case SQLITE_INTEGER:
      return SqliteType::kInteger;
    case SQLITE_FLOAT:
      return SqliteType::kReal;
    case SQLITE_TEXT:
      return SqliteType::kText;
    case SQLITE_BLOB:
      return SqliteType::kBlob;
    default:
      return SqliteType::kNull;
  }
}

bool SqliteStatement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

int64_t SqliteStatement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

double SqliteStatement::Double(int column) const {
  return sqlite3_column_double(statement_, column);
}

std::string_view SqliteStatement::Text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string_view SqliteStatement::Blob(int column) const {
  const void* blob = sqlite3_column_blob(statement_, column);
  if (blob == nullptr) return {};
  return {static_cast<const char*>(blob),
          static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

Result<Sqlite> Sqlite::Open(const std::string& path, const SqliteOptions& options) {
  if (path.empty()) return Error(ErrorKind::kUser, "the path of a database is empty");
  const bool in_memory = path == ":memory:";
  std::error_code ignored;
  if ((options.read_only || !options.create) && !in_memory &&
      !std::filesystem::exists(path, ignored)) {
    return Error(ErrorKind::kNotFound, "database not found: ", path);
  }
  Sqlite database;
  database.path_ = path;
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (options.read_only) {
    flags |= SQLITE_OPEN_READONLY;
  } else {
    flags |= SQLITE_OPEN_READWRITE | (options.create ? SQLITE_OPEN_CREATE : 0);
  }
  // Debian's SQLite reads "file:..." as a URI; a path is a path.
  const std::string plain_path = path.starts_with("file:") ? Concat("./", path) : path;
  const std::string what = Concat("cannot open database ", path);
  const int code = sqlite3_open_v2(plain_path.c_str(), &database.handle_, flags, nullptr);
  if (code != SQLITE_OK) return SqliteError(database.handle_, code, what);
  sqlite3_busy_timeout(database.handle_,
                       static_cast<int>(std::lround(std::max(0.0, options.busy_seconds) * 1000)));

  // The first statement reads the file: here foreign bytes are found.
  Status status =
      database.Execute("PRAGMA foreign_keys=ON; PRAGMA synchronous=NORMAL; PRAGMA schema_version");
  if (status.ok() && !options.read_only) status = SwitchToWal(&database, options.busy_seconds);
  if (!status.ok()) return WithContext(status, what);
  return database;
}

Sqlite::Sqlite(Sqlite&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), path_(std::move(other.path_)) {}

Sqlite& Sqlite::operator=(Sqlite&& other) noexcept {
  if (this != &other) {
    sqlite3_close_v2(handle_);
    handle_ = std::exchange(other.handle_, nullptr);
    path_ = std::move(other.path_);
  }
  return *this;
}

// Statements that still live keep the connection open until they end.
Sqlite::~Sqlite() { sqlite3_close_v2(handle_); }

Status Sqlite::Execute(const std::string& statements) {
  const int code = sqlite3_exec(handle_, statements.c_str(), nullptr, nullptr, nullptr);
  if (code == SQLITE_OK) return Status::OK();
  return SqliteError(handle_, code, Concat("sqlite: ", Shown(statements.c_str())));
}

Result<SqliteStatement> Sqlite::Prepare(std::string_view statement) {
  sqlite3_stmt* prepared = nullptr;
  const char* rest = nullptr;
  const int code = sqlite3_prepare_v2(handle_, NonNull(statement),
                                      static_cast<int>(statement.size()), &prepared, &rest);
  SqliteStatement result(prepared);
  const std::string what = Concat("sqlite: ", Shown(std::string(statement).c_str()));
  if (code != SQLITE_OK) return SqliteError(handle_, code, what);
  const auto read = static_cast<size_t>(rest - NonNull(statement));
  if (prepared == nullptr || !Trim(statement.substr(read)).empty()) {
    return Error(ErrorKind::kInternal, what, ": exactly one statement is expected");
  }
  return result;
}

Status Sqlite::Transaction(const std::function<Status()>& body) {
  GNOMON_RETURN_NOT_OK(Execute("BEGIN IMMEDIATE"));
  Status status = body();
  if (status.ok()) status = Execute("COMMIT");
  // Some errors, such as a full disk, have rolled back already.
  if (!status.ok() && sqlite3_get_autocommit(handle_) == 0) {
    const Status rollback = Execute("ROLLBACK");
    if (!rollback.ok())
      return WithContext(status, Concat("rollback failed (", rollback.message(), ")"));
  }
  return status;
}

std::string QuoteIdentifier(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) {
    quoted += c;
    if (c == '"') quoted += c;
  }
  quoted += '"';
  return quoted;
}

Status SqliteError(sqlite3* handle, int code, std::string_view what) {
  // sqlite3_system_errno forgets what a COMMIT met; nothing since has failed that would change
  // errno.
  const int os_error = errno;
  const char* message = handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(code);
  const char* path = handle != nullptr ? sqlite3_db_filename(handle, "main") : nullptr;
  std::string text = Concat(what, ": ", message);
  if (path != nullptr && *path != '\0' && what.find(path) == std::string_view::npos)
    text += Concat(": ", path);
  if (IsWriteError(code) && IsFull(os_error)) return ErrnoError(os_error, text);
  return MakeError(KindOfCode(code), std::move(text));
}

}  // namespace gnomon::sql
