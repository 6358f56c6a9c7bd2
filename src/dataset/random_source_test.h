#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/external_source.h"
#include "dataset/random_test.h"
#include "table/file.h"
#include "tests/support/status.h"

/// Tables as leaves of plans: in memory, in files of every format, in another system.
namespace gnomon::dataset::test {

/// A part is the number of one of its tables. Filled before it is read.
class TableSource : public ExternalSource {
 public:
  std::string Add(std::shared_ptr<arrow::Table> table) {
    tables_.push_back(std::move(table));
    return std::to_string(tables_.size() - 1);
  }

  Result<std::unique_ptr<BatchSource>> Open(const Context& /*context*/,
                                            const std::string& part) const override {
    return std::make_unique<Rows>(tables_.at(std::stoul(part)));
  }

 private:
  class Rows : public BatchSource {
   public:
    explicit Rows(std::shared_ptr<arrow::Table> table)
        : table_(std::move(table)), reader_(*table_) {
      reader_.set_chunksize(17);
    }
    Result<std::shared_ptr<arrow::RecordBatch>> Next() override { return reader_.Next(); }

   private:
    const std::shared_ptr<arrow::Table> table_;
    arrow::TableBatchReader reader_;
  };

  std::vector<std::shared_ptr<arrow::Table>> tables_;
};

/// The pieces of a table, as they go to chunks, files and parts.
inline std::vector<std::shared_ptr<arrow::Table>> Pieces(const arrow::Table& table, Random& random,
                                                         int64_t most) {
  std::vector<std::shared_ptr<arrow::Table>> pieces;
  const int64_t least = table.num_rows() / most + 1;
  for (int64_t begin = 0; begin < table.num_rows();) {
    const int64_t rows = random.Int(least, std::max(least, table.num_rows()));
    pieces.push_back(table.Slice(begin, rows));
    begin += rows;
  }
  if (pieces.empty()) pieces.push_back(table.Slice(0, 0));
  return pieces;
}

inline Dataset InMemory(const arrow::Table& table, Random& random) {
  std::vector<std::shared_ptr<arrow::Table>> pieces = {table.Slice(0, 0)};
  for (auto& piece : Pieces(table, random, 40)) pieces.push_back(std::move(piece));
  return Dataset::Of(gnomon::test::ValueOf(arrow::ConcatenateTables(pieces)));
}

/// The source "tables" of the plan's extensions.
inline Dataset InParts(const arrow::Table& table, Random& random,
                       const std::shared_ptr<TableSource>& source) {
  ExternalSpec spec{.source = "tables", .schema = table.schema(), .reader = source};
  for (auto& piece : Pieces(table, random, 4)) spec.parts.push_back(source->Add(std::move(piece)));
  if (random.Chance(0.5)) spec.bytes = random.Int(0, 10'000);
  return Dataset(MakeNode(std::move(spec)));
}

/// How the files of a folder differ from the table.
struct FileVariety {
  table::FileFormat format = table::FileFormat::kParquet;
  bool mixed_formats = false;  ///< of Parquet and IPC
  std::string renamed = {};    ///< a column that has another name in the files
  std::string narrowed = {};   ///< an int64 column of int32 in some files
  bool other_columns = false;  ///< that a declared schema leaves out
  std::string partition = {};  ///< an int64 column that hive folders hold, the last in the table
};

inline std::shared_ptr<arrow::Table> InFile(std::shared_ptr<arrow::Table> table,
                                            const FileVariety& variety, bool is_first) {
  using gnomon::test::ValueOf;
  if (!variety.partition.empty()) table = ValueOf(table->RemoveColumn(table->num_columns() - 1));
  if (!variety.narrowed.empty() && !is_first) {
    const auto narrow = Dataset::Of(table).Derive(
        {{variety.narrowed, ColumnExpression(variety.narrowed), arrow::int32()}});
    table = ValueOf(narrow.Collect({}));
  }
  if (!variety.renamed.empty()) {
    auto names = table->ColumnNames();
    std::ranges::replace(names, variety.renamed, Concat("raw ", variety.renamed));
    table = ValueOf(table->RenameColumns(names));
  }
  if (variety.other_columns) {
    table = ValueOf(table->AddColumn(0, arrow::field("other", table->schema()->field(0)->type()),
                                     table->column(0)));
  }
  return table;
}

/// Pieces that lie in one folder each: the partition column has one value.
inline std::vector<std::shared_ptr<arrow::Table>> FilesOf(const arrow::Table& table, Random& random,
                                                          const FileVariety& variety) {
  auto pieces = Pieces(table, random, 3);
  if (variety.partition.empty()) return pieces;
  std::vector<std::shared_ptr<arrow::Table>> files;
  for (const auto& piece : pieces) {
    const auto& values = *piece->column(piece->num_columns() - 1);
    for (int64_t begin = 0, end = 0; begin < piece->num_rows(); begin = end) {
      const auto value = gnomon::test::ValueOf(values.GetScalar(begin));
      while (end < piece->num_rows() &&
             gnomon::test::ValueOf(values.GetScalar(end))->Equals(*value)) {
        ++end;
      }
      files.push_back(piece->Slice(begin, end - begin));
    }
  }
  return files;
}

/// A folder of files, with small row groups. The table is sorted by the partition column, nulls
/// last, and has rows.
inline Dataset InFiles(const arrow::Table& table, Random& random, const std::string& folder,
                       const FileVariety& variety) {
  using gnomon::test::ValueOf;
  const bool is_text =
      variety.format == table::FileFormat::kCsv || variety.format == table::FileFormat::kJson;
  ScanOptions options{.format = variety.format};
  if (variety.mixed_formats) options.format = std::nullopt;
  int number = 0;
  for (const auto& piece : FilesOf(table, random, variety)) {
    std::string path = folder;
    if (!variety.partition.empty()) {
      const auto value = ValueOf(piece->column(piece->num_columns() - 1)->GetScalar(0));
      path += Concat("/", variety.partition, "=",
                     value->is_valid ? value->ToString() : "__HIVE_DEFAULT_PARTITION__");
    }
    const char* suffix = variety.mixed_formats && random.Chance(0.4) ? ".arrow" : ".parquet";
    if (!variety.mixed_formats) suffix = ".data";
    const auto rows = InFile(piece, variety, number == 0);
    gnomon::test::RequireOk(
        table::WriteTable({}, *rows, Concat(path, "/", 100 + number, suffix),
                          {.format = options.format, .row_group_rows = random.Int(1, 60)}));
    if (is_text || variety.other_columns) {
      FileVariety whole = variety;
      whole.other_columns = false;
      whole.narrowed.clear();
      options.schema = InFile(piece, whole, true)->schema();
    }
    ++number;
  }
  if (!variety.renamed.empty()) {
    options.field_mapping = {{Concat("raw ", variety.renamed), variety.renamed}};
  }
  return Dataset::Read({}, folder, options);
}

}  // namespace gnomon::dataset::test
