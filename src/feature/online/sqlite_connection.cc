#include <filesystem>
#include <sys/stat.h>
#include <utility>

#include "base/files.h"
#include "base/text.h"
#include "feature/online/sqlite_catalog_internal.h"
#include "feature/online/sqlite_connection_internal.h"

namespace gnomon::feature::internal {
namespace {

// Mapped pages save readers a system call a page, also after another process's commit has emptied
// their cache. The price: the file must never be cut short in place
// (docs/formats/online_packed.md).
constexpr const char* kReadPragmas =
    "PRAGMA query_only=ON; PRAGMA cache_size=-16384; PRAGMA mmap_size=1073741824";
// Writers wait in rounds of 100 ms (sqlite_store.cc). FULL: what a commit has published must
// survive a power cut, because a materialization's interval is recorded next.
constexpr const char* kWritePragmas =
    "PRAGMA synchronous=FULL; PRAGMA cache_size=-32768; PRAGMA busy_timeout=100; "
    "PRAGMA journal_size_limit=67108864";

}  // namespace

SqliteConnection::SqliteConnection(sql::Sqlite database, const LayoutOptions& layout,
                                   uint64_t device, uint64_t inode)
    : database_(std::move(database)), layout_(layout), device_(device), inode_(inode) {}

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::string& path, Role role,
                                                                 const LayoutOptions& layout) {
  const bool create = role == Role::kCreate;
  if (create) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (!folder.empty()) GNOMON_RETURN_NOT_OK(MakeFolders(folder.string()));
  }
  auto opened = sql::Sqlite::Open(path, {.create = create});
  if (!opened.ok()) {
    const Status status = opened.status();
    if (KindOf(status) != ErrorKind::kNotFound) return WithContext(status, "online store");
    return MakeError(ErrorKind::kNotFound, Concat("online store does not exist: ", path), {},
                     "run: gnomon apply");
  }
  GNOMON_RETURN_NOT_OK(opened->Execute(role == Role::kRead ? kReadPragmas : kWritePragmas));
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return ErrnoError(errno, Concat("online store ", path));
  std::unique_ptr<SqliteConnection> connection(
      new SqliteConnection(*std::move(opened), layout, file.st_dev, file.st_ino));
  sql::Sqlite& database = connection->database_;
  GNOMON_RETURN_NOT_OK(HasCatalog(&database).status());
  GNOMON_ASSIGN_OR_RETURN(connection->begin_, database.Prepare("BEGIN"));
  GNOMON_ASSIGN_OR_RETURN(connection->commit_, database.Prepare("COMMIT"));
  return connection;
}

bool SqliteConnection::IsCurrent() const {
  struct stat file {};
  return ::stat(database_.path().c_str(), &file) == 0 && file.st_dev == device_ &&
         file.st_ino == inode_;
}

Result<std::vector<OnlineValues>> SqliteConnection::Read(std::span<const OnlineRead> reads) {
  std::vector<OnlineValues> values;
  values.reserve(reads.size());
  const bool one_lookup = reads.size() == 1 && reads[0].keys.size() == 1;
  if (!one_lookup) GNOMON_RETURN_NOT_OK(begin_.Execute());
  for (const OnlineRead& read : reads) {
    GNOMON_ASSIGN_OR_RETURN(SqliteTable * table, FindTable(*read.table));
    GNOMON_ASSIGN_OR_RETURN(auto rows, table->Read(read));
    values.push_back(std::move(rows));
  }
  if (!one_lookup) GNOMON_RETURN_NOT_OK(commit_.Execute());
  return values;
}

Result<SqliteTable*> SqliteConnection::FindTable(const OnlineTable& table) {
  const bool window = table.features != nullptr;
  for (const Known& known : tables_) {
    if (known.view == table.view && known.project == table.project && known.window == window)
      return known.table.get();
  }
  GNOMON_ASSIGN_OR_RETURN(auto opened, OpenSqliteTable(layout_, table, &database_));
  if (opened == nullptr) return NotPrepared(database_.path(), table);
  tables_.push_back({table.project, table.view, window, std::move(opened)});
  return tables_.back().table.get();
}

}  // namespace gnomon::feature::internal
