#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"

/// Tables in files: Parquet, CSV, JSON lines and Arrow IPC on the local file system. Readers stream
/// record batches in file order (sorted path, row group, row); writers make files that appear whole
/// or not at all.
namespace gnomon::table {

enum class FileFormat { kParquet, kCsv, kJson, kIpc };

/// "parquet", "csv", "json" (lines), "ipc" (also "arrow", "feather").
Result<FileFormat> ParseFileFormat(std::string_view text);

/// From the suffix: .parquet .pq, .csv, .json .jsonl .ndjson (text also with .gz), .arrow .ipc
/// .feather. kUser for others.
Result<FileFormat> FormatOfPath(const std::string& path);

/// A file, every data file below a folder (hidden names and names beginning with '_' are left out)
/// or the matches of a glob, sorted by path. kNotFound when there is none.
Result<std::vector<std::string>> ListDataFiles(const std::string& path);

/// Both ends inclusive, in microseconds UTC.
struct TimeRange {
  int64_t min;
  int64_t max;
};

/// Asks whether a row group or page can hold a row that is wanted, given the least and the greatest
/// value of one column in it (an array of two values, in the column's type in the file).
/// Thread-safe.
struct RowGroupProbe {
  std::string column;
  std::function<Result<bool>(const std::shared_ptr<arrow::Array>& least_and_greatest)> may_match;
};

struct ReadOptions {
  /// Columns to read, in this order; empty: all. A missing one is kNotFound and names the file and
  /// the nearest column.
  std::vector<std::string> columns = {};
  /// Row groups, and in those that are read pages, whose statistics show that `time_column` lies
  /// outside `time_range` are not read. A pruning, not a filter: rows outside the range may still
  /// come.
  std::string time_column = {};
  std::optional<TimeRange> time_range = {};
  /// Row groups and pages that a probe refuses are not read; without statistics they are. A
  /// pruning, too.
  std::vector<RowGroupProbe> row_group_probes = {};
  /// Columns and types that all files are brought to, instead of those of the first file: nullable
  /// columns that a file lacks are null, CSV and JSON lines are read as these types.
  std::shared_ptr<arrow::Schema> schema = nullptr;
  /// Columns that no file may lack: one without them is kUser, not a file of nulls.
  std::vector<std::string> required_columns = {};
  /// With `schema`: a column of a file that is not in it is kUser, otherwise left out.
  bool refuse_other_columns = false;
  /// Rows per batch at most.
  int64_t batch_rows = int64_t{64} * 1024;
  /// Format of all files; otherwise from each suffix.
  std::optional<FileFormat> format = {};
};

struct ReadStats {
  int64_t row_groups = 0;         ///< in all files
  int64_t row_groups_pruned = 0;  ///< not read
  /// Of the columns that are read, in the row groups of which a part is read: data pages, and those
  /// of them that are not.
  int64_t pages = 0;
  int64_t pages_pruned = 0;
  int64_t rows = 0;  ///< delivered
};

/// A stream of record batches of one schema over one or more files. Not thread-safe. It has the
/// columns of the first file, of the type that holds the values of all Parquet and IPC files if
/// there is one (table/wider_type.h), else the first's; a value that does not fit is kUser naming
/// file and column. A column missing in a later file is null if the first has it as nullable.
class TableReader {
 public:
  /// Opens the files, reads metadata. Truncated or foreign bytes: kDataLoss or kUser naming the
  /// file.
  static Result<std::unique_ptr<TableReader>> Open(const Context& context, const std::string& path,
                                                   const ReadOptions& options = {});
  virtual ~TableReader() = default;
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  /// Rows before pruning when the format knows it, else -1.
  virtual int64_t num_rows() const = 0;
  /// The next batch, null at the end. Asks context for cancellation.
  virtual Result<std::shared_ptr<arrow::RecordBatch>> Next() = 0;
  virtual const ReadStats& stats() const = 0;
};

/// The whole table in memory. Row groups are decoded in parallel, the order stays that of the
/// files.
Result<std::shared_ptr<arrow::Table>> ReadTable(const Context& context, const std::string& path,
                                                const ReadOptions& options = {});

/// Schema only.
Result<std::shared_ptr<arrow::Schema>> ReadSchema(const Context& context, const std::string& path,
                                                  std::optional<FileFormat> format = {});

struct WriteOptions {
  std::optional<FileFormat> format = {};  ///< otherwise from the suffix
  /// At most; a Parquet row group of 256 MiB in memory ends earlier.
  int64_t row_group_rows = 1 << 20;
  /// Parquet: snappy, zstd, lz4, gzip, none. IPC: zstd, lz4, none, and snappy, which stands for
  /// lz4.
  std::string compression = "snappy";
  /// Columns that dictionary encoding would not shrink are found from a sample of the first row
  /// group.
  bool choose_encodings = true;
};

/// Writes one file atomically. Not thread-safe. Without Commit nothing appears.
class TableWriter {
 public:
  static Result<std::unique_ptr<TableWriter>> Open(const Context& context, const std::string& path,
                                                   const std::shared_ptr<arrow::Schema>& schema,
                                                   const WriteOptions& options = {});
  virtual ~TableWriter() = default;
  virtual Status Write(const arrow::RecordBatch& batch) = 0;
  virtual Status Commit() = 0;
};

Status WriteTable(const Context& context, const arrow::Table& table, const std::string& path,
                  const WriteOptions& options = {});

}  // namespace gnomon::table
