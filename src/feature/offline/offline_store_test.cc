#include "feature/offline/offline_store.h"

#include <filesystem>

#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ErrorOf;
using test::ValueOf;

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

const std::vector<test::Column> kColumns = {
    {"id", arrow::int64()}, {"at", Instant()}, {"Amount (CHF)", arrow::float64()}};

/// A store over a temporary folder, and a source in it.
struct Fixture {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  Context context;
  std::unique_ptr<OfflineStore> store;
  DataSource source;

  explicit Fixture(const std::string& type = "file") {
    RepositoryConfig config;
    config.folder = folder.path();
    config.offline_store.type = type;
    store = ValueOf(OpenOfflineStore(config));
    source.name = "sales";
    source.path = "sales.parquet";
    source.timestamp_field = "at";
  }

  void Write(const std::string& name, std::string_view rows) const {
    const auto path = std::filesystem::path(folder.path()) / name;
    std::filesystem::create_directories(path.parent_path());
    test::RequireOk(table::WriteTable(context, *test::TableOf(kColumns, rows), path.string()));
  }

  Result<std::shared_ptr<arrow::Table>> Read(const ScanOptions& options = {}) const {
    return store->Read(context, source, options);
  }
};

constexpr const char* kRows = R"([[1, "2024-01-01", 2.5], [2, "2024-01-02", null]])";

}  // namespace

TEST_CASE("a source without mapping is its file") {
  for (const char* type : {"file", "dask", "duckdb", "ray"}) {
    CAPTURE(type);
    Fixture fixture(type);
    fixture.Write("sales.parquet", kRows);
    const auto expected = test::TableOf(kColumns, kRows);
    CHECK_TABLE_EQ(fixture.Read(), expected);
    CHECK(ValueOf(fixture.store->SourceSchema(fixture.context, fixture.source))
              ->Equals(*expected->schema(), false));
    CHECK(ValueOf(fixture.store->CountRows(fixture.context, fixture.source)) == 2);
  }
}

TEST_CASE("columns carry their mapped names in schema and rows") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  fixture.source.field_mapping = {{"Amount (CHF)", "amount"}, {"at", "event_timestamp"}};
  fixture.source.timestamp_field = "event_timestamp";
  const auto expected = test::TableOf(
      {{"id", arrow::int64()}, {"event_timestamp", Instant()}, {"amount", arrow::float64()}},
      kRows);
  CHECK_TABLE_EQ(fixture.Read(), expected);
  CHECK(ValueOf(fixture.store->SourceSchema(fixture.context, fixture.source))
            ->Equals(*expected->schema(), false));
}

TEST_CASE("asked columns come by their mapped names, in the asked order") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  fixture.source.field_mapping = {{"Amount (CHF)", "amount"}};
  CHECK_TABLE_EQ(
      fixture.Read({.columns = {"amount", "id"}}),
      test::TableOf({{"amount", arrow::float64()}, {"id", arrow::int64()}}, "[[2.5,1],[null,2]]"));
}

TEST_CASE("mapped names may be swapped") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  fixture.source.field_mapping = {{"id", "Amount (CHF)"}, {"Amount (CHF)", "id"}};
  CHECK_TABLE_EQ(fixture.Read({.columns = {"id"}}),
                 test::TableOf({{"id", arrow::float64()}}, "[[2.5],[null]]"));
}

TEST_CASE("a mapping of a column that is not there is refused, also onto one that is") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  for (const auto* target : {"amount", "id"}) {
    fixture.source.field_mapping = {{"Amount (CFH)", target}};
    const auto schema = fixture.store->SourceSchema(fixture.context, fixture.source);
    CHECK_ERROR(schema, ErrorKind::kUser, "'Amount (CFH)' is no column of sales.parquet");
    CHECK_ERROR(schema, ErrorKind::kUser, "did you mean 'Amount (CHF)'?");
  }
}

TEST_CASE("a mapping onto a name that is there is refused") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  fixture.source.field_mapping = {{"Amount (CHF)", "id"}};
  const auto schema = fixture.store->SourceSchema(fixture.context, fixture.source);
  CHECK_ERROR(schema, ErrorKind::kUser, "data source 'sales' gives two columns the name 'id'");
}

TEST_CASE("a folder is read in the order of its paths") {
  Fixture fixture;
  fixture.Write("parts/b.parquet", R"([[2, "2024-01-01", 2]])");
  fixture.Write("parts/a.parquet", R"([[1, "2024-01-05", 1]])");
  fixture.source.path = "parts";
  CHECK_TABLE_EQ(fixture.Read({.columns = {"id"}}),
                 test::TableOf({{"id", arrow::int64()}}, "[[1],[2]]"));
  CHECK(ValueOf(fixture.store->CountRows(fixture.context, fixture.source)) == 2);
}

TEST_CASE("values in the names of folders are columns, and rows are added below their folders") {
  Fixture fixture;
  fixture.Write("parts/shop=3/day=mo/a.parquet", R"([[1, "2024-01-05", 1]])");
  fixture.Write("parts/shop=4/day=tu/a.parquet", R"([[2, "2024-01-05", 2]])");
  fixture.source.path = "parts";
  fixture.source.field_mapping = {{"day", "weekday"}};
  const auto expected =
      test::TableOf({{"weekday", arrow::utf8()}, {"id", arrow::int64()}, {"shop", arrow::int64()}},
                    R"([["mo", 1, 3], ["tu", 2, 4]])");
  CHECK_TABLE_EQ(fixture.Read({.columns = {"weekday", "id", "shop"}}), expected);
  CHECK(ValueOf(fixture.store->SourceSchema(fixture.context, fixture.source))->field_names() ==
        std::vector<std::string>{"id", "at", "Amount (CHF)", "shop", "weekday"});
  const auto append = [&](const std::string& part, const std::vector<test::Column>& columns,
                          const std::string& rows) {
    return fixture.store->Append(fixture.context, fixture.source, part,
                                 *test::TableOf(columns, rows));
  };
  const std::vector<test::Column> of_rows = {
      {"id", arrow::int64()}, {"shop", arrow::int64()}, {"weekday", arrow::utf8()}};
  CHECK_ERROR(append("more", {{"id", arrow::int64()}, {"shop", arrow::int64()}}, "[[3, 4]]"),
              ErrorKind::kUser, "data source 'sales' have no column 'weekday'");
  CHECK_ERROR(
      append("more", {{"shop", arrow::utf8()}, {"weekday", arrow::utf8()}}, R"([["far", "mo"]])"),
      ErrorKind::kUser, "column 'shop'");
  CHECK(ValueOf(fixture.store->CountRows(fixture.context, fixture.source)) == 2);
  CHECK_OK(append("more", of_rows, R"([[3, 4, "tu"], [4, 5, "a/b"], [5, 4, "tu"], [6, 4, null]])"));
  CHECK(std::filesystem::exists(fixture.folder.path() + "/parts/shop=5/day=a%2Fb/more.parquet"));
  CHECK_TABLE_EQ(fixture.Read({.columns = {"id", "shop", "weekday"}}),
                 test::TableOf(of_rows, R"([[1, 3, "mo"], [6, 4, null], [2, 4, "tu"], [3, 4, "tu"],
                                            [5, 4, "tu"], [4, 5, "a/b"]])"));
  CHECK_OK(append("more", of_rows, R"([[3, 4, "tu"], [9, 6, "we"]])"));  // instead of those rows
  CHECK_FALSE(
      std::filesystem::exists(fixture.folder.path() + "/parts/shop=5/day=a%2Fb/more.parquet"));
  CHECK(ValueOf(fixture.store->CountRows(fixture.context, fixture.source)) == 4);
  // All of its files or none: here the place of the last one is taken.
  REQUIRE(std::filesystem::create_directories(fixture.folder.path() +
                                              "/parts/shop=9/day=mo/other.parquet/x"));
  CHECK_FALSE(append("other", of_rows, R"([[7, 8, "mo"], [8, 9, "mo"]])").ok());
  CHECK_FALSE(
      std::filesystem::exists(fixture.folder.path() + "/parts/shop=8/day=mo/other.parquet"));
}

TEST_CASE("a time range never takes away a row inside it") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  constexpr int64_t kSecondDay = 1'704'153'600'000'000;
  const auto rows = ValueOf(
      fixture.Read({.columns = {"id"}, .time_range = table::TimeRange{kSecondDay, kSecondDay}}));
  CHECK(rows->num_rows() >= 1);
  CHECK_TABLE_EQ(rows->Slice(rows->num_rows() - 1),
                 test::TableOf({{"id", arrow::int64()}}, "[[2]]"));
}

TEST_CASE("a missing file is not found, and the error names source and path") {
  Fixture fixture;
  for (const Status& error : {ErrorOf(fixture.Read()),
                              ErrorOf(fixture.store->SourceSchema(fixture.context, fixture.source)),
                              ErrorOf(fixture.store->CountRows(fixture.context, fixture.source))}) {
    CHECK_ERROR(error, ErrorKind::kNotFound, "data source 'sales'");
    CHECK_ERROR(error, ErrorKind::kNotFound, "sales.parquet");
  }
}

TEST_CASE("a column that the file lacks is an error with the nearest name") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  CHECK_ERROR(fixture.Read({.columns = {"idd"}}), ErrorKind::kNotFound, "did you mean 'id'");
}

TEST_CASE("a file that is damaged, empty or of another format is an error that names it") {
  Fixture fixture;
  fixture.Write("sales.parquet", kRows);
  const std::string path = fixture.folder.path() + "/sales.parquet";
  const std::string bytes = ValueOf(ReadFile(path));
  for (const std::string& broken :
       {bytes.substr(0, bytes.size() - 20), std::string("id,at\n1,2\n"), std::string()}) {
    CAPTURE(broken.size());
    test::RequireOk(WriteFileAtomic(path, broken));
    const Status error = ErrorOf(fixture.Read());
    CHECK(error.message().find("sales.parquet") != std::string::npos);
    CHECK(error.message().find("data source 'sales'") != std::string::npos);
    CHECK((KindOf(error) == ErrorKind::kUser || KindOf(error) == ErrorKind::kDataLoss));
  }
}

TEST_CASE("file_format wins over the suffix, and an unknown one is refused") {
  Fixture fixture;
  test::RequireOk(WriteFileAtomic(fixture.folder.path() + "/sales.txt",
                                  "id,at,Amount (CHF)\n1,2024-01-01T00:00:00Z,2.5\n"));
  fixture.source.path = "sales.txt";
  fixture.source.file_format = "csv";
  CHECK(ValueOf(fixture.Read())->num_rows() == 1);
  fixture.source.file_format = "xml";
  CHECK_ERROR(fixture.Read(), ErrorKind::kUser, "xml");
}

TEST_CASE("a store type that is not there is named") {
  RepositoryConfig config;
  config.offline_store.type = "snowflake";
  CHECK_ERROR(OpenOfflineStore(config), ErrorKind::kUnsupported, "snowflake");
}

}  // namespace gnomon::feature
