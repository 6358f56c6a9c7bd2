#include "feature/engine/streamed_views.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/asof/asof_join.h"
#include "feature/engine/filtered_table.h"
#include "feature/engine/view_columns.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

using table::PartitionedTable;

/// Key columns and the time column, each once.
Result<std::shared_ptr<arrow::Table>> LabelColumns(const std::vector<const PlannedView*>& views,
                                                   const arrow::Table& entity_rows,
                                                   const std::string& time) {
  std::vector<std::string> names = {time};
  for (const PlannedView* view : views) {
    for (const std::string& name : view->entity_columns) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  std::vector<int> places;
  for (const std::string& name : names) {
    const int place = entity_rows.schema()->GetFieldIndex(name);
    if (place < 0) {
      return Error(ErrorKind::kUser, "entity rows have no column, or several, named ",
                   Quoted(name));
    }
    places.push_back(place);
  }
  return entity_rows.SelectColumns(places);
}

Result<dataset::AsOfFeatures> FeaturesOf(const Context& context, const FeaturePlan& plan,
                                         const PlannedView& planned, const OfflineStore& store,
                                         const RetrievalOptions& options) {
  const FeatureView& view = *planned.view;
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(*plan.definitions, view));
  dataset::AsOfFeatures features{.table = nullptr,
                                 .left_by = planned.entity_columns,
                                 .by = planned.join_keys,
                                 .on = source.timestamp_field,
                                 .created = source.created_timestamp_column,
                                 .tolerance = std::max<int64_t>(0, view.ttl),
                                 .filter_by_created = options.filter_by_created_timestamp &&
                                                      !source.created_timestamp_column.empty(),
                                 .created_before = options.created_before,
                                 .features = {}};
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<const PartitionedTable> rows,
                          store.Open(context, source, planned.join_keys));
  rows =
      PartitionedTable::Renamed(rows, Concat("feature view ", Quoted(view.name)), rows->schema());
  if (!view.filter.empty()) {
    GNOMON_ASSIGN_OR_RETURN(
        rows, FilterRows(rows, view.filter, plan.definitions->functions(), source.timestamp_field));
  }
  features.table = std::move(rows);
  for (const Field* field : planned.features) {
    features.features.push_back(field->name);
    features.outputs.push_back(Concat(planned.alias, "__", field->name));
  }
  return features;
}

/// The features of one view in the joined batches, from column `first` on.
Result<ViewArrays> ArraysOf(const PlannedView& planned, const arrow::Table& joined, int first) {
  ViewArrays arrays;
  for (size_t i = 0; i < planned.features.size(); ++i) {
    const Field& field = *planned.features[i];
    GNOMON_ASSIGN_OR_RETURN(auto values,
                            table::SingleChunk(*joined.column(first + static_cast<int>(i))));
    auto cast = table::CastLossless(values, field.dtype.ToArrow());
    if (!cast.ok()) {
      return WithContext(cast.status(), Concat("feature ", planned.view->name, ":", field.name));
    }
    arrays.push_back(*std::move(cast));
  }
  return arrays;
}

}  // namespace

std::vector<const PlannedView*> StreamableViews(const FeaturePlan& plan) {
  std::map<std::string, int> users;
  for (const PlannedView& planned : plan.views) {
    // The rows of a derived view come from other views' sources.
    if (planned.view->is_derived()) return {};
    ++users[planned.view->source];
  }
  std::vector<const PlannedView*> views;
  for (const PlannedView& planned : plan.views) {
    const FeatureView& view = *planned.view;
    if (!view.is_window() && view.transformations.empty() && users[view.source] == 1)
      views.push_back(&planned);
  }
  return views;
}

Result<std::map<const PlannedView*, ViewArrays>> JoinStreamedViews(
    const Context& context, const FeaturePlan& plan, const std::vector<const PlannedView*>& views,
    const OfflineStore& store, const arrow::Table& entity_rows, const RetrievalOptions& options,
    RetrievalStats* stats) {
  std::map<const PlannedView*, ViewArrays> result;
  if (views.empty()) return result;
  dataset::AsOfRequest request{.left = nullptr, .on = {}, .right = {}, .settings = options.join};
  GNOMON_ASSIGN_OR_RETURN(request.on, EventTimestampColumn(*entity_rows.schema()));
  GNOMON_ASSIGN_OR_RETURN(const auto labels, LabelColumns(views, entity_rows, request.on));
  request.left = PartitionedTable::Of(labels, "the entity rows");
  for (const PlannedView* view : views) {
    GNOMON_ASSIGN_OR_RETURN(auto features, FeaturesOf(context, plan, *view, store, options));
    request.right.push_back(std::move(features));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto join,
                          dataset::PointInTimeJoin::Make(context, std::move(request)));
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, join->Next());
    if (batch == nullptr) break;
    batches.push_back(std::move(batch));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto joined,
                          arrow::Table::FromRecordBatches(join->schema(), batches));
  int first = labels->num_columns();
  for (const PlannedView* view : views) {
    GNOMON_ASSIGN_OR_RETURN(result[view], ArraysOf(*view, *joined, first));
    first += static_cast<int>(view->features.size());
  }
  for (size_t i = 0; i < views.size(); ++i) {
    const dataset::AsOfStats::Side& side = join->stats().right[i];
    stats->source_rows += side.rows;
    stats->joins.emplace_back(views[i]->alias, side.strategy.ToString());
  }
  stats->spilled_bytes += join->stats().spilled_bytes;
  stats->scans += static_cast<int64_t>(views.size());
  return result;
}

}  // namespace gnomon::feature
