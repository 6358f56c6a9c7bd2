#include "sql/sqlite.h"

#include <csignal>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"

namespace gnomon::sql {
namespace {

TemporaryFolder Folder() { return TemporaryFolder::Make("sqlite").ValueOrDie(); }

int64_t Count(Sqlite* database, const std::string& table) {
  SqliteStatement count =
      database->Prepare(Concat("SELECT count(*) FROM ", QuoteIdentifier(table))).ValueOrDie();
  CHECK(count.Step().ValueOrDie());
  return count.Int(0);
}

TEST_CASE("values come back as they were bound") {
  const TemporaryFolder folder = Folder();
  Sqlite database = Sqlite::Open(folder.path() + "/a.db").ValueOrDie();
  REQUIRE(database.Execute("CREATE TABLE t (i INTEGER, d REAL, s TEXT, b BLOB, n TEXT)").ok());
  SqliteStatement insert = database.Prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)").ValueOrDie();
  const std::string bytes("\0x\xff", 3);
  const auto add = [&](int64_t number, std::string_view text, std::string_view blob) {
    insert.BindInt(1, number);
    insert.BindDouble(2, 0.1);
    insert.BindText(3, text);
    insert.BindBlob(4, blob);
    insert.BindNull(5);
    REQUIRE(insert.Execute().ok());
  };
  add(INT64_MIN, "grüße", bytes);
  add(INT64_MAX, std::string_view(), std::string_view());

  SqliteStatement select =
      database.Prepare("SELECT i, d, s, b, n FROM t ORDER BY rowid").ValueOrDie();
  REQUIRE(select.Step().ValueOrDie());
  CHECK(select.Int(0) == INT64_MIN);
  CHECK(select.Double(1) == 0.1);
  CHECK(select.Text(2) == "grüße");
  CHECK(select.Blob(3) == bytes);
  CHECK(select.IsNull(4));
  REQUIRE(select.Step().ValueOrDie());
  CHECK(select.Int(0) == INT64_MAX);
  CHECK_FALSE(select.IsNull(2));
  CHECK(select.Text(2).empty());
  CHECK_FALSE(select.IsNull(3));
  CHECK_FALSE(select.Step().ValueOrDie());
}

TEST_CASE("a new database uses the WAL journal and checks foreign keys") {
  const TemporaryFolder folder = Folder();
  Sqlite database = Sqlite::Open(folder.path() + "/a.db").ValueOrDie();
  SqliteStatement mode = database.Prepare("PRAGMA journal_mode").ValueOrDie();
  REQUIRE(mode.Step().ValueOrDie());
  CHECK(mode.Text(0) == "wal");
  REQUIRE(
      database.Execute("CREATE TABLE a (x INTEGER PRIMARY KEY); CREATE TABLE b (x REFERENCES a(x))")
          .ok());
  const Status status = database.Execute("INSERT INTO b VALUES (1)");
  REQUIRE_FALSE(status.ok());
  CHECK(KindOf(status) == ErrorKind::kConflict);
}

TEST_CASE("a transaction whose body fails leaves nothing behind") {
  const TemporaryFolder folder = Folder();
  Sqlite database = Sqlite::Open(folder.path() + "/a.db").ValueOrDie();
  REQUIRE(database.Execute("CREATE TABLE t (x)").ok());
  const Status failed = database.Transaction([&] {
    CHECK(database.Execute("INSERT INTO t VALUES (1)").ok());
    return Error(ErrorKind::kUser, "no");
  });
  CHECK(failed.message() == "no");
  CHECK(Count(&database, "t") == 0);
  CHECK(database.Transaction([&] { return database.Execute("INSERT INTO t VALUES (1)"); }).ok());
  CHECK(Count(&database, "t") == 1);
}

TEST_CASE("a path that cannot be a database is an error of the right kind which names it") {
  const TemporaryFolder folder = Folder();
  const auto open = [](const std::string& path, const SqliteOptions& options) {
    const Result<Sqlite> database = Sqlite::Open(path, options);
    REQUIRE_FALSE(database.ok());
    CHECK(database.status().message().find(path) != std::string::npos);
    return KindOf(database.status());
  };
  const std::string text = folder.path() + "/text.db";
  REQUIRE(WriteFileAtomic(text, std::string(5000, 'x')).ok());
  CHECK(open(text, {}) == ErrorKind::kDataLoss);
  CHECK(open(text, {.read_only = true}) == ErrorKind::kDataLoss);
  CHECK(open(folder.path(), {}) == ErrorKind::kDenied);
  CHECK(open(folder.path() + "/none/a.db", {}) == ErrorKind::kDenied);
  CHECK(open(folder.path() + "/none.db", {.create = false}) == ErrorKind::kNotFound);
  CHECK(open(folder.path() + "/none.db", {.read_only = true}) == ErrorKind::kNotFound);
}

TEST_CASE("a read-only connection reads and refuses to write") {
  const TemporaryFolder folder = Folder();
  const std::string path = folder.path() + "/a.db";
  Sqlite writer = Sqlite::Open(path).ValueOrDie();
  REQUIRE(writer.Execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)").ok());
  Sqlite reader = Sqlite::Open(path, {.read_only = true}).ValueOrDie();
  CHECK(Count(&reader, "t") == 1);
  const Status status = reader.Execute("INSERT INTO t VALUES (2)");
  REQUIRE_FALSE(status.ok());
  CHECK(KindOf(status) == ErrorKind::kDenied);
}

TEST_CASE("a database that stays locked is unavailable after the busy time") {
  const TemporaryFolder folder = Folder();
  const std::string path = folder.path() + "/a.db";
  Sqlite first = Sqlite::Open(path).ValueOrDie();
  REQUIRE(first.Execute("CREATE TABLE t (x)").ok());
  Sqlite second = Sqlite::Open(path, {.busy_seconds = 0.01}).ValueOrDie();
  const Status outer = first.Transaction([&] {
    const Status inner = second.Execute("INSERT INTO t VALUES (1)");
    CHECK_FALSE(inner.ok());
    CHECK(KindOf(inner) == ErrorKind::kUnavailable);
    CHECK(IsRetryable(inner));
    CHECK(inner.message().find("database is locked") != std::string::npos);
    return Status::OK();
  });
  CHECK(outer.ok());
}

TEST_CASE("processes which open and fill one new database at the same time lose nothing") {
  const TemporaryFolder folder = Folder();
  const std::string path = folder.path() + "/a.db";
  constexpr int kProcesses = 6;
  constexpr int kRows = 30;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      const bool ok = [&] {
        Result<Sqlite> database = Sqlite::Open(path);
        if (!database.ok() || !database->Execute("CREATE TABLE IF NOT EXISTS t (x)").ok())
          return false;
        for (int row = 0; row < kRows; ++row) {
          if (!database->Transaction([&] { return database->Execute("INSERT INTO t VALUES (1)"); })
                   .ok())
            return false;
        }
        return true;
      }();
      ::_exit(ok ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  Sqlite database = Sqlite::Open(path).ValueOrDie();
  CHECK(Count(&database, "t") == kProcesses * kRows);
}

// For a child process: 0 when a transaction above the limit is exhausted and leaves nothing behind.
int FillUp(const std::string& path) {
  std::signal(SIGXFSZ, SIG_IGN);
  auto database = Sqlite::Open(path);
  if (!database.ok() || !database->Execute("CREATE TABLE t (b BLOB)").ok()) return 1;
  const rlimit limit{.rlim_cur = 60'000, .rlim_max = 60'000};
  if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
  const Status status = database->Transaction(
      [&]() -> Status { return database->Execute("INSERT INTO t VALUES (zeroblob(100000))"); });
  if (status.ok() || KindOf(status) != ErrorKind::kExhausted) return 3;
  return Count(&*database, "t") == 0 ? 0 : 4;
}

TEST_CASE("a limit on file sizes is exhausted like a full disk") {
  const TemporaryFolder folder = Folder();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(FillUp(folder.path() + "/a.db"));
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("wrong SQL is an error which shows the statement") {
  Sqlite database = Sqlite::Open(":memory:").ValueOrDie();
  const auto missing = database.Prepare("SELECT * FROM nowhere");
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.status().message().find("nowhere") != std::string::npos);
  CHECK_FALSE(database.Prepare("SELECT 1; SELECT 2").ok());
  CHECK_FALSE(database.Prepare("").ok());
  CHECK(database.Prepare("SELECT 1;  ").ok());
}

TEST_CASE("statements and connections can be moved, and a statement may outlive its connection") {
  const TemporaryFolder folder = Folder();
  SqliteStatement one;
  {
    Sqlite database = Sqlite::Open(folder.path() + "/a.db").ValueOrDie();
    Sqlite moved = std::move(database);
    SqliteStatement prepared = moved.Prepare("SELECT 1").ValueOrDie();
    one = std::move(prepared);
  }
  CHECK(one.Step().ValueOrDie());
  CHECK(one.Int(0) == 1);
}

TEST_CASE("identifiers are quoted with doubled quotes") {
  CHECK(QuoteIdentifier("a\"b") == "\"a\"\"b\"");
  CHECK(QuoteIdentifier("") == "\"\"");
}

}  // namespace
}  // namespace gnomon::sql
