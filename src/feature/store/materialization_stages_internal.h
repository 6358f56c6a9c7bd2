#pragma once

#include <string>

#include "base/context.h"
#include "feature/engine/materialization.h"
#include "feature/engine/stage_materialization.h"
#include "feature/store/feature_store_internal.h"

namespace gnomon::feature {

/// How a view of a job runs as stages: batch_engine's settings, one writer for SQLite, journals in
/// the repository's folder data/materializations.
StageMaterialization StagesOf(const RepositoryConfig& config, const std::string& job,
                              const FeatureView& view);

/// The rows that it writes as stages: with isolation: process, where a plan can say them. Else
/// null, and the log says why.
LoweredRows RowsForStages(const Context& context, const FeatureStore::Impl& impl,
                          const Definitions& definitions, const ViewInterval& interval);

}  // namespace gnomon::feature
