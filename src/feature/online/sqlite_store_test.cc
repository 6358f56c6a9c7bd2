#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_store.h"
#include "feature/online/online_store_suite_internal.h"
#include "sql/sqlite.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

const OnlineTable kTable{
    .project = "p", .view = "v", .schema = arrow::schema({{"x", arrow::int64()}})};

std::unique_ptr<OnlineStore> OpenAt(const std::string& path) {
  return ValueOf(OpenOnlineStore({.type = "sqlite", .path = path}));
}

Status WriteOne(OnlineStore& store, const Context& context = {}) {
  const int64_t time = 1;
  const auto values = ValueOf(test::TableOfSchema(kTable.schema, "[[5]]")->CombineChunksToBatch());
  GNOMON_ASSIGN_OR_RETURN(auto writer, store.BeginWrite(context, kTable));
  GNOMON_RETURN_NOT_OK(writer->Write(context, {{"key"}, {&time, 1}, {&time, 1}, values}));
  return writer->Commit(context);
}

Status ReadOne(OnlineStore& store) {
  const OnlineRead read{.table = &kTable, .keys = {"key"}, .fields = {0}};
  return store.Read({}, {&read, 1}).status();
}

TEST_CASE("the SQLite store does what every online store must do") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  CheckOnlineStore([&] { return OpenAt(folder.path() + "/deep/er/online.db"); });
}

std::unique_ptr<OnlineStore> OpenFeastAt(const std::string& path, int key_version = 3) {
  return ValueOf(OpenOnlineStore(
      {.type = "sqlite", .path = path, .layout = "feast", .entity_key_version = key_version}));
}

TEST_CASE("the SQLite store does what every online store must do, in Feast's layout") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  CheckOnlineStore([&] { return OpenFeastAt(folder.path() + "/online.db"); },
                   {.feast = true, .tick = kMicrosPerSecond, .distinct_tables = false});
}

const OnlineTable kDrivers{
    .project = "p",
    .view = "fv",
    .schema =
        arrow::schema({{"v", arrow::int64()}, {"s", arrow::utf8()}, {"w", arrow::float64()}})};

std::string DriverKey(int64_t id) {
  const auto encoder =
      ValueOf(EntityKeyEncoder::Make({"driver_id"}, {ValueType{ValueType::kInt64}}));
  const auto ids = ValueOf(
      test::TableOfSchema(arrow::schema({{"driver_id", arrow::int64()}}), Concat("[[", id, "]]"))
          ->CombineChunksToBatch());
  std::string key;
  CHECK(ValueOf(encoder.Encode({ids->column(0)}, 0, &key)));
  return key;
}

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text += kDigits[static_cast<unsigned char>(byte) >> 4];
    text += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

/// The rows that a real Feast wrote of the same: tests/golden/feast_sqlite.txt.
std::string DumpFeast(const std::string& path) {
  sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
  std::string text;
  auto schema = ValueOf(database.Prepare(
      "SELECT sql FROM sqlite_master WHERE tbl_name = 'p_fv' AND sql IS NOT NULL"));
  while (ValueOf(schema.Step())) text += Concat(schema.Text(0), "\n");
  auto rows = ValueOf(database.Prepare(
      "SELECT entity_key, feature_name, value, coalesce(value_text, 'null'), typeof(vector_value), "
      "event_ts, created_ts FROM p_fv ORDER BY rowid"));
  while (ValueOf(rows.Step())) {
    text += Concat(Hex(rows.Blob(0)), " ", rows.Text(1), " '", Hex(rows.Blob(2)), "' ",
                   rows.Text(3), " ", rows.Text(4), " ", rows.Int(5), " ", rows.Int(6), "\n");
  }
  return text;
}

TEST_CASE("Feast's table has the bytes that Feast writes") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto store = OpenFeastAt(path);
  CHECK_OK(store->Prepare({}, {{kDrivers}}));
  const std::string first = DriverKey(1001);
  const std::string second = DriverKey(1002);
  const std::vector<int64_t> times = {1767272400 * kMicrosPerSecond + 999'999,
                                      1767268800 * kMicrosPerSecond};
  const std::vector<int64_t> created(2, 1767268800 * kMicrosPerSecond);
  const auto values =
      ValueOf(test::TableOfSchema(kDrivers.schema, R"([[2, "b", 2.5], [3, null, null]])")
                  ->CombineChunksToBatch());
  auto writer = ValueOf(store->BeginWrite({}, kDrivers));
  CHECK_OK(writer->Write({}, {{first, second}, times, created, values}));
  CHECK_OK(writer->Commit({}));
  CHECK(DumpFeast(path) == ValueOf(ReadFile("tests/golden/feast_sqlite.txt")));
}

TEST_CASE("keys of version 2 are those of Feast's version 2") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto store = OpenFeastAt(path, 2);
  CHECK_OK(store->Prepare({}, {{kTable}}));
  const std::string key = DriverKey(1001);
  const int64_t time = kMicrosPerSecond;
  const auto values = ValueOf(test::TableOfSchema(kTable.schema, "[[5]]")->CombineChunksToBatch());
  auto writer = ValueOf(store->BeginWrite({}, kTable));
  CHECK_OK(writer->Write({}, {{key}, {&time, 1}, {&time, 1}, values}));
  CHECK_OK(writer->Commit({}));
  sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
  auto stored = ValueOf(database.Prepare("SELECT entity_key FROM p_v"));
  CHECK(ValueOf(stored.Step()));
  CHECK(Hex(stored.Blob(0)) == "020000006472697665725f69640400000008000000e903000000000000");
  const OnlineRead read{.table = &kTable, .keys = {key}, .fields = {0}};
  CHECK(ValueOf(store->Read({}, {&read, 1}))[0].found[0]);
}

TEST_CASE(
    "a table that Feast made selects its layout, and another one that is asked for is refused") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const std::string create =
      "CREATE TABLE \"p_v\" (entity_key BLOB, feature_name TEXT, value BLOB, vector_value BLOB, "
      "event_ts timestamp, created_ts timestamp, PRIMARY KEY(entity_key, feature_name))";
  const auto packed = [&] {
    return ValueOf(OpenOnlineStore({.type = "sqlite", .path = path, .layout = "packed"}));
  };
  SUBCASE("one of an older Feast gets the column that it lacks") {
    sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
    CHECK_OK(database.Execute(create));
    CHECK_OK(database.Execute("INSERT INTO p_v VALUES (x'6b6579', 'x', x'2007', NULL, 1, NULL)"));
    const auto store = OpenAt(path);
    CHECK_OK(ReadOne(*store));  // before any apply
    CHECK_ERROR(packed()->Prepare({}, {{kTable}}), ErrorKind::kConflict, "lies in layout feast");
    CHECK_ERROR(ReadOne(*packed()), ErrorKind::kConflict, "asks for packed");
    CHECK_OK(store->Prepare({}, {{kTable}}));
    const OnlineRead read{.table = &kTable, .keys = {"key"}, .fields = {0}};
    const auto values = ValueOf(store->Read({}, {&read, 1}));
    CHECK(values[0].event_times == std::vector<int64_t>{kMicrosPerSecond});
    CHECK(ValueOf(values[0].columns[0]->GetScalar(0))->ToString() == "7");
    CHECK_OK(WriteOne(*store));
    CHECK(ValueOf(store->CountRows({}, kTable)) == 1);
  }
  SUBCASE("one with a long name, before any apply") {
    const OnlineTable table{.project = "a_project_with_a_name",
                            .view = "a_view_with_a_longer_name_than_fits_into_a_short_string",
                            .schema = kTable.schema};
    CHECK_OK(OpenFeastAt(path)->Prepare({}, {{table}}));
    CHECK_OK(ValueOf(sql::Sqlite::Open(path)).Execute("DROP TABLE gnomon_online_feast"));
    CHECK(ValueOf(OpenAt(path)->CountRows({}, table)) == 0);
  }
  SUBCASE("a packed one is not turned into Feast's") {
    CHECK_OK(packed()->Prepare({}, {{kTable}}));
    CHECK_ERROR(OpenFeastAt(path)->Prepare({}, {{kTable}}), ErrorKind::kConflict,
                "lies in layout packed in the online store, the configuration asks for feast");
    CHECK_ERROR(ReadOne(*OpenFeastAt(path)), ErrorKind::kConflict, "packed");
    CHECK_OK(ReadOne(*OpenAt(path)));
  }
  SUBCASE("a table of that name which is none of Feast's is refused") {
    CHECK_OK(ValueOf(sql::Sqlite::Open(path)).Execute("CREATE TABLE p_v (x)"));
    CHECK_ERROR(OpenFeastAt(path)->Prepare({}, {{kTable}}), ErrorKind::kInternal, "p_v");
  }
  SUBCASE("damaged values and times are named, those of another type are null") {
    const auto store = OpenFeastAt(path);
    CHECK_OK(store->Prepare({}, {{kTable}}));
    CHECK_OK(WriteOne(*store));
    sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
    CHECK_OK(database.Execute("UPDATE p_v SET value = x'20'"));
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "feature 'x' of view 'v'");
    CHECK_OK(database.Execute("UPDATE p_v SET value = x'120161'"));
    CHECK_OK(ReadOne(*store));
    CHECK_OK(database.Execute("UPDATE p_v SET value = 'text'"));
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "feature 'x' of view 'v'");
    CHECK_OK(database.Execute("UPDATE p_v SET value = NULL"));
    CHECK_OK(ReadOne(*store));
    CHECK_OK(database.Execute("UPDATE p_v SET event_ts = '2024-01-05 12:00:00'"));
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "no number of seconds: 2024-01-05");
    CHECK_ERROR(WriteOne(*store), ErrorKind::kDataLoss, "no number of seconds");
  }
  SUBCASE("a column value_num follows the value") {
    sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
    CHECK_OK(database.Execute(create));
    CHECK_OK(database.Execute("ALTER TABLE p_v ADD COLUMN value_num REAL"));
    const auto store = OpenAt(path);
    CHECK_OK(store->Prepare({}, {{kTable}}));
    CHECK_OK(WriteOne(*store));
    auto number = ValueOf(database.Prepare("SELECT value_num, value_text FROM p_v"));
    CHECK(ValueOf(number.Step()));
    CHECK(number.Double(0) == 5);
    CHECK(number.Text(1) == "5");
  }
}

TEST_CASE("a store that does not exist is not made by reading or writing") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const auto store = OpenAt(folder.path() + "/online.db");
  CHECK_ERROR(ReadOne(*store), ErrorKind::kNotFound, "run: gnomon apply");
  CHECK_ERROR(WriteOne(*store), ErrorKind::kNotFound, "online.db");
  CHECK_OK(store->DropExcept({}, "p", {}));
  CHECK_OK(store->Teardown({}, "p"));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("teardown removes the file unless something else is in it") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto store = OpenAt(path);
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteOne(*store));
  CHECK_OK(ReadOne(*store));
  {
    sql::Sqlite feast = ValueOf(sql::Sqlite::Open(path));
    CHECK_OK(feast.Execute("CREATE TABLE p_fv (entity_key BLOB)"));
    CHECK_OK(store->Teardown({}, "p"));
    CHECK_OK(feast.Execute("DROP TABLE p_fv"));
  }
  CHECK(std::filesystem::exists(path));
  CHECK_OK(store->Teardown({}, "p"));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a file that is deleted or replaced under an open store is noticed") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto store = OpenAt(path);
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteOne(*store));
  CHECK_OK(ReadOne(*store));
  {
    auto writer = ValueOf(store->BeginWrite({}, kTable));
    for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
      std::filesystem::remove(entry);
    CHECK_ERROR(writer->Commit({}), ErrorKind::kConflict, "deleted or replaced");
  }
  CHECK_ERROR(ReadOne(*store), ErrorKind::kNotFound, "online store does not exist");
  CHECK_ERROR(WriteOne(*store), ErrorKind::kNotFound, "online store does not exist");
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK(ValueOf(store->CountRows({}, kTable)) == 0);
}

TEST_CASE("foreign and damaged files are named") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  SUBCASE("not a database") {
    std::ofstream(path) << std::string(5000, 'x');
    CHECK_ERROR(ReadOne(*OpenAt(path)), ErrorKind::kDataLoss, path);
    CHECK_ERROR(OpenAt(path)->Prepare({}, {{kTable}}), ErrorKind::kDataLoss, path);
  }
  SUBCASE("a row whose bytes are cut off, and one of an unknown schema") {
    const auto store = OpenAt(path);
    CHECK_OK(store->Prepare({}, {{kTable}}));
    CHECK_OK(WriteOne(*store));
    sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
    CHECK_OK(database.Execute("UPDATE gnomon_1_p_v SET value = x'01'"));
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "view 'v'");
    CHECK_OK(WriteOne(*store));
    CHECK_OK(ReadOne(*store));
    CHECK_OK(database.Execute("UPDATE gnomon_1_p_v SET schema_id = 77"));
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "schema 77");
  }
  SUBCASE("a newer format version") {
    CHECK_OK(OpenAt(path)->Prepare({}, {{kTable}}));
    CHECK_OK(ValueOf(sql::Sqlite::Open(path)).Execute("UPDATE gnomon_online_meta SET value = 3"));
    CHECK_ERROR(ReadOne(*OpenAt(path)), ErrorKind::kUnsupported,
                "format version 3, this build reads up to 2");
    CHECK_ERROR(OpenAt(path)->Prepare({}, {{kTable}}), ErrorKind::kUnsupported, path);
  }
}

TEST_CASE("a file is of the first format version until rows with folded events are written") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto store = OpenAt(path);
  const auto version = [&] {
    sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
    auto find = ValueOf(database.Prepare("SELECT value FROM gnomon_online_meta"));
    CHECK(ValueOf(find.Step()));
    return find.Int(0);
  };
  OnlineTable folded = kTable;
  folded.view = "lifetime";
  folded.schema = arrow::schema({arrow::field("__folded", arrow::list(arrow::int64()))});
  CHECK_OK(store->Prepare({}, std::vector{kTable, folded}));
  CHECK_OK(WriteOne(*store));
  CHECK(version() == 1);
  CHECK_OK(ValueOf(store->BeginWrite({}, folded))->Commit({}));
  CHECK(version() == 2);
  CHECK_OK(ReadOne(*store));
}

TEST_CASE("a writer waits for another process as long as its context allows") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto store = OpenAt(path);
  CHECK_OK(store->Prepare({}, {{kTable}}));
  sql::Sqlite other = ValueOf(sql::Sqlite::Open(path));
  CHECK_OK(other.Execute("BEGIN IMMEDIATE"));
  CHECK_ERROR(WriteOne(*store, Context{}.WithTimeout(0.2)), ErrorKind::kDeadline,
              "waiting to write");
  CHECK_OK(ReadOne(*store));
  CHECK_OK(other.Execute("COMMIT"));
  CHECK_OK(WriteOne(*store));
}

TEST_CASE("a writer waits for a thread of its own store, but never for itself") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const auto store = OpenAt(folder.path() + "/online.db");
  CHECK_OK(store->Prepare({}, {{kTable}}));
  auto writer = ValueOf(store->BeginWrite({}, kTable));
  CHECK_ERROR(store->BeginWrite({}, kTable), ErrorKind::kInternal, "this thread has an open write");
  std::jthread([&] {
    CHECK_ERROR(WriteOne(*store, Context{}.WithTimeout(0.1)), ErrorKind::kDeadline,
                "waiting to write");
  }).join();
  CHECK_OK(writer->Commit({}));
  CHECK_OK(WriteOne(*store));
}

TEST_CASE("an open write may outlive its store") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  auto store = OpenAt(path);
  CHECK_OK(store->Prepare({}, {{kTable}}));
  auto writer = ValueOf(store->BeginWrite({}, kTable));
  store.reset();
  CHECK_OK(writer->Commit({}));
}

TEST_CASE(
    "a write that is larger than its buffer or the memory is still one commit, and the newest row "
    "wins") {
  MemoryBudget budget("test", 100 << 20);
  Context context;
  size_t row_bytes = size_t{20} << 20;
  SUBCASE("without a budget") { row_bytes = size_t{40} << 20; }
  SUBCASE("with one that holds a single row") { context.memory = &budget; }
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const auto store = OpenAt(folder.path() + "/online.db");
  const OnlineTable table{
      .project = "p", .view = "v", .schema = arrow::schema({{"x", arrow::utf8()}})};
  CHECK_OK(store->Prepare({}, {{table}}));
  auto writer = ValueOf(store->BeginWrite({}, table));
  const std::vector<std::pair<std::string, int64_t>> rows = {
      {"b", 2}, {"a", 1}, {"b", 1}, {"a", 2}, {"a", 0}};
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string value(row_bytes, static_cast<char>('0' + i));
    const auto batch = ValueOf(
        test::TableOfSchema(table.schema, Concat("[[\"", value, "\"]]"))->CombineChunksToBatch());
    CHECK_OK(writer->Write(context,
                           {{rows[i].first}, {&rows[i].second, 1}, {&rows[i].second, 1}, batch}));
    CHECK(ValueOf(store->CountRows({}, table)) == 0);
    CHECK(budget.used() <= budget.limit() / 4);
  }
  CHECK_OK(writer->Commit(context));
  writer.reset();
  CHECK(budget.used() == 0);
  CHECK((budget.peak() > 0) == (context.memory != nullptr));
  const OnlineRead read{.table = &table, .keys = {"a", "b"}, .fields = {0}};
  const auto values = ValueOf(store->Read({}, {&read, 1}));
  CHECK(values[0].event_times == std::vector<int64_t>{2, 2});
  CHECK(ValueOf(values[0].columns[0]->GetScalar(0))->ToString().starts_with("3333"));
  CHECK(ValueOf(values[0].columns[0]->GetScalar(1))->ToString().starts_with("0000"));
}

TEST_CASE("other store types are named, and an empty path is refused") {
  CHECK_ERROR(OpenOnlineStore({.type = "dynamodb", .path = "x"}), ErrorKind::kUnsupported,
              "dynamodb");
  CHECK_ERROR(OpenOnlineStore({.type = "sqlite", .path = ""}), ErrorKind::kUser, "path");
}

}  // namespace
}  // namespace gnomon::feature
