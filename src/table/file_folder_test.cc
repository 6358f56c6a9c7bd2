#include <filesystem>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "table/file.h"
#include "table/file_samples.h"
#include "table/partitioned_table.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::table {

using gnomon::test::MakeTemporaryFolder;
using gnomon::test::TableOf;
using test::Drain;
using test::ValueOf;
using test::WriteText;

TEST_CASE("the files of a folder are one table, in the order of their paths") {
  const auto folder = MakeTemporaryFolder();
  const std::vector<gnomon::test::Column> columns = {{"n", arrow::int64()}};
  CHECK_OK(WriteTable({}, *TableOf(columns, "[[2]]"), folder.path() + "/b/1.parquet"));
  CHECK_OK(WriteTable({}, *TableOf(columns, "[[1]]"), folder.path() + "/a/2.parquet"));
  CHECK_OK(WriteTable({}, *TableOf(columns, "[[3]]"), folder.path() + "/c.csv"));
  WriteText(folder.path() + "/_SUCCESS", "");
  WriteText(folder.path() + "/.hidden.parquet", "");
  std::filesystem::create_directory(folder.path() + "/_log");
  WriteText(folder.path() + "/_log/.1.json", "");
  CHECK_TABLE_EQ(ReadTable({}, folder.path()), TableOf(columns, "[[1], [2], [3]]"));
  CHECK_TABLE_EQ(ReadTable({}, folder.path() + "/*/*.parquet"), TableOf(columns, "[[1], [2]]"));
  CHECK_TABLE_EQ(ReadTable({}, "file://" + folder.path() + "/b"), TableOf(columns, "[[2]]"));
  const auto reader = ValueOf(TableReader::Open({}, folder.path() + "/*/*.parquet"));
  CHECK(reader->num_rows() == 2);
  CHECK_TABLE_EQ(Drain(reader.get(), 100), TableOf(columns, "[[1], [2]]"));
  CHECK_ERROR(ReadTable({}, folder.path() + "/_log"), ErrorKind::kNotFound, "_log");
  CHECK_ERROR(ReadTable({}, folder.path() + "/*.pq"), ErrorKind::kNotFound, "*.pq");
}

TEST_CASE("files of several widths give the widest, wherever it stands") {
  const auto folder = MakeTemporaryFolder();
  const auto write = [&](const std::string& name, const std::vector<gnomon::test::Column>& columns,
                         const std::string& rows) {
    CHECK_OK(WriteTable({}, *TableOf(columns, rows), Concat(folder.path(), "/", name)));
  };
  write("1.parquet", {{"a", arrow::int16()}, {"b", arrow::float32()}, {"c", arrow::null()}},
        "[[1, 0.5, null]]");
  write("2.arrow", {{"b", arrow::float64()}, {"a", arrow::int64()}, {"c", arrow::utf8()}},
        R"([[0.1, 5000000000, "x"]])");
  WriteText(folder.path() + "/3.csv", "a,b,c\n6000000000,2,3\n");
  write("4.parquet", {{"a", arrow::int32()}, {"d", arrow::int32()}}, "[[70000, 1]]");
  const auto expected =
      TableOf({{"a", arrow::int64()}, {"b", arrow::float64()}, {"c", arrow::utf8()}},
              R"([[1, 0.5, null], [5000000000, 0.1, "x"], [6000000000, 2, "3"],
                  [70000, null, null]])");
  CHECK(ValueOf(ReadSchema({}, folder.path()))->Equals(*expected->schema()));
  CHECK_TABLE_EQ(ReadTable({}, folder.path()), expected);
  CHECK_TABLE_EQ(Drain(ValueOf(TableReader::Open({}, folder.path())).get(), 100), expected);
  const auto table = ValueOf(PartitionedTable::Open({}, folder.path()));
  CHECK(table->schema()->Equals(*expected->schema()));
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  for (int64_t partition = 0; partition < table->num_partitions(); ++partition) {
    const auto scan = ValueOf(table->Scan({}, partition, {0, 1, 2}, 100));
    while (const auto batch = ValueOf(scan->Next())) batches.push_back(batch);
    const std::vector<int64_t> first = {0};
    const auto gathered = ValueOf(table->Gather({}, partition, {0}, first));
    CHECK(gathered[0]->Equals(*batches.back()->column(0)->Slice(0, 1)));
  }
  CHECK_TABLE_EQ(ValueOf(arrow::Table::FromRecordBatches(table->schema(), batches)), expected);
}

TEST_CASE("later files are cast to the first one's types when no value is lost") {
  const auto folder = MakeTemporaryFolder();
  const std::string first = folder.path() + "/1.parquet";
  const std::string second = folder.path() + "/2.parquet";
  CHECK_OK(WriteTable({}, *TableOf({{"a", arrow::int64()}, {"b", arrow::utf8()}}, R"([[1, "x"]])"),
                      first));
  CHECK_OK(WriteTable({}, *TableOf({{"a", arrow::int32()}}, "[[2]]"), second));
  const auto expected =
      TableOf({{"a", arrow::int64()}, {"b", arrow::utf8()}}, R"([[1, "x"], [2, null]])");
  CHECK_TABLE_EQ(ReadTable({}, folder.path()), expected);
  CHECK_TABLE_EQ(Drain(ValueOf(TableReader::Open({}, folder.path())).get(), 100), expected);
  CHECK_OK(WriteTable(
      {}, *TableOf({{"a", arrow::float64()}, {"b", arrow::utf8()}}, R"([[2.5, "y"]])"), second));
  CHECK_ERROR(ReadTable({}, folder.path()), ErrorKind::kUser, second);
  CHECK_ERROR(ReadTable({}, folder.path()), ErrorKind::kUser, "'a'");
}

TEST_CASE("a column that may not be null may not be missing either") {
  const auto folder = MakeTemporaryFolder();
  CHECK_OK(WriteTable({},
                      *TableOf({{"a", arrow::int64(), false}, {"b", arrow::int64()}}, "[[1, 1]]"),
                      folder.path() + "/1.parquet"));
  CHECK_OK(
      WriteTable({}, *TableOf({{"b", arrow::int64()}}, "[[2]]"), folder.path() + "/2.parquet"));
  CHECK_ERROR(ReadTable({}, folder.path()), ErrorKind::kUser, "2.parquet: 'a'");
}

TEST_CASE("text files of a folder take the types of the first") {
  const auto folder = MakeTemporaryFolder();
  WriteText(folder.path() + "/1.csv", "a,b\n1.5,x\n");
  WriteText(folder.path() + "/2.csv", "a,b\n2,3\n");
  const auto expected =
      TableOf({{"a", arrow::float64()}, {"b", arrow::utf8()}}, R"([[1.5, "x"], [2, "3"]])");
  CHECK_TABLE_EQ(ReadTable({}, folder.path()), expected);
  CHECK_TABLE_EQ(Drain(ValueOf(TableReader::Open({}, folder.path())).get(), 100), expected);
  WriteText(folder.path() + "/2.csv", "a,b\nsoon,3\n");
  CHECK_ERROR(ReadTable({}, folder.path()), ErrorKind::kUser, "2.csv");
}

TEST_CASE("columns are read in the order asked for, and a missing one is suggested") {
  const auto folder = MakeTemporaryFolder();
  const auto table =
      TableOf({{"driver_id", arrow::int64()}, {"rating", arrow::float64()}}, "[[1, 0.5]]");
  for (const std::string suffix : {"parquet", "arrow", "csv", "json"}) {
    const std::string path = folder.path() + "/t." + suffix;
    CHECK_OK(WriteTable({}, *table, path));
    CHECK_TABLE_EQ(ReadTable({}, path, {.columns = {"rating", "driver_id"}}),
                   ValueOf(table->SelectColumns({1, 0})));
    CHECK_TABLE_EQ(ReadTable({}, path, {.columns = {"rating"}}),
                   ValueOf(table->SelectColumns({1})));
    CHECK_ERROR(ReadTable({}, path, {.columns = {"drivr_id"}}), ErrorKind::kNotFound,
                "did you mean 'driver_id'");
    CHECK_ERROR(ReadTable({}, path, {.columns = {"drivr_id"}}), ErrorKind::kNotFound, path);
  }
}

TEST_CASE("files of other schemes than file and s3 are unsupported") {
  CHECK_ERROR(ReadTable({}, "s3a://bucket/x.parquet"), ErrorKind::kUnsupported, "s3a://");
  CHECK_ERROR(WriteTable({}, *TableOf({{"n", arrow::int64()}}, "[]"), "gs://bucket/x.parquet"),
              ErrorKind::kUnsupported, "gs://");
  CHECK_ERROR(ReadTable({}, "file://relative.parquet"), ErrorKind::kUser, "absolute");
}

TEST_CASE("formats are known by name and by suffix") {
  CHECK(ValueOf(ParseFileFormat("Parquet")) == FileFormat::kParquet);
  CHECK(ValueOf(ParseFileFormat("feather")) == FileFormat::kIpc);
  CHECK_ERROR(ParseFileFormat("parket"), ErrorKind::kUser, "did you mean 'parquet'");
  CHECK(ValueOf(FormatOfPath("a/b.PQ")) == FileFormat::kParquet);
  CHECK(ValueOf(FormatOfPath("b.csv.gz")) == FileFormat::kCsv);
  CHECK(ValueOf(FormatOfPath("b.ndjson")) == FileFormat::kJson);
  CHECK(ValueOf(FormatOfPath("b.ipc")) == FileFormat::kIpc);
  CHECK_ERROR(FormatOfPath("b.txt"), ErrorKind::kUser, "b.txt");
}

}  // namespace gnomon::table
