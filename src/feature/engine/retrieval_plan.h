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

/// A retrieval as one plan of dataset, whose rows are what RetrieveHistorical gives, bit for bit:
/// entity rows; for each view a scan of its files (or the plan of its source views' rows), its
/// transformations, its filter, then an as-of join or window aggregates; the on-demand expressions;
/// the asked columns. kUnsupported, with what it is, for what such a plan cannot say: a source that
/// is not in files of this machine, created_before with created times in nanoseconds in a view over
/// several views.
Result<dataset::Plan> LowerRetrieval(const Context& context, const FeaturePlan& plan,
                                     const OfflineStore& store,
                                     const std::shared_ptr<arrow::Table>& entity_rows,
                                     const RetrievalOptions& options);

}  // namespace gnomon::feature
