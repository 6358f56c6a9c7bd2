#pragma once

#include <memory>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/offline/offline_store.h"
#include "feature/offline/postgres_request_internal.h"
#include "sql/postgres_pool.h"

/// PostgreSQL sources as parts that other processes read.
namespace gnomon::feature {

/// OfflineStore::Parts: at most `most` page ranges of a table, or the whole of a query, as of
/// `snapshot`, which is taken when it is null: a transaction that stays open on a connection of the
/// pool, under whose locks nobody rewrites the tables.
Result<SourceParts> PostgresParts(const Context& context, sql::PostgresPool* pool,
                                  const DataSource& source, const PostgresRequest& request,
                                  int most, std::shared_ptr<SourceSnapshot>* snapshot);

/// OfflineStore::ReadPart. kConflict when the snapshot's transaction has ended.
Result<std::unique_ptr<table::PartitionStream>> ReadPostgresPart(const Context& context,
                                                                 sql::PostgresPool* pool,
                                                                 const std::string& part);

}  // namespace gnomon::feature
