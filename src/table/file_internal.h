#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <arrow/io/type_fwd.h>
#include <arrow/type_fwd.h>

#include "table/file.h"
#include "table/file_part.h"
#include "table/file_system_internal.h"
#include "table/partitioned_table.h"

/// What the formats give to file.cc, which reads many files as one table, and to file_writer.cc.
namespace gnomon::table::internal {

struct ScanRequest {
  std::vector<int> columns;  ///< indices into the file's schema, in the order wanted
  int time_column = -1;      ///< index into the file's schema, for pruning
  std::optional<TimeRange> time_range = {};
  std::vector<std::pair<int, RowGroupProbe>> probes = {};  ///< with indices into the file's schema
  FilePart file_part = {};                                 ///< of Scan and Read
  int64_t batch_rows = int64_t{64} * 1024;                 ///< a wish: batches may be larger
};

/// Batches with exactly the requested columns; null at the end.
using BatchStream = PartitionStream;

/// One file whose schema is known. Holds no descriptor between calls when the format allows it. Not
/// thread-safe.
class FileSource {
 public:
  virtual ~FileSource() = default;
  /// Batches and tables may have other units of time, which cast without loss.
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  virtual int64_t num_rows() const = 0;  ///< -1: unknown
  /// `stats` counts row groups, not rows; it outlives the stream.
  virtual Result<std::unique_ptr<BatchStream>> Scan(const Context& context,
                                                    const ScanRequest& request,
                                                    ReadStats* stats) = 0;
  virtual Result<std::shared_ptr<arrow::Table>> Read(const Context& context,
                                                     const ScanRequest& request,
                                                     ReadStats* stats) = 0;

  /// Parts that can be read on their own, in any order; one where the format knows no others. The
  /// functions below are thread-safe for different parts, and for one part when
  /// reads_columns_apart().
  virtual int64_t num_parts() const { return 1; }
  virtual int64_t PartRows(int64_t /*part*/) const { return num_rows(); }
  /// Stored bytes of some columns (indices into the file's schema), -1: unknown.
  virtual int64_t PartBytes(int64_t /*part*/, const std::vector<int>& /*columns*/) const {
    return -1;
  }
  virtual bool reads_columns_apart() const { return false; }
  /// Does the file say that no time of the part lies in the range?
  virtual bool PartLiesOutside(int64_t /*part*/, int /*time_column*/,
                               const TimeRange& /*range*/) const {
    return false;
  }
  /// Without rows that the request's time range or probes refuse, when the format can tell.
  virtual Result<std::unique_ptr<BatchStream>> ScanPart(const Context& context, int64_t part,
                                                        const ScanRequest& request);
  /// The values of `rows` (of the part, ascending) for each column.
  virtual Result<arrow::ArrayVector> GatherPart(const Context& context, int64_t part,
                                                const std::vector<int>& columns,
                                                std::span<const int64_t> rows);
};

/// Picks rows out of a stream, batch by batch: what GatherPart does where nothing better is known.
Result<arrow::ArrayVector> GatherFromStream(BatchStream* stream, const arrow::Schema& schema,
                                            std::span<const int64_t> rows);

using OpenReader = std::function<Result<std::shared_ptr<arrow::RecordBatchReader>>()>;

/// A source over a format that can only be read from beginning to end. `first` is the first reader,
/// already open, and `version` was taken before; further scans call `open`. `invalid` is the kind
/// of what Arrow calls invalid.
std::unique_ptr<FileSource> MakeSequentialSource(std::string path, FileVersion version,
                                                 std::shared_ptr<arrow::RecordBatchReader> first,
                                                 OpenReader open, int64_t num_rows,
                                                 ErrorKind invalid);

/// `like` (may be null) is the schema of the first of several files: its types are taken where they
/// can be, instead of inferred ones.
Result<std::unique_ptr<FileSource>> OpenParquetFile(const std::string& path);
Result<std::unique_ptr<FileSource>> OpenCsvFile(const std::string& path,
                                                const std::shared_ptr<arrow::Schema>& like);
Result<std::unique_ptr<FileSource>> OpenJsonFile(const std::string& path,
                                                 const std::shared_ptr<arrow::Schema>& like);
Result<std::unique_ptr<FileSource>> OpenIpcFile(const std::string& path);
/// One of the above.
Result<std::unique_ptr<FileSource>> OpenSource(const std::string& path, FileFormat format,
                                               const std::shared_ptr<arrow::Schema>& like);
/// Is a file of the format opened without reading its rows?
inline bool HasFooter(FileFormat format) {
  return format == FileFormat::kParquet || format == FileFormat::kIpc;
}

/// Types of CSV and JSON lines are inferred from this many bytes at the beginning of a file.
inline constexpr int32_t kInferenceBytes = 64 << 20;

/// Opens a file for reading: kNotFound, kDenied, kDataLoss when it is empty. An object is an
/// ObjectFile.
Result<std::shared_ptr<arrow::io::RandomAccessFile>> OpenInput(const std::string& path);
/// The same, decompressed when the name ends in .gz.
Result<std::shared_ptr<arrow::io::InputStream>> OpenTextInput(const std::string& path);

/// An error of a reader or writer of Arrow: names the file, takes the kind from errno where there
/// is one (a full disk is kExhausted), else `kind` for what Arrow calls invalid or an I/O error.
/// Our own errors pass unchanged.
Status FileError(const Status& status, const std::string& path, ErrorKind kind);
/// The same for a sequential reader: I/O errors without an errno are kDataLoss, what Arrow calls
/// invalid is `invalid`, and our own errors name the file too.
Status ReadError(const Status& status, const std::string& path, ErrorKind invalid);

/// Writes one format to a stream.
class FormatWriter {
 public:
  virtual ~FormatWriter() = default;
  virtual Status Write(const arrow::RecordBatch& batch) = 0;
  /// Writes what stands at the end; does not close the stream.
  virtual Status Finish() = 0;
};

using Sink = std::shared_ptr<arrow::io::OutputStream>;
Result<std::unique_ptr<FormatWriter>> MakeParquetWriter(
    const Context& context, const Sink& sink, const std::shared_ptr<arrow::Schema>& schema,
    const WriteOptions& options);
Result<std::unique_ptr<FormatWriter>> MakeCsvWriter(const Sink& sink,
                                                    const std::shared_ptr<arrow::Schema>& schema);
Result<std::unique_ptr<FormatWriter>> MakeJsonWriter(const Sink& sink,
                                                     const std::shared_ptr<arrow::Schema>& schema);
Result<std::unique_ptr<FormatWriter>> MakeIpcWriter(const Sink& sink,
                                                    const std::shared_ptr<arrow::Schema>& schema,
                                                    const WriteOptions& options);

}  // namespace gnomon::table::internal
