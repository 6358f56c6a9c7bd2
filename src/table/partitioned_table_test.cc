#include "table/partitioned_table.h"

#include <filesystem>

#include <arrow/array/concatenate.h>
#include <arrow/io/file.h>
#include <arrow/table.h>
#include <doctest/doctest.h>
#include <parquet/arrow/writer.h>
#include <parquet/properties.h>

#include "base/files.h"
#include "table/column.h"
#include "table/file_samples.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::table {

using gnomon::test::MakeTemporaryFolder;
using test::AllTypes;
using test::Random;
using test::RandomTable;
using test::ValueOf;
using test::WriteText;

namespace {

/// Ascending rows, some of them twice.
std::vector<int64_t> RandomRows(int64_t num_rows, double share, Random* random) {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < num_rows; ++row) {
    if (!random->Chance(share)) continue;
    rows.push_back(row);
    if (random->Chance(0.1)) rows.push_back(row);
  }
  return rows;
}

/// Everything that Arrow's writer can do to the pages of a column.
void WriteWithRandomPages(const arrow::Table& table, const std::string& path, Random* random) {
  parquet::WriterProperties::Builder properties;
  properties.max_row_group_length(random->Int(50, 3000))->data_pagesize(random->Int(64, 20000));
  properties.write_batch_size(random->Int(1, 500));
  properties.data_page_version(random->Chance(0.5) ? parquet::ParquetDataPageVersion::V1
                                                   : parquet::ParquetDataPageVersion::V2);
  properties.compression(random->Chance(0.5) ? parquet::Compression::SNAPPY
                                             : parquet::Compression::UNCOMPRESSED);
  if (random->Chance(0.5)) {
    properties.dictionary_pagesize_limit(random->Chance(0.5) ? 500 : 1 << 20);
  } else {
    properties.disable_dictionary();
    for (const auto& field : table.schema()->fields()) {
      const auto id = field->type()->id();
      const bool whole = id == arrow::Type::INT32 || id == arrow::Type::INT64 ||
                         id == arrow::Type::UINT64 || id == arrow::Type::DATE32;
      if (whole && random->Chance(0.5))
        properties.encoding(field->name(), parquet::Encoding::DELTA_BINARY_PACKED);
      const bool real = id == arrow::Type::FLOAT || id == arrow::Type::DOUBLE;
      if (real && random->Chance(0.5))
        properties.encoding(field->name(), parquet::Encoding::BYTE_STREAM_SPLIT);
    }
  }
  const auto sink = ValueOf(arrow::io::FileOutputStream::Open(path));
  CHECK_OK(parquet::arrow::WriteTable(
      table, arrow::default_memory_pool(), sink, random->Int(50, 3000), properties.build(),
      parquet::ArrowWriterProperties::Builder().store_schema()->build()));
  CHECK_OK(sink->Close());
}

std::vector<int> AllColumns(const PartitionedTable& table) {
  std::vector<int> columns;
  for (int i = 0; i < table.schema()->num_fields(); ++i) columns.push_back(i);
  return columns;
}

/// The whole table, scanned partition by partition.
std::shared_ptr<arrow::Table> ScanAll(const PartitionedTable& table, int64_t batch_rows) {
  arrow::RecordBatchVector batches;
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    int64_t rows = 0;
    const auto stream = ValueOf(table.Scan({}, partition, AllColumns(table), batch_rows));
    while (const auto batch = ValueOf(stream->Next())) {
      rows += batch->num_rows();
      batches.push_back(batch);
    }
    if (table.num_rows(partition) >= 0) CHECK(rows == table.num_rows(partition));
  }
  return ValueOf(arrow::Table::FromRecordBatches(table.schema(), batches));
}

/// Gathers the rows of each partition, one column at a time where that is allowed.
std::shared_ptr<arrow::Table> GatherAll(const PartitionedTable& table,
                                        const std::vector<std::vector<int64_t>>& rows) {
  std::vector<arrow::ArrayVector> chunks(static_cast<size_t>(table.schema()->num_fields()));
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    const auto& wanted = rows[static_cast<size_t>(partition)];
    for (const int column : AllColumns(table)) {
      const auto values = ValueOf(table.Gather({}, partition, {column}, wanted));
      CHECK_OK(values[0]->ValidateFull());
      chunks[static_cast<size_t>(column)].push_back(values[0]);
    }
  }
  arrow::ChunkedArrayVector columns;
  for (size_t i = 0; i < chunks.size(); ++i) {
    columns.push_back(std::make_shared<arrow::ChunkedArray>(
        chunks[i], table.schema()->field(static_cast<int>(i))->type()));
  }
  return arrow::Table::Make(table.schema(), columns);
}

/// Scans and gathers give what reading the whole table gives.
void CheckAgainst(const arrow::Table& whole, const PartitionedTable& table, Random* random) {
  CHECK_TABLE_EQ(ScanAll(table, random->Int(1, 4000)), whole.Slice(0));
  std::vector<std::vector<int64_t>> rows;
  std::vector<int64_t> all;
  int64_t first = 0;
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    const int64_t count =
        table.num_rows(partition) >= 0 ? table.num_rows(partition) : whole.num_rows() - first;
    rows.push_back(RandomRows(count, random->Chance(0.3) ? 0.01 : 0.4, random));
    for (const int64_t row : rows.back()) all.push_back(first + row);
    first += count;
  }
  arrow::ChunkedArrayVector columns;
  for (const auto& column : whole.columns())
    columns.push_back(std::make_shared<arrow::ChunkedArray>(ValueOf(Gather(*column, all))));
  CHECK_TABLE_EQ(GatherAll(table, rows),
                 arrow::Table::Make(whole.schema(), columns, static_cast<int64_t>(all.size())));
}

}  // namespace

TEST_CASE("readers of a shared table that begin together get their own columns of one reading") {
  Random random(9);
  const auto rows = RandomTable(AllTypes(), 500, &random);
  const auto shared = PartitionedTable::Shared(PartitionedTable::Of(rows, "rows"));
  const std::vector<std::vector<int>> wanted = {{2, 0}, {1}, {0, 1, 2}};
  std::vector<std::unique_ptr<PartitionStream>> streams;
  std::vector<arrow::RecordBatchVector> read(wanted.size());
  for (const auto& columns : wanted) streams.push_back(ValueOf(shared->Scan({}, 0, columns, 60)));
  // At different speeds, and one of them gives up.
  for (int turn = 0; !streams.empty() && turn < 1000; ++turn) {
    const auto reader = static_cast<size_t>(random.Int(0, static_cast<int64_t>(wanted.size()) - 1));
    if (streams[reader] == nullptr) continue;
    if (reader == 1 && turn > 5) {
      streams[reader] = nullptr;
      continue;
    }
    auto batch = ValueOf(streams[reader]->Next());
    if (batch == nullptr) {
      streams[reader] = nullptr;
    } else {
      read[reader].push_back(std::move(batch));
    }
  }
  for (const size_t reader : {size_t{0}, size_t{2}}) {
    CHECK_TABLE_EQ(arrow::Table::FromRecordBatches(read[reader]),
                   ValueOf(rows->SelectColumns(wanted[reader])));
  }
  // Who comes later reads anew.
  auto late = ValueOf(shared->Scan({}, 0, {1}, 1000));
  int64_t num_rows = 0;
  while (const auto batch = ValueOf(late->Next())) num_rows += batch->num_rows();
  CHECK(num_rows == 500);
}

TEST_CASE("rows gathered from Parquet are those of the whole table, whatever pages it has") {
  const auto folder = MakeTemporaryFolder();
  for (uint64_t seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const auto table = RandomTable(AllTypes(), random.Int(1, 4000), &random);
    const std::string path = folder.path() + "/t.parquet";
    WriteWithRandomPages(*table, path, &random);
    CheckAgainst(*ValueOf(ReadTable({}, path)), *ValueOf(PartitionedTable::Open({}, path)),
                 &random);
  }
}

TEST_CASE("values that a dictionary repeats are gathered from dictionary pages") {
  const auto folder = MakeTemporaryFolder();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    arrow::DoubleBuilder builder;
    for (int i = 0; i < 3000; ++i) {
      if (random.Chance(0.1)) {
        CHECK_OK(builder.AppendNull());
      } else {
        CHECK_OK(builder.Append(static_cast<double>(random.Int(0, 40)) / 7));
      }
    }
    const auto table = arrow::Table::Make(arrow::schema({arrow::field("d", arrow::float64())}),
                                          arrow::ArrayVector{ValueOf(builder.Finish())});
    const std::string path = folder.path() + "/t.parquet";
    WriteWithRandomPages(*table, path, &random);
    CheckAgainst(*table, *ValueOf(PartitionedTable::Open({}, path)), &random);
  }
}

TEST_CASE("every format and a table in memory scan and gather alike, also over several files") {
  const auto folder = MakeTemporaryFolder();
  for (const std::string suffix : {"parquet", "arrow", "csv", "jsonl"}) {
    CAPTURE(suffix);
    Random random(7);
    const std::string path = folder.path() + "/" + suffix;
    std::filesystem::create_directories(path);
    for (const std::string file : {"a", "b"}) {
      const auto part = RandomTable({arrow::int64(), arrow::float64()}, 500, &random);
      CHECK_OK(WriteTable({}, *part, path + "/" + file + "." + suffix, {.row_group_rows = 200}));
    }
    const auto whole = ValueOf(ReadTable({}, path));
    const auto files = ValueOf(PartitionedTable::Open({}, path));
    if (suffix == "parquet") CHECK(files->num_partitions() == 6);
    // Text does not tell its rows, so both files are gathered in turn.
    if (files->num_rows(0) >= 0) CheckAgainst(*whole, *files, &random);
    CHECK_TABLE_EQ(ScanAll(*files, 100), whole);
    const auto first = ValueOf(files->Gather({}, 0, {1}, std::vector<int64_t>{0, 3, 3, 150}));
    CHECK(first[0]->Equals(ValueOf(Gather(*whole->column(1), std::vector<int64_t>{0, 3, 3, 150}))));
    CheckAgainst(*whole, *PartitionedTable::Of(whole, "memory"), &random);
  }
}

TEST_CASE("row groups outside a time range are told from those that may hold it") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  arrow::TimestampBuilder times(arrow::timestamp(arrow::TimeUnit::MICRO),
                                arrow::default_memory_pool());
  for (int i = 0; i < 300; ++i) CHECK_OK(times.Append(i));
  const auto table = arrow::Table::Make(
      arrow::schema({arrow::field("t", arrow::timestamp(arrow::TimeUnit::MICRO))}),
      arrow::ArrayVector{ValueOf(times.Finish())});
  CHECK_OK(WriteTable({}, *table, path, {.row_group_rows = 100}));
  const auto files = ValueOf(PartitionedTable::Open({}, path));
  REQUIRE(files->num_partitions() == 3);
  CHECK(files->LiesOutside(0, 0, {150, 160}));
  CHECK_FALSE(files->LiesOutside(1, 0, {150, 160}));
  CHECK(files->LiesOutside(2, 0, {150, 160}));
}

TEST_CASE("a file that is replaced between two reads is a conflict, not a mixture") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  Random random(3);
  CHECK_OK(WriteTable({}, *RandomTable({arrow::int64()}, 100, &random), path));
  const auto files = ValueOf(PartitionedTable::Open({}, path));
  CHECK_OK(files->Gather({}, 0, {0}, std::vector<int64_t>{5}).status());
  CHECK_OK(WriteTable({}, *RandomTable({arrow::int64()}, 90, &random), path));
  const auto gathered = files->Gather({}, 0, {0}, std::vector<int64_t>{5});
  REQUIRE_FALSE(gathered.ok());
  CHECK(KindOf(gathered.status()) == ErrorKind::kConflict);
  std::filesystem::remove(path);
  CHECK(KindOf(files->Scan({}, 0, {0}, 10).status()) == ErrorKind::kNotFound);
}

TEST_CASE("no damage to a Parquet file crashes a gather") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/t.parquet";
  for (uint64_t seed = 0; seed < 200; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    WriteWithRandomPages(
        *RandomTable({arrow::int64(), arrow::float64(), arrow::date32()}, 300, &random), path,
        &random);
    std::string bytes = ValueOf(ReadFile(path));
    for (int64_t i = random.Int(1, 4); i > 0; --i) {
      // The beginning, where the pages are, more often than the footer.
      const auto size = static_cast<int64_t>(bytes.size());
      bytes[static_cast<size_t>(random.Int(0, random.Chance(0.7) ? size / 2 : size - 1))] =
          static_cast<char>(random.Int(0, 255));
    }
    WriteText(path, bytes);
    const auto files = PartitionedTable::Open({}, path);
    if (!files.ok() || (*files)->num_partitions() == 0) continue;
    const int64_t rows = std::min<int64_t>(300, (*files)->num_rows(0));
    for (const int column : AllColumns(**files)) {
      const auto values =
          (*files)->Gather({}, 0, {column}, RandomRows(std::max<int64_t>(0, rows), 0.3, &random));
      if (values.ok()) CHECK_OK((*values)[0]->ValidateFull());
    }
  }
}

}  // namespace gnomon::table
