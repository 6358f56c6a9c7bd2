#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <parquet/arrow/reader.h>
#include <parquet/metadata.h>
#include <parquet/statistics.h>

#include "table/file_internal.h"
#include "table/object_store_internal.h"

/// What reading a Parquet file as a stream, whole, or row by row has in common.
namespace gnomon::table::internal {

using ParquetReader = parquet::arrow::FileReader;

inline Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}

/// Runs body, which gives a Status or Result, and turns exceptions and Arrow's errors into ours
/// that name the file.
template <typename Body>
auto GuardedRead(const std::string& path, Body&& body) -> decltype(body()) {
  try {
    auto result = body();
    if (result.ok()) return result;
    return FileError(StatusOf(result), path, ErrorKind::kDataLoss);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory while reading ", path);
  } catch (const std::exception& error) {
    return Error(ErrorKind::kDataLoss, path, ": ", error.what());
  }
}

struct OpenedParquet {
  std::shared_ptr<ParquetReader> reader;              ///< several threads may share it
  std::shared_ptr<arrow::io::RandomAccessFile> file;  ///< what it reads from
  std::shared_ptr<ObjectFile> object;                 ///< the same; null: a local file
};

/// `metadata` null: read from the file.
Result<OpenedParquet> OpenParquet(const std::string& path,
                                  const std::shared_ptr<parquet::FileMetaData>& metadata);

/// Has the object read the chunks of these columns (of the schema) together, one row group after
/// another. Every chunk is to be read once.
Status AnnounceChunks(const OpenedParquet& opened, const std::vector<int>& groups,
                      const std::vector<int>& columns);

/// The leaf columns of a column of the schema; more than one for a struct.
std::vector<int> LeavesOf(const ParquetReader& reader, int column);

/// Do the statistics show that no row's time lies in the range? False when they do not say.
bool LiesOutside(const parquet::RowGroupMetaData& group, int leaf, const TimeRange& range);
bool LiesOutside(const parquet::Statistics& statistics, const TimeRange& range);
/// Do they show that every time lies in it?
bool LiesInside(const parquet::RowGroupMetaData& group, int leaf, const TimeRange& range);

/// Does the probe show that none of the values is wanted?
Result<bool> IsRefused(const parquet::Statistics& statistics, const RowGroupProbe& probe);
/// Does a probe of the request show that no row of the group is wanted?
Result<bool> IsRefused(const ParquetReader& reader, const parquet::RowGroupMetaData& group,
                       const ScanRequest& request);

/// The first row group of a part of a file and the one behind its last.
std::pair<int, int> RowGroupsOf(const parquet::FileMetaData& metadata, const FilePart& part);

/// Parquet knows neither seconds nor date64: the columns have the types that they were written
/// with, to which the caller casts. `file` is the schema that Parquet gives.
std::shared_ptr<arrow::Schema> WrittenSchema(const arrow::Schema& file,
                                             const parquet::FileMetaData& metadata);

Status TooFewRows(const std::string& path, const std::string& column);

}  // namespace gnomon::table::internal
