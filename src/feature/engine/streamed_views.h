#pragma once

#include <map>
#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/engine/retrieval.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

/// Views whose sources are never in memory as a whole: keys and times stream past the labels, and
/// the winning rows' features are gathered late (dataset/asof/asof_join.h). These are the plain
/// views without transformations that have their source for themselves; a source that serves
/// several views is read once, by SourceReader.
std::vector<const PlannedView*> StreamableViews(const FeaturePlan& plan);

using ViewArrays = std::vector<std::shared_ptr<arrow::Array>>;

/// The planned features of `views` for every entity row, of their declared types. One pass over the
/// entity rows encodes the keys of all views.
Result<std::map<const PlannedView*, ViewArrays>> JoinStreamedViews(
    const Context& context, const FeaturePlan& plan, const std::vector<const PlannedView*>& views,
    const OfflineStore& store, const arrow::Table& entity_rows, const RetrievalOptions& options,
    RetrievalStats* stats);

}  // namespace gnomon::feature
