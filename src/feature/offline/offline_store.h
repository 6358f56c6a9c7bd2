#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/definition/repository.h"
#include "table/file.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

struct ScanOptions {
  /// Names after field mapping; empty: all. Each is given once, in this order.
  std::vector<std::string> columns = {};
  /// Of them, those that no file of the source may lack: kUser instead of nulls.
  std::vector<std::string> required_columns = {};
  /// Prunes by the source's timestamp field; rows outside may still come.
  std::optional<table::TimeRange> time_range = {};
};

/// Where raw events lie. Columns carry the names that field mapping gives them. Thread-safe.
class OfflineStore {
 public:
  virtual ~OfflineStore() = default;

  /// The schema after field mapping. kNotFound for a missing file; kUser for a mapping of a column
  /// that is not there or onto a name that is.
  virtual Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                              const DataSource& source) const = 0;
  /// Rows in input order (sorted path, row group, row), in memory.
  virtual Result<std::shared_ptr<arrow::Table>> Read(const Context& context,
                                                     const DataSource& source,
                                                     const ScanOptions& options) const = 0;
  /// Adds rows to a source that is a folder, as one Parquet file `part`.parquet that appears whole
  /// or not at all and replaces a part of that name. Columns carry names after field mapping and
  /// get the types that the source has; one that the rows lack is null. kUser for a source that is
  /// a file or a glob, a column that the source does not have (with the nearest) and a value that
  /// its type cannot hold. The folder is made when it does not exist.
  virtual Status Append(const Context& context, const DataSource& source, const std::string& part,
                        const arrow::Table& rows) const = 0;
  /// The source as partitions that are read when they are needed, under the names of SourceSchema.
  /// A file that lacks the timestamp field or one of `required_columns` is kUser.
  virtual Result<std::shared_ptr<table::PartitionedTable>> Open(
      const Context& context, const DataSource& source,
      const std::vector<std::string>& required_columns) const = 0;
  /// Rows of the source when it is cheap to know, else -1.
  virtual Result<int64_t> CountRows(const Context& context, const DataSource& source) const = 0;
};

/// Files below `folder` (the repository), for the types file, dask, duckdb and ray.
Result<std::unique_ptr<OfflineStore>> OpenOfflineStore(const RepositoryConfig& config);

}  // namespace gnomon::feature
