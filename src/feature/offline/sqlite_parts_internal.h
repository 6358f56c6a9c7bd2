#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/offline/offline_store.h"
#include "table/partitioned_table.h"

/// SQLite sources as parts that other processes of this machine read.
namespace gnomon::feature {

/// What is read of a SQLite source.
struct SqliteRequest {
  std::string path;       ///< of the database
  std::string statement;  ///< a SELECT
  /// Of its columns, those that are read: their places, and their types under the names after
  /// mapping.
  std::vector<int> places;
  std::shared_ptr<arrow::Schema> schema;
};

/// What the database held when `snapshot` (null: a new one) first saw it (sql::CommittedState). The
/// snapshot keeps a connection without a transaction: nobody is kept from writing.
Result<std::string> StateInSnapshot(const std::string& path,
                                    std::shared_ptr<SourceSnapshot>* snapshot);

/// OfflineStore::Parts: the whole source is one part, of a database in that state.
Result<SourceParts> SqliteParts(const DataSource& source, const SqliteRequest& request,
                                std::string state);

/// OfflineStore::ReadPart. kConflict when the database was written since.
Result<std::unique_ptr<table::PartitionStream>> ReadSqlitePart(const Context& context,
                                                               const std::string& part);

}  // namespace gnomon::feature
