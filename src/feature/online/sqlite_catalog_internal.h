#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/online/online_store.h"
#include "sql/sqlite.h"

/// Which tables the packed layout has in one SQLite file: docs/formats/online_packed.md draws them.
/// Ids are never used twice, so what a connection remembers by id stays true.
namespace gnomon::feature::internal {

/// The greatest that this build reads. A file is of version 1 until rows with folded events (of
/// lifetime windows) are written, which a reader of version 1 would take for all there is.
inline constexpr int64_t kPackedFormatVersion = 2;

/// Creates the catalog where it is missing. REQUIRES: a transaction.
Status CreateCatalog(sql::Sqlite* database);

/// False when the file has no catalog of ours; kUnsupported when a newer Gnomon wrote it.
Result<bool> HasCatalog(sql::Sqlite* database);

/// The name of a view's table.
std::string PackedTableName(int64_t id, std::string_view project, std::string_view view);

/// The id of a view's table, if it was prepared.
Result<std::optional<int64_t>> FindTable(sql::Sqlite* database, std::string_view project,
                                         std::string_view view);

/// Creates the table of a view when it is missing. REQUIRES: a transaction.
Status CreateTable(sql::Sqlite* database, const OnlineTable& table);

/// Is there a table of Feast's for the view?
Result<bool> HasFeastTable(sql::Sqlite* database, const OnlineTable& table);
Result<bool> HasFeastColumn(sql::Sqlite* database, const OnlineTable& table,
                            std::string_view column);

/// Creates Feast's table of a view when it is missing, and notes that it was prepared. kConflict
/// when it is another view's. REQUIRES: a transaction.
Status CreateFeastTable(sql::Sqlite* database, const OnlineTable& table);

/// Drops the prepared tables of the project's views that are not in `keep`. REQUIRES: a
/// transaction.
Status DropTables(sql::Sqlite* database, const std::string& project,
                  std::span<const std::string> keep);

/// Has the file nothing but an empty catalog?
Result<bool> IsEmpty(sql::Sqlite* database);

/// kNotFound: "run: gnomon apply".
Status NotPrepared(const std::string& path, const OnlineTable& table);

/// The id under which rows of `schema` are written to the table, added when it is new. REQUIRES: a
/// transaction.
Result<int64_t> FindOrAddSchema(sql::Sqlite* database, int64_t table, const arrow::Schema& schema);

/// kDataLoss when it is not there or not readable.
Result<std::shared_ptr<arrow::Schema>> LoadSchema(sql::Sqlite* database, int64_t schema);

}  // namespace gnomon::feature::internal
