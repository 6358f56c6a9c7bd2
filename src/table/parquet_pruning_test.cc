#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/io/file.h>
#include <arrow/table.h>
#include <doctest/doctest.h>
#include <parquet/arrow/writer.h>
#include <parquet/properties.h>

#include "table/column.h"
#include "table/file.h"
#include "table/file_samples.h"
#include "table/partitioned_table.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::table {

using gnomon::test::MakeTemporaryFolder;
using test::Random;
using test::ValueOf;

namespace {

constexpr int64_t kGreatest = 1000;

/// What a row's columns are made of; nothing: null.
using Numbers = std::vector<std::optional<int64_t>>;

/// Values that grow with the row, so that pages differ, or that do not.
Numbers RandomNumbers(Random* random, int64_t rows) {
  const bool grows = random->Chance(0.7);
  const double nulls = random->Chance(0.5) ? 0 : random->Chance(0.2) ? 0.97 : 0.2;
  Numbers numbers;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t number =
        grows ? i * kGreatest / rows + random->Int(-9, 9) : random->Int(0, kGreatest);
    numbers.push_back(random->Chance(nulls) ? std::nullopt : std::optional<int64_t>(number));
  }
  return numbers;
}

std::string TextOf(int64_t number) {
  std::string digits = std::to_string(number + 2000);
  return "customer " + digits + std::string(static_cast<size_t>(number & 31), 'x');
}

template <typename Builder, typename ValueOfNumber>
std::shared_ptr<arrow::Array> ArrayOf(Builder&& builder, const Numbers& numbers,
                                      ValueOfNumber&& value_of) {
  for (const auto& number : numbers) {
    REQUIRE((number ? builder.Append(value_of(*number)) : builder.AppendNull()).ok());
  }
  return ValueOf(builder.Finish());
}

struct Sample {
  std::shared_ptr<arrow::Table> table;  ///< row, time, number, ratio, text, list
  std::map<std::string, Numbers> numbers;
};

Sample RandomSample(Random* random) {
  const int64_t rows = random->Chance(0.05) ? 0 : random->Int(1, 900);
  Sample sample;
  for (const char* name : {"time", "number", "ratio", "text"})
    sample.numbers[name] = RandomNumbers(random, rows);
  arrow::Int64Builder row_numbers;
  for (int64_t i = 0; i < rows; ++i) REQUIRE(row_numbers.Append(i).ok());
  const auto rows_array = ValueOf(row_numbers.Finish());
  const auto unit = random->Chance(0.5) ? arrow::TimeUnit::MICRO : arrow::TimeUnit::NANO;
  const int64_t scale = unit == arrow::TimeUnit::MICRO ? 1 : 1000;
  arrow::ListBuilder lists(arrow::default_memory_pool(), std::make_shared<arrow::Int64Builder>());
  for (int64_t i = 0; i < rows; ++i) {
    REQUIRE(lists.Append().ok());
    for (int64_t k = i % 3; k > 0; --k)
      REQUIRE(static_cast<arrow::Int64Builder*>(lists.value_builder())->Append(i).ok());
  }
  sample.table = arrow::Table::Make(
      arrow::schema({arrow::field("row", arrow::int64(), random->Chance(0.5)),
                     arrow::field("time", arrow::timestamp(unit)),
                     arrow::field("number", arrow::int32()),
                     arrow::field("ratio", arrow::float64()), arrow::field("text", arrow::utf8()),
                     arrow::field("list", arrow::list(arrow::int64()))}),
      {rows_array,
       ArrayOf(arrow::TimestampBuilder(arrow::timestamp(unit), arrow::default_memory_pool()),
               sample.numbers["time"], [&](int64_t number) { return number * scale; }),
       ArrayOf(arrow::Int32Builder(), sample.numbers["number"],
               [](int64_t number) { return static_cast<int32_t>(number); }),
       // Every seventh is not a number, which is in no range and in no statistics.
       ArrayOf(arrow::DoubleBuilder(), sample.numbers["ratio"],
               [](int64_t number) {
                 return number % 7 == 0 ? std::nan("") : static_cast<double>(number);
               }),
       ArrayOf(arrow::StringBuilder(), sample.numbers["text"], TextOf), ValueOf(lists.Finish())});
  return sample;
}

void WriteSmallPages(const arrow::Table& table, const std::string& path, Random* random) {
  parquet::WriterProperties::Builder properties;
  properties.data_pagesize(random->Int(1, 2000))
      ->write_batch_size(random->Int(1, 50))
      ->dictionary_pagesize_limit(random->Int(1, 500))
      ->max_statistics_size(random->Chance(0.3) ? 12 : 4096)
      ->compression(random->Chance(0.5) ? parquet::Compression::SNAPPY
                                        : parquet::Compression::UNCOMPRESSED)
      ->data_page_version(random->Chance(0.5) ? parquet::ParquetDataPageVersion::V1
                                              : parquet::ParquetDataPageVersion::V2);
  if (random->Chance(0.4)) properties.disable_dictionary();
  if (random->Chance(0.5)) properties.disable_write_page_index();
  const auto arrow_properties = parquet::ArrowWriterProperties::Builder().store_schema()->build();
  const auto file = ValueOf(arrow::io::FileOutputStream::Open(path));
  CHECK_OK(parquet::arrow::WriteTable(table, arrow::default_memory_pool(), file,
                                      random->Int(1, 400), properties.build(), arrow_properties));
  CHECK_OK(file->Close());
}

/// Can a value between the two, in the column's type, stand for a number in the range?
bool Overlaps(const arrow::Array& ends, int64_t least, int64_t greatest) {
  if (ends.type_id() == arrow::Type::STRING) {
    const auto& texts = static_cast<const arrow::StringArray&>(ends);
    return texts.GetView(1) >= TextOf(least).substr(0, 13) &&
           texts.GetView(0) <= TextOf(greatest).substr(0, 13) + "~";
  }
  if (ends.type_id() == arrow::Type::DOUBLE) {
    const auto& values = static_cast<const arrow::DoubleArray&>(ends);
    return values.Value(1) >= static_cast<double>(least) &&
           values.Value(0) <= static_cast<double>(greatest);
  }
  const auto& values = static_cast<const arrow::Int32Array&>(ends);
  return values.Value(1) >= least && values.Value(0) <= greatest;
}

struct Wanted {
  std::string column;
  int64_t least;
  int64_t greatest;
};

/// A range of the time, or of another column, or both.
std::vector<Wanted> RandomWishes(Random* random) {
  std::vector<Wanted> wishes;
  for (const char* column : {"time", "number", "ratio", "text"}) {
    if (!random->Chance(0.4)) continue;
    const int64_t least = random->Int(-50, kGreatest);
    wishes.push_back({column, least, least + random->Int(0, 300)});
  }
  return wishes;
}

ReadOptions OptionsOf(const std::vector<Wanted>& wishes) {
  ReadOptions options;
  for (const Wanted& wanted : wishes) {
    if (wanted.column == "time") {
      options.time_column = "time";
      options.time_range = TimeRange{wanted.least, wanted.greatest};
      continue;
    }
    options.row_group_probes.push_back(
        {wanted.column, [wanted](const std::shared_ptr<arrow::Array>& ends) -> Result<bool> {
           return Overlaps(*ends, wanted.least, wanted.greatest);
         }});
  }
  return options;
}

bool IsWanted(const Sample& sample, const std::vector<Wanted>& wishes, int64_t row) {
  for (const Wanted& wanted : wishes) {
    const auto number = sample.numbers.at(wanted.column)[static_cast<size_t>(row)];
    if (!number || *number < wanted.least || *number > wanted.greatest) return false;
    if (wanted.column == "ratio" && *number % 7 == 0) return false;
  }
  return true;
}

/// The rows that were read are rows of the sample, in order, and all wanted ones are among them.
void CheckRead(const Sample& sample, const std::vector<Wanted>& wishes, const arrow::Table& read) {
  const auto numbers = ValueOf(SingleChunk(*read.GetColumnByName("row")));
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < numbers->length(); ++i)
    rows.push_back(static_cast<const arrow::Int64Array&>(*numbers).Value(i));
  REQUIRE(std::ranges::is_sorted(rows));
  for (int64_t row = 0; row < sample.table->num_rows(); ++row) {
    if (!IsWanted(sample, wishes, row)) continue;
    CAPTURE(row);
    REQUIRE(std::ranges::binary_search(rows, row));
  }
  std::vector<std::shared_ptr<arrow::ChunkedArray>> expected;
  for (const auto& name : read.schema()->field_names()) {
    expected.push_back(std::make_shared<arrow::ChunkedArray>(
        ValueOf(Gather(*sample.table->GetColumnByName(name), rows))));
  }
  const auto table = arrow::Table::Make(read.schema(), expected);
  REQUIRE(ValueOf(SingleBatch(read))
              ->Equals(*ValueOf(SingleBatch(*table)), false,
                       arrow::EqualOptions::Defaults().nans_equal(true)));
}

std::shared_ptr<arrow::Table> ReadAll(TableReader* reader) {
  arrow::RecordBatchVector batches;
  while (auto batch = ValueOf(reader->Next())) batches.push_back(std::move(batch));
  return ValueOf(arrow::Table::FromRecordBatches(reader->schema(), batches));
}

}  // namespace

TEST_CASE("reading without the pages that statistics refuse loses no wanted row and mixes none") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  int64_t pruned = 0;
  int64_t pages = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const Sample sample = RandomSample(&random);
    WriteSmallPages(*sample.table, path, &random);
    for (int run = 0; run < 4; ++run) {
      const std::vector<Wanted> wishes = RandomWishes(&random);
      ReadOptions options = OptionsOf(wishes);
      options.batch_rows = random.Int(1, 300);
      if (random.Chance(0.5)) options.columns = {"text", "row", "ratio"};
      const auto reader = ValueOf(TableReader::Open({}, path, options));
      const auto read = ReadAll(reader.get());
      CheckRead(sample, wishes, *read);
      const auto whole = ValueOf(ReadTable({}, path, options));
      REQUIRE(ValueOf(SingleBatch(*whole))
                  ->Equals(*ValueOf(SingleBatch(*read)), false,
                           arrow::EqualOptions::Defaults().nans_equal(true)));
      CHECK(reader->stats().pages_pruned <= reader->stats().pages);
      pruned += reader->stats().pages_pruned;
      pages += reader->stats().pages;
    }
  }
  CHECK(pruned > 1000);
  CHECK(pruned < pages);
}

TEST_CASE("a partition that is scanned for a range of times says where its batches stand") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  int64_t pruned = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const Sample sample = RandomSample(&random);
    WriteSmallPages(*sample.table, path, &random);
    const auto table = ValueOf(PartitionedTable::Open({}, path));
    const auto named = PartitionedTable::Renamed(table, "other", table->schema());
    const int64_t least = random.Int(0, kGreatest);
    const Wanted wanted{"time", least, least + random.Int(0, 100)};
    arrow::RecordBatchVector batches;
    int64_t begin = 0;
    for (int64_t partition = 0; partition < named->num_partitions(); ++partition) {
      const auto stream = ValueOf(named->ScanTimes({}, partition, {0, 4}, random.Int(1, 99), 1,
                                                   {wanted.least, wanted.greatest}));
      while (auto batch = ValueOf(stream->Next())) {
        const auto& rows = static_cast<const arrow::Int64Array&>(*batch->column(0));
        for (int64_t i = 0; i < batch->num_rows(); ++i)
          REQUIRE(rows.Value(i) == begin + stream->first_row() + i);
        batches.push_back(std::move(batch));
      }
      pruned += stream->pages().pruned;
      begin += named->num_rows(partition);
    }
    const auto schema = arrow::schema({table->schema()->field(0), table->schema()->field(4)});
    CheckRead(sample, {wanted}, *ValueOf(arrow::Table::FromRecordBatches(schema, batches)));
  }
  CHECK(pruned > 100);
}

TEST_CASE("statistics that are no number say nothing about the numbers") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  const auto table = gnomon::test::TableOf({{"x", arrow::float64()}}, "[[1.5], [2.5]]");
  CHECK_OK(WriteTable({}, *table, path, {.compression = "none", .choose_encodings = false}));
  // Some writers do as the format forbids: the least and the greatest value is NaN.
  std::string bytes = ValueOf(ReadFile(path));
  const auto text_of = [](double value) {
    std::string text(sizeof(value), '\0');
    std::memcpy(text.data(), &value, sizeof(value));
    return text;
  };
  const size_t data = bytes.find(text_of(1.5) + text_of(2.5));
  REQUIRE(data != std::string::npos);
  int replaced = 0;
  for (const double value : {1.5, 2.5}) {
    for (size_t at = bytes.find(text_of(value), data + 16); at != std::string::npos;
         at = bytes.find(text_of(value), at + 1), ++replaced) {
      bytes.replace(at, 8, text_of(std::nan("")));
    }
  }
  REQUIRE(replaced > 0);
  test::WriteText(path, bytes);
  ReadOptions options;
  options.row_group_probes.push_back(
      {"x", [](const std::shared_ptr<arrow::Array>& ends) -> Result<bool> {
         const auto& values = static_cast<const arrow::DoubleArray&>(*ends);
         return values.Value(0) <= 2 || values.Value(1) <= 2;
       }});
  CHECK_TABLE_EQ(ReadTable({}, path, options), table);
}

TEST_CASE("damage to pages, their headers or the page index never crashes a pruned scan") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  for (uint64_t seed = 0; seed < 100; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const Sample sample = RandomSample(&random);
    WriteSmallPages(*sample.table, path, &random);
    std::string bytes = ValueOf(ReadFile(path));
    for (int64_t i = random.Int(1, 4); i > 0; --i) {
      bytes[static_cast<size_t>(random.Int(0, static_cast<int64_t>(bytes.size()) - 1))] =
          static_cast<char>(random.Int(0, 255));
    }
    test::WriteText(path, bytes);
    const auto read = ReadTable({}, path, OptionsOf({{"number", 300, 400}, {"time", 0, 500}}));
    if (read.ok()) CHECK_OK((*read)->Validate());
    if (!read.ok()) CHECK(read.status().message().find(path) != std::string::npos);
  }
}

}  // namespace gnomon::table
