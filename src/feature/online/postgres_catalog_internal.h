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
#include "feature/online/feast_layout_internal.h"
#include "feature/online/online_store.h"
#include "sql/postgres.h"

/// Which tables Gnomon has prepared in a PostgreSQL schema: docs/formats/online_packed.md draws
/// them. Ids are never used twice.
namespace gnomon::feature::internal {

struct PostgresTable {
  OnlineLayout layout = OnlineLayout::kPacked;
  int64_t id = 0;      ///< of the packed table; 0: there is none
  std::string packed;  ///< names, quoted; empty where there is no such table
  std::string feast;
  bool feast_numbers = false;  ///< Feast's table has a column value_num
};

/// A view's tables and their layout as they are now; absent: they were not prepared. kUnsupported
/// when a newer Gnomon wrote the catalogue.
Result<std::optional<PostgresTable>> FindPostgresTable(const Context& context,
                                                       const LayoutOptions& options,
                                                       const OnlineTable& table,
                                                       sql::Postgres* connection);

/// kNotFound: "run: gnomon apply".
Status NotInPostgres(const OnlineTable& table, const std::string& place);

/// Creates schema, catalogue and tables where they are missing, in one transaction.
Status PreparePostgresTables(const Context& context, const LayoutOptions& options,
                             const std::string& db_schema, std::span<const OnlineTable> tables,
                             sql::Postgres* connection);

/// Drops the prepared tables of the project's views that are not in `keep`, in one transaction.
Status DropPostgresTables(const Context& context, const std::string& project,
                          std::span<const std::string> keep, sql::Postgres* connection);

/// The id under which rows of `schema` are written to a packed table, added when it is new.
Result<int64_t> FindOrAddPostgresSchema(const Context& context, int64_t table,
                                        const arrow::Schema& schema, sql::Postgres* connection);
/// kDataLoss when it is not there or not readable.
Result<std::shared_ptr<arrow::Schema>> LoadPostgresSchema(const Context& context, int64_t schema,
                                                          sql::Postgres* connection);

}  // namespace gnomon::feature::internal
