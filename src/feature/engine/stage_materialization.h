#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "dataset/external_sink.h"
#include "dataset/plan.h"
#include "feature/definition/definition.h"
#include "feature/engine/materialization.h"
#include "feature/engine/retrieval.h"
#include "feature/offline/offline_store.h"
#include "runtime/backend.h"

namespace gnomon::feature {

/// How a materialization runs as stages. Nothing here changes what is stored.
struct StageMaterialization {
  RetrievalOptions engine = {};  ///< batch_engine's; only its joins and workers count
  /// 1 for a store with one writer (SQLite: reading, transforming and finding the newest rows is
  /// divided, one task writes); 0: as many tasks write as the plan likes.
  int write_partitions = 0;
  Secret online_access = {};  ///< AccessTo(online store), for workers in other processes
  /// Journals of this materialization have this path and a suffix by plan: a run with the same plan
  /// does not write the partitions again that are committed. Empty: none.
  std::string journal = {};
};

/// A materialization as one plan: the rows of the interval after transformations and filter; of a
/// plain view the newest of each key, found in each part of the source and then among these; a
/// write into the online store, by key. kUnsupported, as LowerRetrieval, for what a plan cannot
/// say. `sink`: MakeOnlineSink's.
Result<dataset::Plan> LowerMaterialization(const Context& context, const Definitions& definitions,
                                           const std::string& project, const ViewInterval& interval,
                                           const OfflineStore& offline,
                                           std::shared_ptr<const dataset::ExternalSink> sink,
                                           const MaterializationOptions& options,
                                           const StageMaterialization& stages);

/// MaterializeView as stages of a backend: the same rows are stored and counted. What is the same
/// for all partitions is done here: the view's sink gets the rows of the interval first. Rows
/// become visible in commits of `rows_per_commit` in each partition; after an error those of other
/// partitions are still written, and the error counts the rows of all that cannot be.
/// options.committed_rows is not looked at: the journal knows what is committed. The backend's
/// workers know the stages of plans, the definitions' plug-ins and `sink`.
Result<MaterializationResult> MaterializeByStages(
    const Context& context, runtime::Backend& backend, const Definitions& definitions,
    const std::string& project, const ViewInterval& interval, const OfflineStore& offline,
    std::shared_ptr<const dataset::ExternalSink> sink, const MaterializationOptions& options,
    const StageMaterialization& stages);

/// What a materialization writes, as a plan. Null: none.
using LoweredRows = dataset::Plan;

/// The rows of LowerMaterialization's plan, without the write. MaterializeView does what it
/// refuses, or says what is wrong. Looks at the sources' schemas and files; reads and writes
/// nothing. With a source in a database its moment lasts as long as the plan.
Result<LoweredRows> LowerRowsToWrite(const Context& context, const Definitions& definitions,
                                     const std::string& project, const ViewInterval& interval,
                                     const OfflineStore& offline,
                                     const StageMaterialization& stages);

/// MaterializeByStages in worker processes of this machine that live as long as the call, of the
/// rows of LowerRowsToWrite. The online store's password reaches them through their sockets only.
Result<MaterializationResult> MaterializeInProcesses(
    const Context& context, const Definitions& definitions, const std::string& project,
    const ViewInterval& interval, const OfflineStore& offline, const LoweredRows& rows,
    const MaterializationOptions& options, const StageMaterialization& stages);

/// Removes the journals of a materialization: what comes next begins anew.
Status ForgetStages(const std::string& journal);

}  // namespace gnomon::feature
