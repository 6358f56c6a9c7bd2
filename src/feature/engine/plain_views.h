#pragma once

#include <map>
#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_columns.h"
#include "feature/engine/window_retrieval.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

/// The planned features of `views`, none of which is a window view, for every entity row, of their
/// declared types. No source is in memory as a whole: keys and times stream past the labels, and
/// the winning rows' features are gathered late (dataset/asof/asof_join.h). One pass over the
/// entity rows encodes the keys of all views. The passes of `windows` over a source that one of
/// these views reads too are run with it, when memory allows: ViewPass::has_begun tells. Rows are
/// counted in `rows`, but for those below views over views.
Result<std::map<const PlannedView*, ViewArrays>> JoinPlainViews(
    const Context& context, const FeaturePlan& plan, const std::vector<const PlannedView*>& views,
    const Labels& labels, const OfflineStore& store, const SharedSources& shared,
    const std::vector<WindowRetrieval*>& windows, const arrow::Table& entity_rows,
    const RetrievalOptions& options, ReadRows* rows, RetrievalStats* stats);

}  // namespace gnomon::feature
