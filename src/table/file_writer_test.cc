#include <filesystem>

#include <arrow/array.h>
#include <arrow/extension/uuid.h>
#include <arrow/io/file.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "table/column.h"
#include "table/file.h"
#include "table/file_internal.h"
#include "table/file_samples.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::table {

using gnomon::test::Column;
using gnomon::test::MakeTemporaryFolder;
using gnomon::test::RequireOk;
using gnomon::test::TableOf;
using test::AllTypes;
using test::Random;
using test::RandomTable;
using test::ValueOf;

namespace {

std::shared_ptr<arrow::Array> ArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                      const std::string& rows) {
  return TableOf({{"values", type}}, rows)->column(0)->chunk(0);
}

}  // namespace

TEST_CASE("a file appears only when it is committed") {
  const auto folder = MakeTemporaryFolder();
  const auto batch = ValueOf(SingleBatch(*TableOf({{"n", arrow::int64()}}, "[[1]]")));
  for (const std::string suffix : {"parquet", "arrow", "csv", "json"}) {
    const std::string path = folder.path() + "/t." + suffix;
    {
      const auto writer = ValueOf(TableWriter::Open({}, path, batch->schema()));
      CHECK_OK(writer->Write(*batch));
      CHECK(!std::filesystem::exists(path));
    }
    CHECK(std::filesystem::is_empty(folder.path()));
    const auto writer = ValueOf(TableWriter::Open({}, path, batch->schema()));
    CHECK_OK(writer->Write(*batch));
    CHECK_OK(writer->Commit());
    CHECK(ValueOf(ReadTable({}, path))->num_rows() == 1);
    std::filesystem::remove(path);
  }
}

TEST_CASE("an IPC file has nothing of the rows that its rows were a part of") {
  const auto folder = MakeTemporaryFolder();
  const std::vector<Column> columns = {
      {"n", arrow::int64()},
      {"b", arrow::boolean()},
      {"s", arrow::utf8()},
      {"l", arrow::list(arrow::int32())},
      {"o", arrow::struct_({arrow::field("x", arrow::float64())})}};
  const auto whole =
      TableOf(columns, R"([[1, true, "a", [1], [1.5]], [2, null, "b", [2, null], [null]],
                   [null, false, null, null, null], [4, true, "d", [], [4.5]]])");
  const auto part = TableOf(columns, R"([[2, null, "b", [2, null], [null]],
                                         [null, false, null, null, null]])");
  const auto bytes_of = [&](const arrow::Table& table) {
    const std::string path = folder.path() + "/t.arrow";
    RequireOk(WriteTable({}, table, path, {.compression = "none"}));
    return ValueOf(ReadFile(path));
  };
  CHECK(bytes_of(*whole->Slice(1, 2)) == bytes_of(*part));
  // Nor what lies under a null.
  const auto numbers = part->column(0)->chunk(0)->data()->Copy();
  numbers->buffers[1] = arrow::Buffer::FromVector(std::vector<int64_t>{2, 77});
  const auto hidden = ValueOf(part->SetColumn(
      0, part->field(0), std::make_shared<arrow::ChunkedArray>(arrow::MakeArray(numbers))));
  CHECK(bytes_of(*hidden) == bytes_of(*part));
}

TEST_CASE("after a failed write nothing is committed") {
  const auto folder = MakeTemporaryFolder();
  const auto batch = ValueOf(SingleBatch(*TableOf({{"n", arrow::int64()}}, "[[1]]")));
  const auto other = ValueOf(SingleBatch(*TableOf({{"m", arrow::int64()}}, "[[1]]")));
  const auto writer = ValueOf(TableWriter::Open({}, folder.path() + "/t.parquet", batch->schema()));
  CHECK_ERROR(writer->Write(*other), ErrorKind::kInternal, "schema");
  CHECK_ERROR(writer->Write(*batch), ErrorKind::kInternal, "schema");
  CHECK_ERROR(writer->Commit(), ErrorKind::kInternal, "schema");
  CHECK(!std::filesystem::exists(folder.path() + "/t.parquet"));
}

TEST_CASE("a full disk is exhausted, not unavailable") {
  const auto table = TableOf({{"n", arrow::int64()}}, "[[1]]");
  const auto batch = ValueOf(SingleBatch(*table));
  const auto sink = ValueOf(arrow::io::FileOutputStream::Open("/dev/full"));
  for (const FileFormat format : {FileFormat::kParquet, FileFormat::kJson, FileFormat::kIpc}) {
    const auto writer =
        format == FileFormat::kParquet ? internal::MakeParquetWriter({}, sink, batch->schema(), {})
        : format == FileFormat::kJson  ? internal::MakeJsonWriter(sink, batch->schema())
                                       : internal::MakeIpcWriter(sink, batch->schema(), {});
    Status status = writer.status();
    if (status.ok()) status = (*writer)->Write(*batch);
    if (status.ok()) status = (*writer)->Finish();
    CHECK_ERROR(internal::FileError(status, "t", ErrorKind::kUnavailable), ErrorKind::kExhausted,
                "t");
  }
}

TEST_CASE("what a format cannot hold is unsupported and names the column or the type") {
  const auto folder = MakeTemporaryFolder();
  const auto lists = TableOf({{"l", arrow::list(arrow::int8())}}, "[[[1]]]");
  CHECK_ERROR(WriteTable({}, *lists, folder.path() + "/t.csv"), ErrorKind::kUnsupported, "'l'");
  const auto nan = TableOf({{"x", arrow::float64()}}, "[[NaN]]");
  CHECK_ERROR(WriteTable({}, *nan, folder.path() + "/t.json"), ErrorKind::kUnsupported, "nan");
  CHECK_ERROR(WriteTable({}, *nan, folder.path() + "/t.parquet", {.compression = "zip"}),
              ErrorKind::kUser, "'zip'");
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a Parquet file has the same bytes for all batch sizes, threads and memory budgets") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  for (uint64_t seed = 0; seed < 12; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    // Columns of lists are in some of the tables only: they are written in another way.
    std::vector<std::shared_ptr<arrow::DataType>> types = AllTypes();
    if (seed % 3 != 0)
      std::erase_if(types, [](const auto& type) { return type->num_fields() > 0; });
    const auto table = RandomTable(types, random.Int(1, 3000), &random);
    const int64_t group = random.Int(1, 4000);
    CHECK_OK(WriteTable({}, *table, path, {.row_group_rows = group}));
    CHECK_TABLE_EQ(ReadTable({}, path), table);
    const std::string expected = ValueOf(ReadFile(path));
    for (const int threads : {1, 3}) {
      SetNumThreads(threads);
      MemoryBudget budget("test", random.Chance(0.5) ? 1 : 0);
      Context context;
      context.memory = &budget;
      const auto writer =
          ValueOf(TableWriter::Open(context, path, table->schema(), {.row_group_rows = group}));
      arrow::TableBatchReader batches(*table);
      batches.set_chunksize(random.Int(1, 2000));
      while (const auto batch = ValueOf(batches.Next())) CHECK_OK(writer->Write(*batch));
      CHECK_OK(writer->Commit());
      CHECK(ValueOf(ReadFile(path)) == expected);
      CHECK(budget.used() == 0);
    }
  }
  SetNumThreads(0);
}

TEST_CASE("a null in a column that may have none is an error that names it") {
  const auto folder = MakeTemporaryFolder();
  const auto values = TableOf({{"n", arrow::int64()}}, "[[1], [null]]");
  const auto table = arrow::Table::Make(
      arrow::schema({arrow::field("n", arrow::int64(), false), arrow::field("m", arrow::int64())}),
      {values->column(0), values->column(0)});
  CHECK(WriteTable({}, *table, folder.path() + "/t.parquet").message().find("'n'") !=
        std::string::npos);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a column of an extension type is written to Parquet as what it is stored as") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  const auto stored = TableOf({{"id", arrow::fixed_size_binary(16)}, {"n", arrow::int64()}},
                              R"([["0123456789abcdef", 1], [null, 2], ["fedcba9876543210", 3]])");
  const auto ids = arrow::ExtensionType::WrapArray(arrow::extension::uuid(), stored->column(0));
  const auto table = arrow::Table::Make(
      arrow::schema({arrow::field("id", arrow::extension::uuid()), stored->field(1)}),
      {ids, stored->column(1)});
  for (const int threads : {1, 2}) {
    SetNumThreads(threads);
    CHECK_OK(WriteTable({}, *table, path));
    CHECK_TABLE_EQ(ReadTable({}, path), table);
  }
  SetNumThreads(0);
}

TEST_CASE("a null of a dictionary is a null in Parquet") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  const auto type = arrow::dictionary(arrow::int8(), arrow::utf8());
  const auto encoded = [&](const std::string& indices, const std::string& values) {
    return ValueOf(arrow::DictionaryArray::FromArrays(type, ArrayOf(arrow::int8(), indices),
                                                      ArrayOf(arrow::utf8(), values)));
  };
  // A dictionary without nulls, too, which Arrow would write as it is.
  const auto column = std::make_shared<arrow::ChunkedArray>(
      arrow::ArrayVector{encoded("[[0], [1], [null]]", R"([["a"], ["b"]])"),
                         encoded("[[1], [0], [2], [null]]", R"([["c"], [null], ["a"]])")});
  const auto table = arrow::Table::Make(arrow::schema({arrow::field("word", type)}), {column});
  CHECK_OK(WriteTable({}, *table, path));
  const auto read = ValueOf(ReadTable({}, path));
  CHECK(read->schema()->Equals(*table->schema()));
  const auto words = ValueOf(CastLossless(ValueOf(SingleChunk(*read->column(0))), arrow::utf8()));
  CHECK(words->Equals(
      *ArrayOf(arrow::utf8(), R"([["a"], ["b"], [null], [null], ["c"], ["a"], [null]])")));
}

TEST_CASE("an empty table keeps its schema") {
  const auto folder = MakeTemporaryFolder();
  Random random(1);
  const auto table = RandomTable(AllTypes(), 0, &random);
  for (const std::string suffix : {"parquet", "arrow"}) {
    const std::string path = folder.path() + "/t." + suffix;
    CHECK_OK(WriteTable({}, *table, path));
    CHECK_TABLE_EQ(ReadTable({}, path), table);
    CHECK(ValueOf(ReadSchema({}, path))->Equals(*table->schema()));
    CHECK(ValueOf(ValueOf(TableReader::Open({}, path))->Next()) == nullptr);
  }
}

}  // namespace gnomon::table
