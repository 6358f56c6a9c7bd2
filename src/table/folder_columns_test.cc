#include "table/folder_columns.h"

#include <filesystem>

#include <arrow/table.h>
#include <doctest/doctest.h>

#include "table/file_samples.h"
#include "table/partitioned_table.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::table {

using gnomon::test::Column;
using gnomon::test::MakeTemporaryFolder;
using gnomon::test::TableOf;
using test::Drain;
using test::ValueOf;
using test::WriteText;

namespace {

void Save(const std::string& path, const std::vector<Column>& columns, const std::string& rows) {
  CHECK_OK(WriteTable({}, *TableOf(columns, rows), path));
}

/// Two integers and a null, of two formats.
void WriteFolders(const std::string& root) {
  const std::vector<Column> columns = {{"v", arrow::int64()}};
  Save(root + "/year=2023/shop=a%2Fb/x.parquet", columns, "[[1], [2]]");
  Save(root + "/year=2024/shop=__HIVE_DEFAULT_PARTITION__/x.parquet", columns, "[[3]]");
  std::filesystem::create_directories(root + "/year=2024/shop=c");
  WriteText(root + "/year=2024/shop=c/x.csv", "v\n4\n");
}

const std::vector<Column>& AllColumns() {
  static const std::vector<Column> columns = {
      {"v", arrow::int64()}, {"year", arrow::int64()}, {"shop", arrow::utf8()}};
  return columns;
}

constexpr const char* kAllRows =
    R"([[1, 2023, "a/b"], [2, 2023, "a/b"], [3, 2024, null], [4, 2024, "c"]])";

std::shared_ptr<arrow::Table> ScanAll(const PartitionedTable& table,
                                      const std::vector<int>& columns) {
  arrow::RecordBatchVector batches;
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    const auto stream = ValueOf(table.Scan({}, partition, columns, 1));
    while (auto batch = ValueOf(stream->Next())) batches.push_back(std::move(batch));
  }
  return ValueOf(arrow::Table::FromRecordBatches(batches));
}

TEST_CASE("values in the names of folders are columns, however the table is read") {
  const auto folder = MakeTemporaryFolder();
  WriteFolders(folder.path());
  const auto expected = TableOf(AllColumns(), kAllRows);
  CHECK(ValueOf(ReadSchema({}, folder.path()))->Equals(*expected->schema()));
  CHECK(ValueOf(FolderSchema({}, folder.path()))->field_names() ==
        std::vector<std::string>{"year", "shop"});
  CHECK_TABLE_EQ(ReadTable({}, folder.path() + "/"), expected);
  CHECK_TABLE_EQ(ReadTable({}, "file://" + folder.path()), expected);
  CHECK_TABLE_EQ(Drain(ValueOf(TableReader::Open({}, folder.path())).get(), 100), expected);
  const auto table = ValueOf(PartitionedTable::Open({}, folder.path(), {}, {"year"}));
  CHECK_TABLE_EQ(ScanAll(*table, {0, 1, 2}), expected);
  const auto values = ValueOf(table->Gather({}, 0, {2, 0}, std::vector<int64_t>{1, 1}));
  CHECK_TABLE_EQ(
      arrow::Table::Make(
          arrow::schema({arrow::field("shop", arrow::utf8()), arrow::field("v", arrow::int64())}),
          values),
      TableOf({{"shop", arrow::utf8()}, {"v", arrow::int64()}}, R"([["a/b", 2], ["a/b", 2]])"));
}

TEST_CASE("columns of folders alone have a value for each row") {
  const auto folder = MakeTemporaryFolder();
  WriteFolders(folder.path());
  const auto years = TableOf({{"year", arrow::int64()}}, "[[2023], [2023], [2024], [2024]]");
  CHECK_TABLE_EQ(ReadTable({}, folder.path(), {.columns = {"year"}}), years);
  CHECK_TABLE_EQ(ScanAll(*ValueOf(PartitionedTable::Open({}, folder.path())), {1}), years);
  CHECK_TABLE_EQ(ReadTable({}, folder.path(), {.columns = {"shop", "v"}}),
                 ValueOf(TableOf(AllColumns(), kAllRows)->SelectColumns({2, 0})));
}

TEST_CASE("only folders below the one that was given, or from the first wildcard on, are columns") {
  const auto folder = MakeTemporaryFolder();
  WriteFolders(folder.path());
  const std::vector<Column> columns = {{"v", arrow::int64()}, {"shop", arrow::utf8()}};
  const auto expected = TableOf(columns, R"([[1, "a/b"], [2, "a/b"]])");
  CHECK_TABLE_EQ(ReadTable({}, folder.path() + "/year=2023"), expected);
  CHECK_TABLE_EQ(ReadTable({}, folder.path() + "/year=2023/*/x.*"), expected);
  const std::string file = folder.path() + "/year=2024/shop=c/x.csv";
  CHECK_TABLE_EQ(ReadTable({}, file), TableOf({{"v", arrow::int64()}}, "[[4]]"));
  CHECK(ValueOf(FolderSchema({}, file))->num_fields() == 0);
}

TEST_CASE("a column that the files have is theirs, whatever their folders are called") {
  const auto folder = MakeTemporaryFolder();
  const std::vector<Column> columns = {{"v", arrow::int64()}, {"day", arrow::utf8()}};
  Save(folder.path() + "/day=1/hour=007/x.parquet", columns, R"([[1, "Monday"]])");
  Save(folder.path() + "/day=2/hour=8/x.parquet", columns, R"([[2, "Tuesday"]])");
  CHECK_TABLE_EQ(ReadTable({}, folder.path()),
                 TableOf({{"v", arrow::int64()}, {"day", arrow::utf8()}, {"hour", arrow::utf8()}},
                         R"([[1, "Monday", "007"], [2, "Tuesday", "8"]])"));
  CHECK(ValueOf(FolderSchema({}, folder.path()))->field_names() ==
        std::vector<std::string>{"hour"});
}

TEST_CASE("a later file's own column does not stand in for that of the folders") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/day=1/x.parquet", {{"v", arrow::int64()}}, "[[1]]");
  Save(folder.path() + "/day=2/x.parquet", {{"day", arrow::int64()}, {"v", arrow::int64()}},
       "[[77, 2]]");
  CHECK_TABLE_EQ(ReadTable({}, folder.path()),
                 TableOf({{"v", arrow::int64()}, {"day", arrow::int64()}}, "[[1, 1], [2, 2]]"));
}

TEST_CASE("files below folders of different columns are no table") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/day=1/x.parquet", {{"v", arrow::int64()}}, "[[1]]");
  Save(folder.path() + "/x.parquet", {{"v", arrow::int64()}}, "[[2]]");
  CHECK_ERROR(ReadTable({}, folder.path()), ErrorKind::kUser, "different partition columns");
  CHECK_ERROR(PartitionedTable::Open({}, folder.path()), ErrorKind::kUser, "/day=1/x.parquet");
  const auto twice = MakeTemporaryFolder();
  Save(twice.path() + "/day=1/day=2/x.parquet", {{"v", arrow::int64()}}, "[[1]]");
  CHECK_ERROR(ReadTable({}, twice.path()), ErrorKind::kUser, "twice in a path: 'day'");
}

}  // namespace
}  // namespace gnomon::table
