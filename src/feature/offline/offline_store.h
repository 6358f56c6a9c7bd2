#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "base/text.h"
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

/// The files that a source's rows lie in, for readers of their own.
struct SourceFiles {
  std::string path;  ///< a file, folder or glob of this machine, or of S3 (table/file_system.h)
  std::optional<table::FileFormat> format = {};  ///< otherwise from each suffix
};

/// One moment of a database, as long as somebody holds it. Outlived by its store.
class SourceSnapshot {
 public:
  virtual ~SourceSnapshot() = default;
};

/// The rows of a source in parts that other processes read, each by itself.
struct SourceParts {
  /// The columns that were asked for and the timestamp field, after mapping, then one of uint64
  /// that orders rows of equal time: by both, Read's order.
  std::shared_ptr<arrow::Schema> schema;
  std::vector<std::string> parts = {};  ///< bytes for ReadPart, without addresses and passwords
  int64_t bytes = -1;                   ///< of all rows, about; -1: not known
};

/// Where raw events lie. Columns carry the names that field mapping gives them. Thread-safe.
class OfflineStore {
 public:
  virtual ~OfflineStore() = default;

  /// The schema after field mapping. kNotFound for a missing file; kUser for a mapping of a column
  /// that is not there or onto a name that is.
  virtual Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                              const DataSource& source) const = 0;
  /// Rows in input order, in memory. Of files that is sorted path, row group, row; rows of a
  /// database have none and are ordered by time, then by a hash of all their values, so that what
  /// is asked of them does not depend on where the server keeps them.
  virtual Result<std::shared_ptr<arrow::Table>> Read(const Context& context,
                                                     const DataSource& source,
                                                     const ScanOptions& options) const = 0;
  /// Adds rows to a table in one transaction (`part` is not kept: the same part twice is there
  /// twice; columns that the rows lack get the table's defaults), or to a source that is a folder,
  /// as one Parquet file `part`.parquet (with columns in the names of folders, one in each folder
  /// of the rows) that appears whole or not at all and replaces a part of that name. Columns carry
  /// names after field mapping and get the types of the source; one that the rows lack is null.
  /// kUser for a source that is a file or a glob, a column that the source does not have (with the
  /// nearest), a column of the folders that the rows lack, and a value that its type cannot hold.
  /// The folder is made when it does not exist.
  virtual Status Append(const Context& context, const DataSource& source, const std::string& part,
                        const arrow::Table& rows) const = 0;
  /// The source as partitions that are read when they are needed, under the names of SourceSchema.
  /// `options` say what will be read: other columns may be absent (those of `required_columns` and
  /// the timestamp field are there), and rows outside the time range. A file that lacks one of
  /// `required_columns` is kUser. Rows of a database are those of one moment.
  virtual Result<std::shared_ptr<table::PartitionedTable>> Open(
      const Context& context, const DataSource& source, const ScanOptions& options) const = 0;
  /// The rows of a SELECT in the order that it gives them, in a mapped unnamed file rather than the
  /// process's memory. kUnsupported where `offline_store` names no database.
  virtual Result<std::shared_ptr<arrow::Table>> Query(const Context& context,
                                                      const std::string& query) const {
    GNOMON_RETURN_NOT_OK(context.Check());
    return MakeError(ErrorKind::kUnsupported, Concat("no database to ask: ", query), {},
                     "offline_store of type postgres or sqlite in feature_store.yaml");
  }
  /// A text that differs when the source's rows may have changed; empty when that cannot be told
  /// without reading them.
  virtual Result<std::string> Version(const Context& context, const DataSource& source) const {
    static_cast<void>(context);
    static_cast<void>(source);
    return std::string();
  }
  /// kUnsupported when the rows are not in files.
  virtual Result<SourceFiles> Files(const DataSource& source) const {
    return Error(ErrorKind::kUnsupported, "data source '", source.name, "' does not lie in files");
  }
  /// At most `most` parts of the source as it is at the moment of `snapshot`; a null one is taken,
  /// and sources of one type may share it. kUnsupported, with the reason, where other processes
  /// cannot read the same rows.
  virtual Result<SourceParts> Parts(const Context& context, const DataSource& source,
                                    const ScanOptions& options, int most,
                                    std::shared_ptr<SourceSnapshot>* snapshot) const {
    static_cast<void>(options);
    static_cast<void>(most);
    static_cast<void>(snapshot);
    GNOMON_RETURN_NOT_OK(context.Check());
    return Error(ErrorKind::kUnsupported, "data source '", source.name,
                 "' is not read by several processes");
  }
  /// The rows of a part of a source of that type, in this or another process, each time the same.
  /// kConflict when its snapshot is gone. Outlived by the store.
  virtual Result<std::unique_ptr<table::PartitionStream>> ReadPart(const Context& context,
                                                                   const std::string& type,
                                                                   const std::string& part) const {
    static_cast<void>(part);
    GNOMON_RETURN_NOT_OK(context.Check());
    return Error(ErrorKind::kUnsupported, "sources of type '", type, "' have no parts");
  }
  /// What OpenOfflineStore takes in another process for ReadPart: addresses and passwords.
  virtual Secret Access() const { return {}; }
  /// Tries to connect, for `gnomon doctor`; sources are tried by SourceSchema.
  virtual Status Check(const Context& context) const { return context.Check(); }
  /// Rows of the source when it is cheap to know, else -1.
  virtual Result<int64_t> CountRows(const Context& context, const DataSource& source) const = 0;
};

/// Sources of every type, each read where its own type says. The type of `config.offline_store`
/// (file, dask, duckdb and ray all mean files; postgres; sqlite) says what Check tries.
Result<std::unique_ptr<OfflineStore>> OpenOfflineStore(const RepositoryConfig& config);

/// The store whose Access that is.
Result<std::unique_ptr<OfflineStore>> OpenOfflineStore(const Secret& access);

}  // namespace gnomon::feature
