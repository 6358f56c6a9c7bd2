#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/asof_join.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_columns.h"
#include "feature/engine/window_retrieval.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

/// The plain views of a retrieval, joined to the entity rows. No source is in memory as a whole:
/// keys and times stream past the labels, and the winning rows' features are gathered late, a block
/// of labels at a time (dataset/asof/asof_join.h). Not thread-safe.
class PlainViews {
 public:
  /// `views`, of the plan and no window views: maybe none. `labels` of `entity_rows`, with the keys
  /// of the views. The passes of `windows` over a source that one of the views reads too are run
  /// with it, when memory allows: ViewPass::has_begun tells. Everything given outlives the result.
  static Result<std::unique_ptr<PlainViews>> Open(
      const Context& context, const FeaturePlan& plan, std::vector<const PlannedView*> views,
      const std::shared_ptr<const table::PartitionedTable>& entity_rows,
      std::shared_ptr<dataset::AsOfLabels> labels, const OfflineStore& store,
      const SharedSources& shared, const std::vector<WindowRetrieval*>& windows,
      const RetrievalOptions& options);

  /// Reads the views' keys and times.
  Status Match() { return join_->Match(); }
  /// The next entity rows with the views' columns, in their order; null at the end.
  Result<std::shared_ptr<arrow::RecordBatch>> Next() { return join_->Next(); }
  /// The planned features of one of the views in such rows, of their declared types.
  Result<ViewArrays> FeaturesOf(const PlannedView& view, const arrow::RecordBatch& rows) const;
  /// The strategy of each view's join, with its reason.
  std::string ExplainJoins(const dataset::AsOfSettings& settings) const;
  /// What was read: rows are counted in `rows`, but for those below views over views.
  void AddStats(ReadRows* rows, RetrievalStats* stats) const;

 private:
  explicit PlainViews(std::vector<const PlannedView*> views) : views_(std::move(views)) {}

  const std::vector<const PlannedView*> views_;
  std::map<const PlannedView*, int> first_column_;  ///< of each view in the joined rows
  SourceReads reads_;
  std::vector<ViewSource> sources_;  ///< what they read of views below them is reserved meanwhile
  std::unique_ptr<dataset::PointInTimeJoin> join_;
};

}  // namespace gnomon::feature
