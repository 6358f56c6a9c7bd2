#pragma once

#include <cstdint>
#include <memory>

#include <arrow/type_fwd.h>
#include <parquet/properties.h>

#include "base/context.h"
#include "base/error.h"
#include "table/file_internal.h"

/// How a row group's columns get into a Parquet file.
namespace gnomon::table::internal {

/// Writes the row groups of one file. Not thread-safe. What Parquet throws passes through.
class RowGroupSink {
 public:
  /// Flat columns are encoded side by side, in memory, and written in their order: the bytes do not
  /// depend on the number of threads. A row group whose encoded columns the context's budget does
  /// not grant beside it, and every one of a schema with lists, structs or maps, is written column
  /// by column.
  static Result<std::unique_ptr<RowGroupSink>> Open(
      const Context& context, const Sink& sink, const std::shared_ptr<arrow::Schema>& schema,
      const std::shared_ptr<parquet::WriterProperties>& properties,
      const std::shared_ptr<parquet::ArrowWriterProperties>& arrow_properties);
  virtual ~RowGroupSink() = default;
  /// One row group of `num_bytes` in memory.
  virtual Status Write(const arrow::Table& rows, int64_t num_bytes) = 0;
  /// Writes the footer; does not close the sink.
  virtual Status Close() = 0;
};

}  // namespace gnomon::table::internal
