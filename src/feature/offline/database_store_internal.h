#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/repository.h"
#include "feature/offline/offline_store.h"
#include "runtime/spill_file.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

std::unique_ptr<OfflineStore> MakePostgresOfflineStore(
    const RepositoryConfig::OfflineStore& config);
std::unique_ptr<OfflineStore> MakeSqliteOfflineStore(const RepositoryConfig& config);

/// The name of the last column of the rows that come from a database: a hash of all their values.
inline constexpr const char* kRowHash = "gnomon_row_hash";

/// A database gives rows in any order; here they get one that only their values decide: by the time
/// column (nulls first; if `schema` has it, as timestamps or dates), then by the hash that stands
/// in their last column (int64, no nulls). Nothing is copied: the rows stay in their unnamed files,
/// and those that do not stand in order there get a file with their places. Partitions are ranges
/// of that order; memory of 24 bytes a row of the partitions that are being ordered is reserved.
/// `schema` is theirs without the hash. Rows of equal hash are equal (or met a chance of 2^-64).
Result<std::shared_ptr<table::PartitionedTable>> OrderedRows(
    const Context& context, std::vector<runtime::SpillFile> runs,
    const std::shared_ptr<arrow::Schema>& schema, const std::string& time_column,
    const std::string& name);

/// All rows of an opened source, as ScanOptions::columns asks (empty: all).
Result<std::shared_ptr<arrow::Table>> ReadOpened(const Context& context,
                                                 const table::PartitionedTable& opened,
                                                 const std::vector<std::string>& columns);

/// `condition` for SQL: the time column between the bounds, or null. Empty when there is no bound.
/// `type`: "TIMESTAMP" or "TIMESTAMPTZ".
std::string TimeCondition(const std::string& quoted_column, const table::TimeRange& range,
                          const std::string& type);

}  // namespace gnomon::feature
