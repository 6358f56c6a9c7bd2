#pragma once

#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/view_columns.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

/// The planned features of a window view for every label, of their declared types. The source
/// streams past the labels: events that no label's window can hold are dropped, the others are kept
/// in memory, or cut up by key, spilled and evaluated part by part when the memory budget has no
/// room for them. No limit changes a bit of the result.
Result<ViewArrays> RetrieveWindows(const Context& context, const FeaturePlan& plan,
                                   const PlannedView& planned, const Labels& labels,
                                   const OfflineStore& store, const RetrievalOptions& options,
                                   RetrievalStats* stats);

}  // namespace gnomon::feature
