#include "sql/sqlite_state.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <sys/stat.h>

#include <sqlite3.h>

#include "base/ids.h"
#include "base/text.h"

namespace gnomon::sql {

namespace {

// https://www.sqlite.org/fileformat2.html, "File change counter" and what follows it.
constexpr int kHeaderBytes = 100;
// https://www.sqlite.org/walformat.html, "The WAL-Index Header": the first of its two copies.
constexpr size_t kIndexHeaderBytes = 48;
constexpr int kIndexRegionBytes = 32768;

Result<std::string> JournalMode(Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(auto statement, database->Prepare("PRAGMA journal_mode"));
  GNOMON_ASSIGN_OR_RETURN(const bool found, statement.Step());
  return found ? std::string(statement.Text(0)) : std::string();
}

// In memory that writers change: two copies must agree.
Result<std::string> IndexHeader(Sqlite* database, sqlite3_file* file) {
  void volatile* region = nullptr;
  const int code = file->pMethods->iVersion < 2
                       ? SQLITE_MISUSE
                       : file->pMethods->xShmMap(file, 0, kIndexRegionBytes, 0, &region);
  if ((code != SQLITE_OK && code != SQLITE_READONLY) || region == nullptr) {
    return Error(ErrorKind::kUnsupported,
                 "the index of the write-ahead log is not shared: ", database->path());
  }
  const auto* bytes = static_cast<const volatile char*>(region);
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    std::string first;
    std::string second;
    for (size_t place = 0; place < kIndexHeaderBytes; ++place) {
      first.push_back(bytes[place]);
      second.push_back(bytes[kIndexHeaderBytes + place]);
    }
    if (first == second) return first;
  }
  return Error(ErrorKind::kUnavailable,
               "the database is being written all the time: ", database->path());
}

}  // namespace

Status BeginReading(Sqlite* database) {
  GNOMON_RETURN_NOT_OK(database->Execute("BEGIN"));
  // The moment is that of the first read.
  GNOMON_ASSIGN_OR_RETURN(auto first, database->Prepare("SELECT count(*) FROM sqlite_master"));
  return first.Step().status();
}

Result<std::string> CommittedState(Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(const std::string mode, JournalMode(database));
  sqlite3_file* file = nullptr;
  const int code =
      sqlite3_file_control(database->handle(), "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (code != SQLITE_OK || file == nullptr || file->pMethods == nullptr)
    return Error(ErrorKind::kUnsupported, "no file: ", database->path());
  struct stat status {};
  if (::stat(database->path().c_str(), &status) != 0)
    return ErrnoError(errno, Concat("cannot look at ", database->path()));
  const std::string identity = Concat(mode, " ", status.st_dev, " ", status.st_ino, " ");
  if (mode == "wal") {
    GNOMON_ASSIGN_OR_RETURN(const std::string header, IndexHeader(database, file));
    return Sha256Hex(Concat(identity, header));
  }
  std::array<char, kHeaderBytes> header{};
  // A file that is shorter is filled up with zeros.
  const int read = file->pMethods->xRead(file, header.data(), kHeaderBytes, 0);
  if (read != SQLITE_OK && read != SQLITE_IOERR_SHORT_READ)
    return SqliteError(database->handle(), read, "cannot read the header");
  return Sha256Hex(Concat(identity, status.st_size, " ", status.st_mtim.tv_sec, " ",
                          status.st_mtim.tv_nsec, " ",
                          std::string_view(header.data(), header.size())));
}

}  // namespace gnomon::sql
