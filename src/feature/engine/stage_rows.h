#pragma once

#include <cstdint>
#include <memory>

#include "base/context.h"
#include "base/error.h"
#include "feature/engine/retrieval.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// OpenHistorical as stages in worker processes (RetrieveInProcesses, with its errors). The entity
/// rows are held, and counted, while the stages run: kExhausted when they do not fit. The result is
/// counted as long as it is there; what is beyond half of the budget lies in a mapped file.
Result<std::unique_ptr<HistoricalRows>> OpenInProcesses(const Context& context,
                                                        const FeaturePlan& plan,
                                                        const OfflineStore& store,
                                                        const table::PartitionedTable& entity_rows,
                                                        const RetrievalOptions& options);

/// OpenRange in the same way (RetrieveRangeInProcesses).
Result<std::unique_ptr<HistoricalRows>> OpenRangeInProcesses(const Context& context,
                                                             const FeaturePlan& plan,
                                                             const OfflineStore& store,
                                                             int64_t start, int64_t end,
                                                             const RetrievalOptions& options);

}  // namespace gnomon::feature
