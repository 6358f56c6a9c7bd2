#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/plan.h"
#include "feature/engine/retrieval.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"

namespace gnomon::feature {

/// Worker processes (batch_engine's max_workers, else CPUs), and the partitions of their plans.
int NumWorkers(const RetrievalOptions& options);
int NumPartitions(const RetrievalOptions& options);

/// A retrieval as one plan of dataset, whose rows are what RetrieveHistorical gives, bit for bit:
/// entity rows; for each view a scan of its files, the parts of its rows in a database in the
/// store's order (or the plan of its source views' rows), its
/// transformations, its filter, then an as-of join or window aggregates; the on-demand expressions;
/// the asked columns.
/// Sources in databases are read at one moment, which lasts as long as the plan; it is outlived by
/// the store.
Result<dataset::Plan> LowerRetrieval(const Context& context, const FeaturePlan& plan,
                                     const OfflineStore& store,
                                     const std::shared_ptr<arrow::Table>& entity_rows,
                                     const RetrievalOptions& options);

/// Retrieval without entity rows as one plan, whose rows are those of OpenRange, bit for bit: the
/// rows of one plain view, or the distinct keys and times of all views' rows, then as above.
Result<dataset::Plan> LowerRange(const Context& context, const FeaturePlan& plan,
                                 const OfflineStore& store, int64_t start, int64_t end,
                                 const RetrievalOptions& options);

}  // namespace gnomon::feature
