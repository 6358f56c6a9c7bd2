#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/offline/offline_store.h"
#include "feature/offline/postgres_fixture.h"
#include "sql/postgres_fixture.h"
#include "sql/sqlite.h"
#include "tests/support/postgres.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::PostgresServer;
using test::TableOf;
using test::ValueOf;

const auto kMicros = arrow::timestamp(arrow::TimeUnit::MICRO);
const auto kMicrosUtc = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");

sql::Postgres Connect(const PostgresServer& server) {
  return ValueOf(sql::Postgres::Connect({}, sql::OptionsOf(server)));
}

/// A table of PostgreSQL as a source.
struct Fixture {
  const PostgresServer& server = PostgresServer::Shared();
  Context context;
  sql::Postgres connection = Connect(server);
  std::unique_ptr<OfflineStore> store = ValueOf(OpenOfflineStore(ConfigOf(server)));
  DataSource source;

  explicit Fixture(const std::string& statements = "") {
    source.name = "sales";
    source.type = "postgres";
    source.table = "sales";
    source.timestamp_field = "at";
    if (!statements.empty()) test::RequireOk(connection.Execute({}, statements));
  }
  Result<std::shared_ptr<arrow::Table>> Read(const ScanOptions& options = {}) const {
    return store->Read(context, source, options);
  }
};

constexpr const char* kSales =
    "DROP TABLE IF EXISTS sales; CREATE TABLE sales (id int8, at timestamptz, \"Amount (CHF)\" "
    "float8, note interval); INSERT INTO sales VALUES (1, '2024-01-01', 2.5, NULL), (2, "
    "'2024-01-02', NULL, '1 day')";

/// The rows in the order of their first column.
std::shared_ptr<arrow::Table> ById(const std::shared_ptr<arrow::Table>& table) {
  const auto ids = table->column(0);
  REQUIRE(table->num_rows() == 2);
  return ids->GetScalar(0).ValueOrDie()->ToString() < ids->GetScalar(1).ValueOrDie()->ToString()
             ? table
             : ValueOf(arrow::ConcatenateTables({table->Slice(1), table->Slice(0, 1)}));
}

TEST_CASE("a PostgreSQL table is a source, without the columns that no feature can have") {
  Fixture fixture(kSales);
  const auto expected =
      TableOf({{"id", arrow::int64()}, {"at", kMicrosUtc}, {"Amount (CHF)", arrow::float64()}},
              R"([[1, "2024-01-01", 2.5], [2, "2024-01-02", null]])");
  CHECK_TABLE_EQ(ById(ValueOf(fixture.Read())), expected);
  CHECK(ValueOf(fixture.store->SourceSchema(fixture.context, fixture.source))
            ->Equals(*expected->schema(), false));
  CHECK_OK(fixture.store->Check(fixture.context));
  CHECK_ERROR(fixture.Read({.columns = {"note"}}), ErrorKind::kUnsupported, "interval");
}

TEST_CASE("asked columns and rows of a query come by their mapped names") {
  Fixture fixture(kSales);
  fixture.source.table.clear();
  fixture.source.query = "SELECT *, id * 10 AS ten FROM public.sales -- all;\n;";
  fixture.source.field_mapping = {{"Amount (CHF)", "amount"}, {"at", "event_timestamp"}};
  fixture.source.timestamp_field = "event_timestamp";
  CHECK_TABLE_EQ(
      ById(ValueOf(fixture.Read({.columns = {"ten", "amount"}}))),
      TableOf({{"ten", arrow::int64()}, {"amount", arrow::float64()}}, "[[10, 2.5], [20, null]]"));
  constexpr int64_t kSecondDay = 1'704'153'600'000'000;
  CHECK_TABLE_EQ(
      fixture.Read({.columns = {"ten"}, .time_range = table::TimeRange{kSecondDay, kSecondDay}}),
      TableOf({{"ten", arrow::int64()}}, "[[20]]"));
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  CHECK_TABLE_EQ(
      fixture.Read({.columns = {"ten"}, .time_range = table::TimeRange{kLeast, kSecondDay - 1}}),
      TableOf({{"ten", arrow::int64()}}, "[[10]]"));
}

TEST_CASE("the rows of a query lie in a file, not in the process's memory") {
  const Fixture fixture;
  const int64_t before = arrow::default_memory_pool()->bytes_allocated();
  const auto rows = ValueOf(fixture.store->Query(
      {}, "SELECT i, 'text ' || i AS t FROM generate_series(1, 100000) AS i ORDER BY i DESC"));
  CHECK(rows->num_rows() == 100'000);
  CHECK(ValueOf(rows->column(0)->GetScalar(0))->ToString() == "100000");
  CHECK(ValueOf(rows->column(1)->GetScalar(99'999))->ToString() == "text 1");
  CHECK(arrow::default_memory_pool()->bytes_allocated() - before < 100'000);
}

TEST_CASE("what is wrong with a PostgreSQL source is an error that names it") {
  Fixture fixture(kSales);
  CHECK_ERROR(fixture.Read({.columns = {"idd"}}), ErrorKind::kNotFound, "did you mean 'id'");
  fixture.source.table = "nowhere";
  CHECK_ERROR(fixture.Read(), ErrorKind::kNotFound, "data source 'sales'");
  CHECK_ERROR(fixture.Read(), ErrorKind::kNotFound, "relation \"nowhere\" does not exist");
  fixture.source.table = "sales; DROP TABLE sales";
  CHECK_ERROR(fixture.Read(), ErrorKind::kUser, "no name of a table");
  fixture.source.table.clear();
  fixture.source.query = "SELEC 1";
  CHECK_ERROR(fixture.Read(), ErrorKind::kUser, "syntax error");
  RepositoryConfig config = ConfigOf(fixture.server);
  config.offline_store.password = Secret("wrong");
  const auto store = ValueOf(OpenOfflineStore(config));
  CHECK_ERROR(store->Check(fixture.context), ErrorKind::kUnauthenticated, "28P01");
}

TEST_CASE("the order of the rows is that of their values, wherever the server keeps them") {
  Fixture fixture(
      "DROP TABLE IF EXISTS sales; CREATE TABLE sales AS SELECT g % 100 AS id, "
      "'2024-01-01'::timestamp + (g % 3) * interval '1 day' AS at, g::text AS wide, md5(g::text) "
      "AS other FROM generate_series(1, 40000) g");
  const auto rows = ValueOf(fixture.Read({.columns = {"id", "at", "wide"}}));
  CHECK(rows->num_rows() == 40'000);
  REQUIRE(fixture.connection
              .Execute({},
                       "CREATE TABLE moved AS SELECT * FROM sales ORDER BY md5(other || 'x'); "
                       "DROP TABLE sales; ALTER TABLE moved RENAME TO sales")
              .ok());
  CHECK_TABLE_EQ(fixture.Read({.columns = {"id", "at", "wide"}}), rows);
  // Nor does it depend on which columns are asked for.
  CHECK_TABLE_EQ(fixture.Read({.columns = {"wide"}}), ValueOf(rows->SelectColumns({2})));
}

TEST_CASE("rows of a database stand in the order of their times, and partitions know theirs") {
  Fixture fixture(
      "DROP TABLE IF EXISTS sales; CREATE TABLE sales AS SELECT g::int8 AS id, CASE WHEN g <= "
      "70000 THEN '2024-01-01'::timestamp + ((g - 1) / 2) * interval '1 second' END AS at FROM "
      "generate_series(1, 70010) g");
  constexpr int64_t kBegin = 1'704'067'200'000'000;
  constexpr int64_t kSecond = 1'000'000;
  const auto times_of = [&](const table::PartitionedTable& rows) {
    std::vector<int64_t> times;
    for (int64_t partition = 0; partition < rows.num_partitions(); ++partition) {
      std::vector<int64_t> all_rows;
      std::vector<int64_t> scanned;
      const auto stream = ValueOf(rows.Scan(fixture.context, partition, {1, 0}, 1000));
      while (const auto batch = ValueOf(stream->Next())) {
        const auto& at = static_cast<const arrow::TimestampArray&>(*batch->column(0));
        for (int64_t i = 0; i < at.length(); ++i) {
          all_rows.push_back(static_cast<int64_t>(all_rows.size()));
          scanned.push_back(at.IsNull(i) ? -1 : (at.Value(i) - kBegin) / kSecond);
        }
      }
      CHECK(rows.num_rows(partition) == static_cast<int64_t>(scanned.size()));
      const auto gathered = ValueOf(rows.Gather(fixture.context, partition, {1}, all_rows));
      const auto& at = static_cast<const arrow::TimestampArray&>(*gathered[0]);
      bool same = true;
      for (size_t i = 0; i < scanned.size(); ++i) {
        const auto row = static_cast<int64_t>(i);
        same &= (at.IsNull(row) ? -1 : (at.Value(row) - kBegin) / kSecond) == scanned[i];
      }
      CHECK(same);
      const int64_t last = scanned.back() * kSecond + kBegin;
      CHECK_FALSE(rows.LiesOutside(partition, 1, {last, last}));
      CHECK(rows.LiesOutside(partition, 1, {last + 1, last + kSecond}));
      CHECK_FALSE(rows.LiesOutside(partition, 0, {last + 1, last + kSecond}));
      times.insert(times.end(), scanned.begin(), scanned.end());
    }
    return times;
  };
  std::vector<int64_t> expected(10, -1);
  for (int64_t i = 0; i < 70'000; ++i) expected.push_back(i / 2);
  for (const auto* order : {"at NULLS FIRST, id", "md5(id::text)", "id DESC"}) {
    REQUIRE(fixture.connection
                .Execute({}, Concat("CREATE TABLE moved AS SELECT * FROM sales ORDER BY ", order,
                                    "; DROP TABLE sales; ALTER TABLE moved RENAME TO sales"))
                .ok());
    const auto rows = ValueOf(fixture.store->Open(fixture.context, fixture.source, {}));
    CHECK_MESSAGE(times_of(*rows) == expected, order);
  }
  CHECK(fixture.connection.Execute({}, "DROP TABLE sales").ok());
}

TEST_CASE("rows that only look alike keep their order wherever the server keeps them") {
  Fixture fixture(
      "DROP TABLE IF EXISTS sales; CREATE TABLE sales (id int8, at timestamp, x float8, y float4, "
      "l float8[], j jsonb); INSERT INTO sales VALUES (1, '2024-01-01', 0.0, '-0', '{0}', '1.0'), "
      "(2, '2024-01-01', '-0', 0.0, '{0}', '1.0'), (3, '2024-01-01', '-0', '-0', '{0}', '1.0'), "
      "(4, '2024-01-01', '-0', '-0', '{-0}', '1.0'), (5, '2024-01-01', '-0', '-0', '{-0}', '1'); "
      "ALTER TABLE sales DROP COLUMN id");
  const auto text_of = [&] {
    const auto rows = ValueOf(fixture.Read({.columns = {"x", "y", "l", "j"}}));
    CHECK(rows->num_rows() == 5);
    return rows->ToString();
  };
  const std::string expected = text_of();
  for (const auto* order : {"j::text, x::text", "l::text DESC, y::text", "y::text DESC, j::text"}) {
    REQUIRE(fixture.connection
                .Execute({}, Concat("CREATE TABLE moved AS SELECT * FROM sales ORDER BY ", order,
                                    "; DROP TABLE sales; ALTER TABLE moved RENAME TO sales"))
                .ok());
    CHECK_MESSAGE(text_of() == expected, order);
  }
  CHECK(fixture.connection.Execute({}, "DROP TABLE sales").ok());
}

TEST_CASE("a large table is read in ranges of one snapshot and loses no row") {
  Fixture fixture(
      "DROP TABLE IF EXISTS sales; CREATE TABLE sales AS SELECT g::int8 AS id, "
      "'2024-01-01'::timestamp AS at, repeat('x', 900) AS wide FROM generate_series(1, 60000) g; "
      "DELETE FROM sales WHERE id % 7 = 0");
  const auto rows = ValueOf(fixture.Read({.columns = {"id"}}));
  std::vector<int64_t> ids;
  for (const auto& chunk : rows->column(0)->chunks()) {
    const auto& values = static_cast<const arrow::Int64Array&>(*chunk);
    for (int64_t i = 0; i < values.length(); ++i) ids.push_back(values.Value(i));
  }
  std::ranges::sort(ids);
  std::vector<int64_t> expected;
  for (int64_t id = 1; id <= 60'000; ++id) {
    if (id % 7 != 0) expected.push_back(id);
  }
  CHECK(ids == expected);
  CHECK(fixture.connection.Execute({}, "DROP TABLE sales").ok());
}

TEST_CASE("rows are appended to a PostgreSQL table all or none") {
  Fixture fixture(kSales);
  fixture.source.field_mapping = {{"Amount (CHF)", "amount"}};
  const auto more =
      TableOf({{"amount", arrow::float64()}, {"id", arrow::int64()}}, "[[0.5, 3], [1.5, 4]]");
  CHECK_OK(fixture.store->Append(fixture.context, fixture.source, "part", *more));
  const auto sum = ValueOf(
      fixture.connection.Query({}, "SELECT sum(id)::int8, sum(\"Amount (CHF)\") FROM sales"));
  CHECK(ValueOf(sum.Int64(0, 0)) == 10);
  CHECK(ValueOf(sum.Double(0, 1)) == 4.5);
  const auto unknown = TableOf({{"amout", arrow::float64()}}, "[[1]]");
  CHECK_ERROR(fixture.store->Append(fixture.context, fixture.source, "part", *unknown),
              ErrorKind::kNotFound, "did you mean 'amount'");
  REQUIRE(fixture.connection.Execute({}, "ALTER TABLE sales ADD CHECK (id < 10)").ok());
  const auto refused = TableOf({{"id", arrow::int64()}}, "[[5], [50]]");
  CHECK_ERROR(fixture.store->Append(fixture.context, fixture.source, "part", *refused),
              ErrorKind::kConflict, "23514");
  CHECK(ValueOf(ValueOf(fixture.connection.Query({}, "SELECT count(*) FROM sales")).Int64(0, 0)) ==
        4);
  fixture.source.table.clear();
  fixture.source.query = "SELECT * FROM sales";
  CHECK_ERROR(fixture.store->Append(fixture.context, fixture.source, "part", *more),
              ErrorKind::kUser, "is a query");
}

/// A SQLite database as a source of a repository of files.
struct SqliteFixture {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  Context context;
  std::unique_ptr<OfflineStore> store;
  DataSource source;

  explicit SqliteFixture(const std::string& statements) {
    sql::Sqlite database = ValueOf(sql::Sqlite::Open(folder.path() + "/a.db"));
    test::RequireOk(database.Execute(statements));
    RepositoryConfig config;
    config.folder = folder.path();
    store = ValueOf(OpenOfflineStore(config));
    source.name = "sales";
    source.type = "sqlite";
    source.path = "a.db";
    source.table = "sales";
    source.timestamp_field = "at";
  }
};

TEST_CASE("tables and queries of SQLite are sources beside files") {
  SqliteFixture fixture(
      "CREATE TABLE sales (id INTEGER, at TIMESTAMP, amount REAL, paid BOOLEAN, day DATE, raw "
      "BLOB, name VARCHAR(9)); INSERT INTO sales VALUES (1, '2024-01-01 00:00:00', 2.5, 1, "
      "'2024-01-01', x'00', 'a'), (2, '2024-01-02T00:00:00Z', NULL, 0, NULL, NULL, NULL)");
  const auto expected = TableOf({{"id", arrow::int64()},
                                 {"at", kMicros},
                                 {"amount", arrow::float64()},
                                 {"paid", arrow::boolean()},
                                 {"day", arrow::date32()},
                                 {"raw", arrow::binary()},
                                 {"name", arrow::utf8()}},
                                R"([[1, "2024-01-01", 2.5, true, 19723, "\u0000", "a"],
          [2, "2024-01-02", null, false, null, null, null]])");
  CHECK_TABLE_EQ(ById(ValueOf(fixture.store->Read(fixture.context, fixture.source, {}))), expected);
  CHECK_OK(fixture.store->Append(fixture.context, fixture.source, "part",
                                 *ValueOf(expected->SelectColumns({0, 1}))));
  fixture.source.table.clear();
  fixture.source.query = "SELECT count(*) AS n, max(at) AS at, sum(id) / 4.0 AS mean FROM sales;";
  CHECK_TABLE_EQ(fixture.store->Read(fixture.context, fixture.source, {.columns = {"n", "mean"}}),
                 TableOf({{"n", arrow::int64()}, {"mean", arrow::float64()}}, "[[4, 1.5]]"));
}

TEST_CASE("a SQLite value that its column's type cannot hold is an error that names both") {
  SqliteFixture fixture(
      "CREATE TABLE sales (id INTEGER, at TIMESTAMP); INSERT INTO sales VALUES ('soon', NULL)");
  const auto read = [&] { return fixture.store->Read(fixture.context, fixture.source, {}); };
  CHECK_ERROR(read(), ErrorKind::kUser, "column 'id' is int64 but holds: 'soon'");
  fixture.source.table = "nowhere";
  CHECK_ERROR(read(), ErrorKind::kNotFound, "nowhere");
  fixture.source.path = "none.db";
  CHECK_ERROR(read(), ErrorKind::kNotFound, "none.db");
}

}  // namespace
}  // namespace gnomon::feature
