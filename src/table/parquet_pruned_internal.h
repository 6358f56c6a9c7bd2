#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "table/file_internal.h"
#include "table/parquet_pages_internal.h"
#include "table/parquet_reader_internal.h"

/// Scans that read the pages that may hold a wanted row, and no others.
namespace gnomon::table::internal {

/// Which rows of a row group may be wanted, by the statistics of the pages of the time column and
/// of the columns that have probes: all of them when too few can be left out to pay. May throw what
/// Parquet throws.
Result<RowRanges> WantedRows(const OpenedParquet& opened, int group, const ScanRequest& request);

/// What a scan of a row group reads from.
struct GroupSource {
  Context context;
  std::string path;
  FileVersion version;
  OpenedParquet opened;
  std::shared_ptr<arrow::Schema> schema;  ///< of the request's columns
};

/// The wanted rows of one row group of a local file. Each batch holds rows that follow one another.
/// Not thread-safe.
class GroupScan : public BatchStream {
 public:
  /// Counts the pages of a row group that is read in part in `stats`.
  static Result<std::unique_ptr<GroupScan>> Open(GroupSource source, const ScanRequest& request,
                                                 int group, ReadStats* stats);
  ~GroupScan() override;

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override;
  int64_t first_row() const override { return first_row_; }
  PageCounts pages() const override { return counts_; }

 private:
  class Column;
  explicit GroupScan(GroupSource source);
  Status OpenColumns(const ScanRequest& request, int group);

  const GroupSource source_;
  std::shared_ptr<ParquetReader> reader_;  ///< of the kept pages; outlives columns_
  std::vector<std::unique_ptr<Column>> columns_;
  RowRanges wanted_;
  size_t range_ = 0;  ///< of wanted_
  int64_t row_ = 0;   ///< the next one
  int64_t first_row_ = 0;
  int64_t batch_rows_ = 0;
  PageCounts counts_;
};

/// One row group after the other.
class PrunedStream : public BatchStream {
 public:
  using OpenGroup = std::function<Result<std::unique_ptr<GroupScan>>(int group)>;
  PrunedStream(std::vector<int> groups, OpenGroup open)
      : groups_(std::move(groups)), open_(std::move(open)) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override;

 private:
  const std::vector<int> groups_;
  const OpenGroup open_;
  size_t next_ = 0;
  std::unique_ptr<GroupScan> scan_;
};

/// The wanted rows of all row groups, which are read in parallel, each by a scan of its own reader.
Result<std::shared_ptr<arrow::Table>> ReadRows(
    const Context& context, const std::shared_ptr<arrow::Schema>& schema,
    const std::vector<int>& groups,
    const std::function<Result<std::unique_ptr<GroupScan>>(int group, ReadStats*)>& open,
    ReadStats* stats);

}  // namespace gnomon::table::internal
