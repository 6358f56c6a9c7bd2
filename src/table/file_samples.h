#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "table/file.h"
#include "table/random_column.h"
#include "tests/support/status.h"

/// Tables and files for the tests of readers and writers.
namespace gnomon::table::test {

inline std::shared_ptr<arrow::Table> RandomTable(
    const std::vector<std::shared_ptr<arrow::DataType>>& types, int64_t rows, Random* random) {
  arrow::FieldVector fields;
  arrow::ChunkedArrayVector columns;
  for (const auto& type : types) {
    fields.push_back(arrow::field("c" + std::to_string(fields.size()), type));
    columns.push_back(InRandomChunks(RandomArray(type, rows, random), random));
  }
  return arrow::Table::Make(arrow::schema(fields), columns, rows);
}

/// All batches of a reader; checks that none is too long.
inline std::shared_ptr<arrow::Table> Drain(TableReader* reader, int64_t batch_rows) {
  arrow::RecordBatchVector batches;
  while (const auto batch = ValueOf(reader->Next())) {
    CHECK(batch->num_rows() <= batch_rows);
    CHECK(batch->num_rows() > 0);
    CHECK_OK(batch->ValidateFull());
    batches.push_back(batch);
  }
  return ValueOf(arrow::Table::FromRecordBatches(reader->schema(), batches));
}

inline std::vector<std::shared_ptr<arrow::DataType>> ScalarTypes() {
  return {arrow::boolean(),
          arrow::int8(),
          arrow::uint16(),
          arrow::int32(),
          arrow::int64(),
          arrow::uint64(),
          arrow::float32(),
          arrow::float64(),
          arrow::utf8(),
          arrow::large_utf8(),
          arrow::binary(),
          arrow::date32(),
          arrow::timestamp(arrow::TimeUnit::SECOND),
          arrow::timestamp(arrow::TimeUnit::MILLI, "UTC"),
          arrow::timestamp(arrow::TimeUnit::MICRO, "Europe/Rome"),
          arrow::timestamp(arrow::TimeUnit::NANO),
          arrow::decimal128(9, 2),
          arrow::fixed_size_binary(4),
          arrow::duration(arrow::TimeUnit::MICRO)};
}

inline std::vector<std::shared_ptr<arrow::DataType>> AllTypes() {
  auto types = ScalarTypes();
  types.push_back(arrow::list(arrow::float32()));
  types.push_back(arrow::list(arrow::utf8()));
  types.push_back(
      arrow::struct_({arrow::field("x", arrow::int32()), arrow::field("y", arrow::utf8())}));
  return types;
}

inline std::string WriteText(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

}  // namespace gnomon::table::test
