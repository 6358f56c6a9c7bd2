#include "feature/engine/explain_joins.h"

#include <utility>
#include <vector>

#include "dataset/asof/asof_labels.h"
#include "feature/engine/plain_views.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_source.h"

namespace gnomon::feature {

Result<std::string> ExplainJoins(const Context& context, const FeaturePlan& plan,
                                 const OfflineStore& store,
                                 const std::shared_ptr<const table::PartitionedTable>& entity_rows,
                                 const RetrievalOptions& options) {
  std::vector<const PlannedView*> views;
  std::vector<std::vector<std::string>> key_sets;
  for (const PlannedView& planned : plan.views) {
    if (planned.view->is_window() || planned.view->is_derived()) continue;
    GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(*plan.definitions, *planned.view));
    if (source.type != "file") continue;
    views.push_back(&planned);
    key_sets.push_back(planned.entity_columns);
  }
  if (views.empty()) return std::string();
  GNOMON_ASSIGN_OR_RETURN(const std::string time, EventTimestampColumn(*entity_rows->schema()));
  GNOMON_ASSIGN_OR_RETURN(
      auto labels, dataset::AsOfLabels::Read(context, entity_rows, time, key_sets, options.join));
  GNOMON_ASSIGN_OR_RETURN(const auto plain,
                          PlainViews::Open(context, plan, std::move(views), entity_rows,
                                           std::move(labels), store, SharedSources(), {}, options));
  return plain->ExplainJoins(options.join);
}

}  // namespace gnomon::feature
