// Files that are replaced, written to or removed between planning and reading, or while they are
// read.

#include <filesystem>
#include <fstream>

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

namespace {

std::shared_ptr<arrow::Table> Rows(const std::string& json) {
  return TableOf({{"a", arrow::int64()}}, json);
}

Status LastStatusOf(PartitionStream* stream) {
  while (true) {
    const auto batch = stream->Next();
    if (!batch.ok() || *batch == nullptr) return batch.status();
  }
}

Status LastStatusOf(TableReader* reader) {
  while (true) {
    const auto batch = reader->Next();
    if (!batch.ok() || *batch == nullptr) return batch.status();
  }
}

}  // namespace

TEST_CASE("a Parquet file that is not the one that was planned with is not read") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/a.parquet";
  CHECK_OK(WriteTable({}, *Rows("[[1], [2]]"), path));
  const auto reader = ValueOf(TableReader::Open({}, path));
  const auto table = ValueOf(PartitionedTable::Open({}, path));
  CHECK_OK(WriteTable({}, *Rows("[[3], [4], [5]]"), path));
  CHECK_ERROR(reader->Next(), ErrorKind::kConflict, path);
  CHECK_ERROR(table->Scan({}, 0, {0}, 10), ErrorKind::kConflict, path);
  const auto gone = ValueOf(TableReader::Open({}, path));
  std::filesystem::remove(path);
  CHECK_ERROR(gone->Next(), ErrorKind::kNotFound, path);
}

TEST_CASE("a file that is written to while it is read is told at the latest at its end") {
  const auto folder = MakeTemporaryFolder();
  for (const std::string suffix : {".parquet", ".csv", ".jsonl", ".arrow"}) {
    CAPTURE(suffix);
    const std::string path = folder.path() + "/a" + suffix;
    CHECK_OK(WriteTable({}, *Rows("[[1], [2], [3]]"), path));
    const auto reader = ValueOf(TableReader::Open({}, path, {.batch_rows = 1}));
    CHECK(ValueOf(reader->Next())->num_rows() == 1);
    const auto table = ValueOf(PartitionedTable::Open({}, path));
    const auto stream = ValueOf(table->Scan({}, 0, {0}, 1));
    std::ofstream(path, std::ios::app) << "\n";
    CHECK_ERROR(LastStatusOf(reader.get()), ErrorKind::kConflict, path);
    CHECK_ERROR(LastStatusOf(stream.get()), ErrorKind::kConflict, path);
  }
}

TEST_CASE("a file that is replaced while it is read is read to its end as it was") {
  const auto folder = MakeTemporaryFolder();
  for (const std::string suffix : {".parquet", ".csv", ".jsonl", ".arrow"}) {
    CAPTURE(suffix);
    const std::string path = folder.path() + "/a" + suffix;
    CHECK_OK(WriteTable({}, *Rows("[[1], [2], [3]]"), path));
    const auto reader = ValueOf(TableReader::Open({}, path, {.batch_rows = 1}));
    CHECK(ValueOf(reader->Next())->num_rows() == 1);
    CHECK_OK(WriteTable({}, *Rows("[[9]]"), path));
    CHECK_TABLE_EQ(Drain(reader.get(), 1), Rows("[[2], [3]]"));
  }
}

TEST_CASE("a later file without a required column is an error, not a file of nulls") {
  const auto folder = MakeTemporaryFolder();
  const std::string second = folder.path() + "/2.parquet";
  CHECK_OK(WriteTable({}, *TableOf({{"a", arrow::int64()}, {"b", arrow::int64()}}, "[[1, 1]]"),
                      folder.path() + "/1.parquet"));
  CHECK_OK(WriteTable({}, *Rows("[[2]]"), second));
  CHECK(ValueOf(ReadTable({}, folder.path(), {.required_columns = {"a"}}))->num_rows() == 2);
  CHECK_ERROR(ReadTable({}, folder.path(), {.required_columns = {"b"}}), ErrorKind::kUser, second);
  CHECK_ERROR(PartitionedTable::Open({}, folder.path(), {}, {"a", "b"}), ErrorKind::kUser, "'b'");
  CHECK_OK(PartitionedTable::Open({}, folder.path(), {}, {"a", "elsewhere"}));
}

}  // namespace gnomon::table
