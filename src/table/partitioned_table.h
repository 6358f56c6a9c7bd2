#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "table/file.h"

namespace gnomon::table {

/// Data pages of the columns that are read, of partitions of which a part is read, and those of
/// them that are not.
struct PageCounts {
  int64_t pages = 0;
  int64_t pruned = 0;
};

/// Batches of some columns of a partition, in row order; null at the end.
class PartitionStream {
 public:
  virtual ~PartitionStream() = default;
  virtual Result<std::shared_ptr<arrow::RecordBatch>> Next() = 0;
  /// The place in the partition of the last batch's first row, when rows may be left out; -1: none
  /// is.
  virtual int64_t first_row() const { return -1; }
  virtual PageCounts pages() const { return {}; }
};

/// A table that is read several times and in pieces: cut into partitions, which stand in input
/// order (sorted path, row group, row) and can be read in any order and in parallel. Columns are
/// named by their place in schema(). Thread-safe, except that one partition is read by one thread
/// at a time unless reads_columns_apart().
class PartitionedTable {
 public:
  /// Files: a partition is a row group of a Parquet file, or a whole file of another format. All
  /// have the columns and types that TableReader gives them; a later file that lacks one of
  /// `required_columns` is kUser (a text file when it is read).
  static Result<std::shared_ptr<PartitionedTable>> Open(
      const Context& context, const std::string& path, std::optional<FileFormat> format = {},
      std::vector<std::string> required_columns = {});
  /// A table in memory: one partition.
  static std::shared_ptr<PartitionedTable> Of(std::shared_ptr<arrow::Table> table,
                                              std::string name);
  /// The same table under another name and with other names of its columns, whose types stay.
  /// Errors of reading it begin with `in_errors`, if that is not empty.
  static std::shared_ptr<PartitionedTable> Renamed(std::shared_ptr<const PartitionedTable> table,
                                                   std::string name,
                                                   std::shared_ptr<arrow::Schema> schema,
                                                   std::string in_errors = {});
  /// The same table for several who read it side by side: scans of one partition that are opened
  /// before one of them is read share one reading, of all their columns. A batch stays in memory
  /// until each of them had it.
  static std::shared_ptr<PartitionedTable> Shared(std::shared_ptr<const PartitionedTable> table);
  virtual ~PartitionedTable() = default;

  /// For messages: the path.
  virtual const std::string& name() const = 0;
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  virtual int64_t num_partitions() const = 0;
  /// -1: not known before it was read.
  virtual int64_t num_rows(int64_t partition) const = 0;
  /// Bytes of the columns before compression; -1: unknown.
  virtual int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const = 0;
  /// May different threads gather different columns of one partition at the same time?
  virtual bool reads_columns_apart(int64_t partition) const = 0;
  /// Do statistics show that no row's time lies in the range? A pruning, not a filter.
  virtual bool LiesOutside(int64_t partition, int time_column, const TimeRange& range) const = 0;
  /// `batch_rows` is a wish.
  virtual Result<std::unique_ptr<PartitionStream>> Scan(const Context& context, int64_t partition,
                                                        const std::vector<int>& columns,
                                                        int64_t batch_rows) const = 0;
  /// The same without rows that statistics show to lie outside the range: a pruning, not a filter.
  /// The stream's first_row() says where a batch stands.
  virtual Result<std::unique_ptr<PartitionStream>> ScanTimes(
      const Context& context, int64_t partition, const std::vector<int>& columns,
      int64_t batch_rows, int /*time_column*/, const TimeRange& /*range*/) const {
    return Scan(context, partition, columns, batch_rows);
  }
  /// Values of `rows` (of the partition, ascending) for each column. Reads what holds them only.
  virtual Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                            const std::vector<int>& columns,
                                            std::span<const int64_t> rows) const = 0;
};

}  // namespace gnomon::table
