// SQLite sources as parts that other processes read: the same rows each time, or an error.
#include <algorithm>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/offline/offline_store.h"
#include "sql/sqlite.h"
#include "table/partitioned_table.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::RequireOk;
using test::ValueOf;

struct Fixture {
  test::TemporaryFolder folder = test::MakeTemporaryFolder();
  std::unique_ptr<OfflineStore> store;
  DataSource source;
  std::shared_ptr<SourceSnapshot> snapshot;

  /// `journal`: "wal" or "delete".
  explicit Fixture(const std::string& journal, int64_t rows = 3000) {
    Execute(
        Concat("PRAGMA r.journal_mode = ", journal,
               "; CREATE TABLE r.rides (id INTEGER, at TIMESTAMP, pad TEXT); WITH RECURSIVE n(i) "
               "AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ",
               rows,
               ") INSERT INTO rides "
               "SELECT i, datetime(1700000000 + i * 7919 % 1000, 'unixepoch'), 'x' FROM n"));
    RepositoryConfig config;
    config.folder = folder.path();
    store = ValueOf(OpenOfflineStore(config));
    source.name = "rides";
    source.type = "sqlite";
    source.path = "rides.db";
    source.table = "rides";
    source.timestamp_field = "at";
  }

  std::string path() const { return folder.path() + "/rides.db"; }
  /// Beside another database: Sqlite::Open gives its own one a write-ahead log.
  void Execute(const std::string& statements) const {
    auto database = ValueOf(sql::Sqlite::Open(folder.path() + "/writer.db"));
    RequireOk(database.Execute(Concat("ATTACH '", path(), "' AS r; ", statements)));
  }
  Result<SourceParts> Parts() {
    return store->Parts({}, source, {.columns = {"id"}}, 4, &snapshot);
  }

  /// Time, hash and id of the rows in the order of the part.
  Result<std::vector<std::tuple<int64_t, uint64_t, int64_t>>> Read(const SourceParts& parts) const {
    std::vector<std::tuple<int64_t, uint64_t, int64_t>> rows;
    GNOMON_ASSIGN_OR_RETURN(const auto stream, store->ReadPart({}, "sqlite", parts.parts.at(0)));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, stream->Next());
      if (batch == nullptr) return rows;
      const auto& ids = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName("id"));
      const auto& times = static_cast<const arrow::TimestampArray&>(*batch->GetColumnByName("at"));
      const auto& hashes = static_cast<const arrow::UInt64Array&>(*batch->column(2));
      for (int64_t i = 0; i < batch->num_rows(); ++i)
        rows.emplace_back(times.Value(i), hashes.Value(i), ids.Value(i));
    }
  }
};

TEST_CASE("a SQLite source is one part, which gives the rows of Read each time") {
  for (const char* journal : {"wal", "delete"}) {
    CAPTURE(journal);
    Fixture fixture(journal, 70'000);
    const auto parts = ValueOf(fixture.Parts());
    REQUIRE(parts.parts.size() == 1);
    CHECK(parts.bytes > 0);
    auto rows = ValueOf(fixture.Read(parts));
    CHECK(rows.size() == 70'000);
    CHECK(ValueOf(fixture.Read(parts)) == rows);
    std::ranges::sort(rows);
    const auto table = ValueOf(fixture.store->Read({}, fixture.source, {.columns = {"id"}}));
    size_t next = 0;
    bool same = table->num_rows() == 70'000;
    for (const auto& chunk : table->GetColumnByName("id")->chunks()) {
      const auto& ids = static_cast<const arrow::Int64Array&>(*chunk);
      for (int64_t i = 0; same && i < ids.length(); ++i)
        same = ids.Value(i) == std::get<2>(rows[next++]);
    }
    CHECK(same);
  }
}

TEST_CASE("a part of a database that was written since is a conflict that says what to do") {
  for (const char* journal : {"wal", "delete"}) {
    for (const char* change :
         {"UPDATE rides SET pad = 'y' WHERE id = 5", "DELETE FROM rides WHERE id = 5",
          "INSERT INTO rides VALUES (0, '2024-01-01', 'x')", "ALTER TABLE rides ADD more TEXT",
          "DROP TABLE rides; CREATE TABLE r.rides (id INTEGER, at TIMESTAMP, pad TEXT)"}) {
      CAPTURE(journal);
      CAPTURE(change);
      Fixture fixture(journal);
      const auto parts = ValueOf(fixture.Parts());
      CHECK_OK(fixture.Read(parts));
      // At once, so that no clock has to have moved.
      fixture.Execute(change);
      const auto rows = fixture.Read(parts);
      CHECK_ERROR(rows, ErrorKind::kConflict, "the database was written while it was read");
      CHECK(rows.status().message().find("data source 'rides'") != std::string::npos);
      CHECK(HintOf(rows.status()).find("start again") != std::string::npos);
      CHECK_FALSE(IsRetryable(rows.status()));
      // The next plan reads what there is now, and all its sources of the file alike.
      CHECK(ValueOf(fixture.Parts()).parts == parts.parts);
      fixture.snapshot.reset();
      CHECK_OK(fixture.Read(ValueOf(fixture.Parts())));
    }
  }
}

TEST_CASE("rows that are being read stay as they are while somebody writes") {
  Fixture fixture("wal", 70'000);
  const auto parts = ValueOf(fixture.Parts());
  const auto stream = ValueOf(fixture.store->ReadPart({}, "sqlite", parts.parts[0]));
  int64_t rows = ValueOf(stream->Next())->num_rows();
  fixture.Execute("DELETE FROM rides");
  while (const auto batch = ValueOf(stream->Next())) rows += batch->num_rows();
  CHECK(rows == 70'000);
  CHECK_ERROR(fixture.Read(parts), ErrorKind::kConflict, "was written");
}

TEST_CASE("a checkpoint of the log changes no rows, another file in its place does") {
  Fixture fixture("wal");
  auto parts = ValueOf(fixture.Parts());
  {
    auto other = ValueOf(sql::Sqlite::Open(fixture.path()));
    auto checkpoint = ValueOf(other.Prepare("PRAGMA wal_checkpoint(PASSIVE)"));
    CHECK(ValueOf(checkpoint.Step()));
  }
  CHECK_OK(fixture.Read(parts));
  Fixture replaced("delete");
  parts = ValueOf(replaced.Parts());
  std::filesystem::copy_file(replaced.path(), replaced.path() + ".new");
  std::filesystem::rename(replaced.path() + ".new", replaced.path());
  CHECK_ERROR(replaced.Read(parts), ErrorKind::kConflict, "was written");
}

TEST_CASE("what is no part of a SQLite source is said") {
  const Fixture fixture("delete");
  CHECK_ERROR(fixture.store->ReadPart({}, "sqlite", "\xff\xff"), ErrorKind::kDataLoss,
              "not a part of a SQLite source");
}

}  // namespace
}  // namespace gnomon::feature
