#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/config.h"
#include "base/error.h"
#include "dataset/external_source.h"
#include "dataset/plan.h"
#include "feature/offline/offline_store.h"
#include "runtime/stage.h"

/// Rows of databases in plans: external nodes whose parts an offline store reads.
namespace gnomon::feature {

/// The names of external sources (PlanExtensions::sources) and what reads them: the parts of
/// sources of each such type by `store`, which outlives what it is used for.
std::map<std::string, std::shared_ptr<const dataset::ExternalSource>> DatabaseSources(
    const OfflineStore& store);

/// The same for a worker process, which is told of the store before its first task:
/// LocalOptions::access of the driver has AccessToDatabases. `extensions` gets the sources.
Status RegisterDatabaseSources(runtime::StageRegistry& registry,
                               dataset::PlanExtensions* extensions);
std::map<std::string, Secret> AccessToDatabases(const OfflineStore& store);

/// What the sources of one plan have in common.
struct DatabaseReads {
  int most_parts = 1;  ///< of a source
  /// By type of source: what they are read at, once one of them is in the plan.
  std::map<std::string, std::shared_ptr<SourceSnapshot>> snapshots = {};
};

/// The rows of a source in a database in the store's order (OfflineStore::Read): what `options` ask
/// for and the timestamp field. The plan is outlived by the store. kUnsupported as Parts.
Result<dataset::Plan> DatabaseRows(const Context& context, const OfflineStore& store,
                                   const DataSource& source, const ScanOptions& options,
                                   DatabaseReads* reads);

}  // namespace gnomon::feature
