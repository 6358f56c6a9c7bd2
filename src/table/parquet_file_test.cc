#include <filesystem>

#include <arrow/io/file.h>
#include <arrow/table.h>
#include <doctest/doctest.h>
#include <parquet/arrow/writer.h>

#include "table/column.h"
#include "table/file.h"
#include "table/file_part.h"
#include "table/file_samples.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::table {

using gnomon::test::MakeTemporaryFolder;
using test::Drain;
using test::Random;
using test::RandomTable;
using test::ValueOf;
using test::WriteText;

namespace {

std::shared_ptr<arrow::Table> TimesTable(const std::shared_ptr<arrow::DataType>& type,
                                         int64_t first, int64_t rows) {
  arrow::Int64Builder numbers;
  for (int64_t i = 0; i < rows; ++i) REQUIRE(numbers.Append(first + i).ok());
  const auto number_array = ValueOf(numbers.Finish());
  std::shared_ptr<arrow::Array> times;
  if (type->id() == arrow::Type::DATE32) {
    times = ValueOf(ValueOf(CastLossless(number_array, arrow::int32()))->View(type));
  } else {
    times = ValueOf(number_array->View(type));
  }
  return arrow::Table::Make(
      arrow::schema({arrow::field("ts", type), arrow::field("n", arrow::int64())}),
      {times, number_array});
}

}  // namespace

TEST_CASE("no damage to a Parquet or IPC file crashes the reader") {
  const auto folder = MakeTemporaryFolder();
  for (uint64_t seed = 0; seed < 120; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const std::string path = folder.path() + (seed % 2 == 0 ? "/t.parquet" : "/t.arrow");
    const auto table =
        RandomTable({arrow::int64(), arrow::utf8(), arrow::list(arrow::int8())}, 100, &random);
    CHECK_OK(WriteTable({}, *table, path));
    std::string bytes = ValueOf(ReadFile(path));
    for (int64_t i = random.Int(1, 4); i > 0; --i) {
      bytes[static_cast<size_t>(random.Int(0, static_cast<int64_t>(bytes.size()) - 1))] =
          static_cast<char>(random.Int(0, 255));
    }
    WriteText(path, bytes);
    const auto read = ReadTable({}, path);
    if (!read.ok())
      CHECK_MESSAGE(read.status().message().find(path) != std::string::npos,
                    read.status().ToString());
    if (read.ok()) CHECK_OK((*read)->Validate());
  }
}

TEST_CASE("pruning by statistics never loses a row in the range") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  const std::vector<std::shared_ptr<arrow::DataType>> types = {
      arrow::date32(), arrow::timestamp(arrow::TimeUnit::SECOND),
      arrow::timestamp(arrow::TimeUnit::MILLI, "UTC"), arrow::timestamp(arrow::TimeUnit::MICRO),
      arrow::timestamp(arrow::TimeUnit::NANO, "Asia/Tokyo")};
  int64_t pruned = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const auto& type = types[seed % types.size()];
    const auto table = TimesTable(type, random.Int(-500, 0), 500);
    CHECK_OK(WriteTable({}, *table, path, {.row_group_rows = 50}));
    const auto micros = ValueOf(TimesAsMicros(*table->column(0)->chunk(0)));
    TimeRange range{micros[static_cast<size_t>(random.Int(0, 499))] + random.Int(-1, 1),
                    micros[static_cast<size_t>(random.Int(0, 499))] + random.Int(-1, 1)};
    if (seed % 7 == 0) range.min = std::numeric_limits<int64_t>::min();
    if (seed % 7 == 1) range.max = std::numeric_limits<int64_t>::max();
    const ReadOptions options{.columns = {"n"}, .time_column = "ts", .time_range = range};
    const auto reader = ValueOf(TableReader::Open({}, path, options));
    const auto streamed = Drain(reader.get(), options.batch_rows);
    CHECK_TABLE_EQ(ReadTable({}, path, options), streamed);
    CHECK(reader->stats().row_groups == 10);
    pruned += reader->stats().row_groups_pruned;
    std::vector<bool> seen(500);
    const int64_t first =
        std::static_pointer_cast<arrow::Int64Array>(table->column(1)->chunk(0))->Value(0);
    for (const auto& chunk : streamed->column(0)->chunks()) {
      for (const auto n : *std::static_pointer_cast<arrow::Int64Array>(chunk))
        seen[static_cast<size_t>(*n - first)] = true;
    }
    for (size_t row = 0; row < 500; ++row) {
      if (micros[row] >= range.min && micros[row] <= range.max) CHECK(seen[row]);
    }
  }
  CHECK(pruned > 40);
}

TEST_CASE("without statistics nothing is pruned") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  const auto table = TimesTable(arrow::timestamp(arrow::TimeUnit::MICRO), 0, 100);
  {
    const auto sink = ValueOf(arrow::io::FileOutputStream::Open(path));
    const auto properties = parquet::WriterProperties::Builder().disable_statistics()->build();
    CHECK_OK(
        parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), sink, 10, properties));
    CHECK_OK(sink->Close());
  }
  const auto reader = ValueOf(
      TableReader::Open({}, path, {.time_column = "ts", .time_range = TimeRange{1000, 2000}}));
  CHECK(Drain(reader.get(), 64 * 1024)->num_rows() == 100);
  CHECK(reader->stats().row_groups_pruned == 0);
  CHECK_ERROR(TableReader::Open({}, path, {.time_column = "tz"}), ErrorKind::kNotFound, "tz");
}

TEST_CASE("times of 96 bits hold years that nanoseconds do not") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  const auto write = [&](const arrow::Table& table, bool store_schema) {
    const auto sink = ValueOf(arrow::io::FileOutputStream::Open(path));
    parquet::ArrowWriterProperties::Builder properties;
    properties.enable_deprecated_int96_timestamps();
    if (store_schema) properties.store_schema();
    CHECK_OK(parquet::arrow::WriteTable(table, arrow::default_memory_pool(), sink, 10,
                                        parquet::default_writer_properties(), properties.build()));
    CHECK_OK(sink->Close());
  };
  constexpr int64_t kYear9999 = 253'402'300'799'000'000;
  const auto far = TimesTable(arrow::timestamp(arrow::TimeUnit::MICRO), kYear9999, 30);
  write(*far, false);
  CHECK_TABLE_EQ(ReadTable({}, path), far);
  const auto reader = ValueOf(TableReader::Open(
      {}, path,
      {.time_column = "ts", .time_range = TimeRange{kYear9999, kYear9999}, .batch_rows = 7}));
  CHECK_TABLE_EQ(Drain(reader.get(), 7), far);
  // Whoever writes nanoseconds says so.
  const auto fine = TimesTable(arrow::timestamp(arrow::TimeUnit::NANO), 123, 30);
  write(*fine, true);
  CHECK_TABLE_EQ(ReadTable({}, path), fine);
}

TEST_CASE("dictionary encoding is left out where it cannot shrink a column") {
  const auto folder = MakeTemporaryFolder();
  Random random(5);
  arrow::Int64Builder many;
  arrow::Int64Builder few;
  for (int i = 0; i < 50'000; ++i) {
    REQUIRE(many.Append(static_cast<int64_t>(random.Bits())).ok());
    REQUIRE(few.Append(random.Int(0, 100)).ok());
  }
  const auto schema =
      arrow::schema({arrow::field("many", arrow::int64()), arrow::field("few", arrow::int64())});
  const auto table = arrow::Table::Make(schema, {ValueOf(many.Finish()), ValueOf(few.Finish())});
  const auto size = [&](bool choose) {
    const std::string path = folder.path() + "/t.parquet";
    CHECK_OK(WriteTable({}, *table, path, {.compression = "none", .choose_encodings = choose}));
    CHECK_TABLE_EQ(ReadTable({}, path), table);
    return std::filesystem::file_size(path);
  };
  CHECK(size(true) < 50'000 * 8 + 50'000 + 8'000);
  CHECK(size(true) < size(false));
}

TEST_CASE("dictionary columns come back as dictionaries") {
  const auto folder = MakeTemporaryFolder();
  const auto type = arrow::dictionary(arrow::int32(), arrow::utf8());
  const auto column =
      ValueOf(arrow::json::DictArrayFromJSONString(type, "[0, 1, null, 1, 0]", R"(["x", "y"])"));
  const auto table = arrow::Table::Make(arrow::schema({arrow::field("d", type)}), {column});
  for (const std::string suffix : {"parquet", "arrow"}) {
    const std::string path = folder.path() + "/d." + suffix;
    CHECK_OK(WriteTable({}, *table, path));
    CHECK_TABLE_EQ(ReadTable({}, path), table);
  }
}

TEST_CASE("the parts of a file are its row groups, each in one of them, in order") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/parts.parquet";
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < 100; ++i) REQUIRE(builder.Append(i * i).ok());
  const auto rows = arrow::Table::Make(arrow::schema({arrow::field("v", arrow::int64())}),
                                       {ValueOf(builder.Finish())});
  CHECK_OK(WriteTable({}, *rows, path, {.row_group_rows = 7}));
  for (const int32_t count : {1, 2, 3, 5, 15, 100}) {
    CAPTURE(count);
    arrow::RecordBatchVector batches;
    int64_t row_groups = 0;
    for (int32_t index = 0; index < count; ++index) {
      const auto reader = ValueOf(OpenFilePart({}, path, {.index = index, .count = count}));
      while (auto batch = ValueOf(reader->Next())) batches.push_back(std::move(batch));
      row_groups += reader->stats().row_groups;
      if (count == 5) CHECK(reader->stats().row_groups == 3);
    }
    CHECK(row_groups == 15);
    CHECK_TABLE_EQ(arrow::Table::FromRecordBatches(rows->schema(), batches), rows);
  }
  const std::string text = folder.path() + "/rows.csv";
  CHECK_OK(WriteTable({}, *rows, text));
  CHECK_ERROR(OpenFilePart({}, text, {.index = 1, .count = 2}), ErrorKind::kUser, "in parts");
}

}  // namespace gnomon::table
