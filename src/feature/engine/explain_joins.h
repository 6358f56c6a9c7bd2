#pragma once

#include <memory>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "feature/engine/retrieval.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// How the plain views over files are joined to these entity rows, and why: a few lines a view.
/// Reads keys and times of the entity rows and the metadata of the files, no row of a view. Views
/// of databases and views over views are left out, since to know their size is to read them.
Result<std::string> ExplainJoins(const Context& context, const FeaturePlan& plan,
                                 const OfflineStore& store,
                                 const std::shared_ptr<const table::PartitionedTable>& entity_rows,
                                 const RetrievalOptions& options);

}  // namespace gnomon::feature
