#include "table/file.h"

#include <filesystem>

#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "table/column.h"
#include "table/file_samples.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::table {

using gnomon::test::MakeTemporaryFolder;
using gnomon::test::TableOf;
using test::AllTypes;
using test::Drain;
using test::Random;
using test::RandomTable;
using test::ValueOf;
using test::WriteText;

namespace {

void CutInHalf(const std::string& path) {
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
}

}  // namespace

TEST_CASE("Parquet and IPC give back every type, value and null") {
  const auto folder = MakeTemporaryFolder();
  for (const std::string suffix : {"parquet", "arrow"}) {
    for (const std::string compression : {"snappy", "zstd", "lz4", "none"}) {
      for (uint64_t seed = 0; seed < 3; ++seed) {
        CAPTURE(suffix);
        CAPTURE(compression);
        CAPTURE(seed);
        Random random(seed);
        const auto table = RandomTable(AllTypes(), random.Int(0, 300), &random);
        const std::string path = folder.path() + "/t." + suffix;
        CHECK_OK(WriteTable({}, *table, path,
                            {.row_group_rows = random.Int(1, 200), .compression = compression}));
        CHECK_TABLE_EQ(ReadTable({}, path), table);
        const int64_t batch_rows = random.Int(1, 120);
        const auto reader = ValueOf(TableReader::Open({}, path, {.batch_rows = batch_rows}));
        CHECK(reader->num_rows() == table->num_rows());
        CHECK_TABLE_EQ(Drain(reader.get(), batch_rows), table);
        CHECK(reader->stats().rows == table->num_rows());
      }
    }
  }
}

TEST_CASE("CSV gives back scalars, with nulls and empty text told apart") {
  const auto folder = MakeTemporaryFolder();
  for (const std::string suffix : {"csv", "csv.gz"}) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      CAPTURE(seed);
      Random random(seed);
      auto table = RandomTable({arrow::int64(), arrow::float64(), arrow::utf8(), arrow::boolean(),
                                arrow::timestamp(arrow::TimeUnit::SECOND)},
                               200, &random);
      // Never null: a row of nothing but nulls would be an empty line.
      const auto sevens = ValueOf(arrow::MakeArrayFromScalar(arrow::Int64Scalar(7), 200));
      table = ValueOf(table->AddColumn(0, arrow::field("n", arrow::int64()),
                                       std::make_shared<arrow::ChunkedArray>(sevens)));
      const std::string path = folder.path() + "/t." + suffix;
      CHECK_OK(WriteTable({}, *table, path));
      CHECK_TABLE_EQ(ReadTable({}, path), table);
      const auto reader = ValueOf(TableReader::Open({}, path, {.batch_rows = 7}));
      CHECK(reader->num_rows() == -1);
      CHECK_TABLE_EQ(Drain(reader.get(), 7), table);
    }
  }
}

TEST_CASE("CSV times in ISO 8601 are recognised") {
  const auto folder = MakeTemporaryFolder();
  const std::string path =
      WriteText(folder.path() + "/t.csv",
                "a,b,c,d,e\n"
                "2024-01-05 12:30:00,2024-01-05T12:30:00Z,2024-01-05,2024-01-05 12:30:00.5,NA\n"
                "2024-01-05T12:30:00,2024-01-05T14:30:00+02:00,,2024-01-05 12:30:00.25,1\n");
  const auto schema = ValueOf(ReadSchema({}, path));
  CHECK(schema->field(0)->type()->Equals(arrow::timestamp(arrow::TimeUnit::SECOND)));
  CHECK(schema->field(1)->type()->Equals(arrow::timestamp(arrow::TimeUnit::SECOND, "UTC")));
  CHECK(schema->field(2)->type()->Equals(arrow::date32()));
  CHECK(schema->field(3)->type()->Equals(arrow::timestamp(arrow::TimeUnit::NANO)));
  CHECK(schema->field(4)->type()->Equals(arrow::int64()));
  const auto table = ValueOf(ReadTable({}, path));
  CHECK(ValueOf(TimesAsMicros(*table->column(1)->chunk(0))) ==
        std::vector<int64_t>{1704457800000000, 1704457800000000});
}

TEST_CASE("JSON lines give back scalars, lists, structs and times") {
  const auto folder = MakeTemporaryFolder();
  for (const std::string suffix : {"jsonl", "json.gz"}) {
    const auto table = TableOf(
        {{"n", arrow::int64()},
         {"x", arrow::float64()},
         {"s", arrow::utf8()},
         {"b", arrow::boolean()},
         {"us", arrow::timestamp(arrow::TimeUnit::MICRO)},
         {"utc", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
         {"ns", arrow::timestamp(arrow::TimeUnit::NANO, "UTC")},
         {"l", arrow::list(arrow::int64())},
         {"o", arrow::struct_({arrow::field("k", arrow::utf8())})}},
        R"([[1, 1, "a\"\n\\é", true, 1704457800000000, 1704457800250000, 1704457800000000001, [1, null], ["v"]],
                                   [null, null, null, null, null, null, null, null, null],
                                   [-5, 0.1, "", false, -1, 0, -1, [], [null]]])");
    const std::string path = folder.path() + "/t." + suffix;
    CHECK_OK(WriteTable({}, *table, path));
    CHECK_TABLE_EQ(ReadTable({}, path), table);
  }
}

TEST_CASE("texts of JSON lines that are not UTF-8 are an error") {
  const auto folder = MakeTemporaryFolder();
  const std::string path =
      WriteText(folder.path() + "/a.jsonl", "{\"s\": \"a\"}\n{\"s\": \"\x84\"}\n");
  CHECK_ERROR(ReadTable({}, path), ErrorKind::kUser, path);
  CHECK_ERROR(ReadTable({}, path), ErrorKind::kUser, "UTF8");
}

TEST_CASE("JSON times of whole seconds and of fractions are one type") {
  const auto folder = MakeTemporaryFolder();
  WriteText(folder.path() + "/1.json", "{\"ts\": \"2024-01-05 12:30:00\", \"n\": 1}\n");
  WriteText(folder.path() + "/2.json", "{\"ts\": \"2024-01-05T12:30:00.5\", \"n\": 2}\n");
  const auto table = ValueOf(ReadTable({}, folder.path()));
  CHECK_TABLE_EQ(table,
                 TableOf({{"ts", arrow::timestamp(arrow::TimeUnit::MICRO)}, {"n", arrow::int64()}},
                         "[[1704457800000000, 1], [1704457800500000, 2]]"));
}

TEST_CASE("times of JSON lines that are all null have the type that is asked for") {
  const auto folder = MakeTemporaryFolder();
  for (const auto& type : {arrow::timestamp(arrow::TimeUnit::MILLI, "UTC"),
                           arrow::timestamp(arrow::TimeUnit::NANO), arrow::date32()}) {
    CAPTURE(type->ToString());
    const auto table = TableOf({{"at", type}, {"n", arrow::int64()}}, "[[null, 1], [null, 2]]");
    const std::string path = folder.path() + "/nulls.jsonl";
    CHECK_OK(WriteTable({}, *table, path));
    CHECK_TABLE_EQ(ReadTable({}, path, {.schema = table->schema()}), table);
  }
}

TEST_CASE("files that are truncated, empty or something else are named") {
  const auto folder = MakeTemporaryFolder();
  Random random(1);
  const auto table = RandomTable({arrow::int64(), arrow::utf8()}, 500, &random);
  for (const std::string suffix : {"parquet", "arrow"}) {
    CAPTURE(suffix);
    const std::string path = folder.path() + "/whole." + suffix;
    CHECK_OK(WriteTable({}, *table, path));
    CutInHalf(path);
    CHECK_ERROR(ReadTable({}, path), ErrorKind::kDataLoss, path);
    const std::string foreign =
        WriteText(folder.path() + "/foreign." + suffix, "a,b\n1,2\nthis is text, not columns\n");
    CHECK_ERROR(ReadTable({}, foreign), ErrorKind::kUser, foreign);
  }
  for (const std::string suffix : {"parquet", "arrow", "csv", "json"}) {
    const std::string empty = WriteText(folder.path() + "/empty." + suffix, "");
    CHECK_ERROR(TableReader::Open({}, empty), ErrorKind::kDataLoss, empty);
    CHECK_ERROR(ReadSchema({}, empty), ErrorKind::kDataLoss, empty);
    CHECK_ERROR(ReadTable({}, folder.path() + "/missing." + suffix), ErrorKind::kNotFound,
                "missing");
  }
  const std::string cut = folder.path() + "/cut.csv.gz";
  CHECK_OK(WriteTable({}, *table, cut));
  CutInHalf(cut);
  CHECK_ERROR(ReadTable({}, cut), ErrorKind::kDataLoss, cut);
  const std::string ragged = WriteText(folder.path() + "/ragged.csv", "a,b\n1\n");
  CHECK_ERROR(ReadTable({}, ragged), ErrorKind::kUser, ragged);
  const std::string array = WriteText(folder.path() + "/array.json", "[{\"a\": 1}]");
  CHECK_ERROR(ReadTable({}, array), ErrorKind::kUser, array);
}

TEST_CASE("an IPC stream without a footer is read too") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/stream.arrow";
  const auto table = TableOf({{"n", arrow::int64()}}, "[[1], [2]]");
  {
    const auto sink = ValueOf(arrow::io::FileOutputStream::Open(path));
    const auto writer = ValueOf(arrow::ipc::MakeStreamWriter(sink, table->schema()));
    CHECK_OK(writer->WriteTable(*table));
    CHECK_OK(writer->Close());
    CHECK_OK(sink->Close());
  }
  CHECK_TABLE_EQ(ReadTable({}, path), table);
  CHECK_TABLE_EQ(ReadTable({}, path, {.format = FileFormat::kIpc}), table);
}

TEST_CASE("a cancelled context ends reading and writing") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  const auto table = TableOf({{"n", arrow::int64()}}, "[[1], [2]]");
  CHECK_OK(WriteTable({}, *table, path));
  std::stop_source source;
  const Context context = Context().WithStop(source.get_token());
  const auto reader = ValueOf(TableReader::Open(context, path, {.batch_rows = 1}));
  CHECK(ValueOf(reader->Next())->num_rows() == 1);
  source.request_stop();
  CHECK_ERROR(reader->Next(), ErrorKind::kCancelled, "");
  CHECK_ERROR(ReadTable(context, path), ErrorKind::kCancelled, "");
  CHECK_ERROR(WriteTable(context, *table, folder.path() + "/u.parquet"), ErrorKind::kCancelled, "");
}

}  // namespace gnomon::table
