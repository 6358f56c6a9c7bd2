// Sources in databases as parts that other processes read.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/offline/offline_store.h"
#include "feature/offline/postgres_fixture.h"
#include "sql/postgres_fixture.h"
#include "table/partitioned_table.h"
#include "tests/support/postgres.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using test::PostgresServer;
using test::ValueOf;

/// 4200 pages, one row on each.
constexpr const char* kWide =
    "DROP TABLE IF EXISTS wide; CREATE TABLE wide (id int8, at timestamptz, pad text); ALTER TABLE "
    "wide ALTER pad SET STORAGE PLAIN; INSERT INTO wide SELECT g, timestamptz '2024-01-01' + (g * "
    "7919 % 100) * interval '1 hour', repeat('x', 7000) FROM generate_series(1, 4200) AS g";

struct Fixture {
  sql::Postgres connection = sql::ConnectToShared();
  std::unique_ptr<OfflineStore> store =
      ValueOf(OpenOfflineStore(ConfigOf(PostgresServer::Shared())));
  DataSource source;
  ScanOptions options = {.columns = {"id"}};
  std::shared_ptr<SourceSnapshot> snapshot;

  explicit Fixture(const std::string& statements) {
    source.name = "wide";
    source.type = "postgres";
    source.table = "wide";
    source.timestamp_field = "at";
    Execute(statements);
  }
  void Execute(const std::string& statements) {
    test::RequireOk(connection.Execute({}, statements));
  }
  Result<SourceParts> Parts(int most) { return store->Parts({}, source, options, most, &snapshot); }
};

struct Row {
  int64_t time;
  uint64_t hash;
  int64_t id;
  auto operator<=>(const Row&) const = default;
};

/// All rows of the parts, in the store's order; the number of each part's.
Result<std::vector<Row>> RowsOf(const OfflineStore& store, const SourceParts& parts,
                                std::vector<size_t>* sizes = nullptr) {
  std::vector<Row> rows;
  for (const std::string& part : parts.parts) {
    const size_t before = rows.size();
    GNOMON_ASSIGN_OR_RETURN(const auto stream, store.ReadPart({}, "postgres", part));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, stream->Next());
      if (batch == nullptr) break;
      const auto& ids = static_cast<const arrow::Int64Array&>(*batch->column(0));
      const auto& times = static_cast<const arrow::TimestampArray&>(*batch->column(1));
      const auto& hashes = static_cast<const arrow::UInt64Array&>(*batch->column(2));
      for (int64_t i = 0; i < batch->num_rows(); ++i)
        rows.push_back({times.Value(i), hashes.Value(i), ids.Value(i)});
    }
    if (sizes != nullptr) sizes->push_back(rows.size() - before);
  }
  std::ranges::sort(rows);
  return rows;
}

std::vector<int64_t> IdsOf(const std::vector<Row>& rows) {
  std::vector<int64_t> ids;
  for (const Row& row : rows) ids.push_back(row.id);
  return ids;
}

std::vector<int64_t> IdsOf(const arrow::Table& table) {
  std::vector<int64_t> ids;
  for (const auto& chunk : table.GetColumnByName("id")->chunks()) {
    const auto& values = static_cast<const arrow::Int64Array&>(*chunk);
    for (int64_t i = 0; i < values.length(); ++i) ids.push_back(values.Value(i));
  }
  return ids;
}

TEST_CASE("the parts of a table have each row once, and their order is that of Read") {
  Fixture fixture(kWide);
  const auto parts = ValueOf(fixture.Parts(3));
  CHECK(parts.parts.size() == 3);
  CHECK(parts.schema->field_names() == std::vector<std::string>{"id", "at", "gnomon_row_hash"});
  CHECK(parts.bytes > 0);
  std::vector<size_t> sizes;
  const auto rows = ValueOf(RowsOf(*fixture.store, parts, &sizes));
  CHECK(rows.size() == 4200);
  for (const size_t size : sizes) CHECK(size == 1400);
  CHECK(IdsOf(rows) == IdsOf(*ValueOf(fixture.store->Read({}, fixture.source, fixture.options))));
  fixture.options.time_range = table::TimeRange{1'704'067'200'000'000, 1'704'067'200'000'000};
  CHECK(ValueOf(RowsOf(*fixture.store, ValueOf(fixture.Parts(3)))).size() == 42);
}

TEST_CASE("all parts are of one moment, also when they are read again and by another process") {
  Fixture fixture(kWide);
  const auto parts = ValueOf(fixture.Parts(2));
  fixture.Execute("DELETE FROM wide WHERE id % 2 = 0; INSERT INTO wide VALUES (0, now(), 'late')");
  DataSource query = fixture.source;
  query.name = "counted";
  query.table.clear();
  query.query = "SELECT count(*) AS id, max(at) AS at FROM wide;";
  const auto same = ValueOf(fixture.store->Parts({}, query, fixture.options, 2, &fixture.snapshot));
  const auto first = ValueOf(RowsOf(*fixture.store, parts));
  CHECK(first.size() == 4200);
  const auto other = ValueOf(OpenOfflineStore(fixture.store->Access()));
  CHECK(ValueOf(RowsOf(*other, parts)) == first);
  CHECK(IdsOf(ValueOf(RowsOf(*other, same))) == std::vector<int64_t>{4200});
  CHECK(ValueOf(fixture.store->Read({}, fixture.source, fixture.options))->num_rows() == 2101);
}

TEST_CASE("parts without their snapshot are an error, and hold no password") {
  Fixture fixture(kWide);
  const auto parts = ValueOf(fixture.Parts(2));
  for (const std::string& part : parts.parts)
    CHECK(part.find(PostgresServer::Shared().password()) == std::string::npos);
  fixture.snapshot.reset();
  const auto lost = RowsOf(*fixture.store, parts);
  CHECK_ERROR(lost, ErrorKind::kConflict, "the transaction in which the rows are read has ended");
  CHECK(lost.status().message().starts_with("data source 'wide'"));
  CHECK_FALSE(IsRetryable(lost.status()));
}

TEST_CASE("what other processes cannot read is said") {
  Fixture fixture(kWide);
  RepositoryConfig config = ConfigOf(PostgresServer::Shared());
  config.offline_store.max_connections = 1;
  fixture.store = ValueOf(OpenOfflineStore(config));
  CHECK_ERROR(fixture.Parts(2), ErrorKind::kUnsupported, "max_connections");
  fixture.source.type = "file";
  CHECK_ERROR(fixture.Parts(2), ErrorKind::kUnsupported, "is not read by several processes");
}

}  // namespace
}  // namespace gnomon::feature
