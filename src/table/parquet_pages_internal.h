#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <arrow/io/type_fwd.h>
#include <arrow/type_fwd.h>
#include <parquet/column_reader.h>
#include <parquet/file_reader.h>
#include <parquet/statistics.h>

#include "base/error.h"

/// Where the data pages of a column chunk lie, so that some of them are read and others are not.
/// What the file says is checked before it is believed; what cannot be believed prunes nothing. May
/// throw what Parquet throws.
namespace gnomon::table::internal {

/// Rows [begin, end) of a row group.
struct RowRange {
  int64_t begin;
  int64_t end;
};
/// Ascending, with rows between them.
using RowRanges = std::vector<RowRange>;

/// The rows that are in both.
RowRanges Intersect(const RowRanges& left, const RowRanges& right);
int64_t CountRows(const RowRanges& ranges);

struct DataPage {
  int64_t offset;  ///< of its header in the file
  int64_t size;    ///< with the header
  RowRange rows;
  /// Null: the file says nothing about the values.
  std::shared_ptr<parquet::Statistics> statistics = nullptr;
  bool all_null = false;
};

/// A chunk of a flat column: no lists, so that a value is a row.
struct ColumnPages {
  int64_t begin = 0;  ///< of the chunk in the file: a dictionary, or the first data page
  std::vector<DataPage> pages;

  /// The pages that hold some of the rows.
  std::vector<DataPage> Holding(const RowRanges& rows) const;
};

/// The pages of a leaf: from the page index where the file has one, else from the pages' headers,
/// which are read without the pages. Absent for a leaf that is not flat, in a row group that is too
/// damaged to say, and with `statistics` when the row group has none that hold for its type.
std::optional<ColumnPages> PagesOf(parquet::ParquetFileReader* reader,
                                   const std::shared_ptr<arrow::io::RandomAccessFile>& file,
                                   int group, int leaf, bool statistics);

/// Delivers some pages of a leaf, as if the chunk had no others.
std::unique_ptr<parquet::PageReader> ReadPages(
    const parquet::ParquetFileReader& reader,
    const std::shared_ptr<arrow::io::RandomAccessFile>& file, int group, int leaf,
    const ColumnPages& column, const std::vector<DataPage>& pages);

}  // namespace gnomon::table::internal
