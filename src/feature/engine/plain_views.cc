#include "feature/engine/plain_views.h"

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
#include "feature/engine/view_source.h"
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

dataset::AsOfFeatures FeaturesOf(const PlannedView& planned, const ViewSource& source,
                                 const RetrievalOptions& options, int scan_group) {
  const DataSource& data = source.source();
  dataset::AsOfFeatures features{.table = nullptr,
                                 .left_by = planned.entity_columns,
                                 .by = planned.join_keys,
                                 .on = data.timestamp_field,
                                 .created = data.created_timestamp_column,
                                 .tolerance = std::max<int64_t>(0, planned.view->ttl),
                                 .filter_by_created = options.filter_by_created_timestamp &&
                                                      !data.created_timestamp_column.empty(),
                                 .created_before = options.created_before,
                                 .features = {}};
  features.table = FilterRows(source);
  features.scan_group = scan_group;
  for (const Field* field : planned.features) {
    features.features.push_back(field->name);
    features.outputs.push_back(Concat(planned.alias, "__", field->name));
  }
  return features;
}

void AddStats(const std::vector<const PlannedView*>& views, const dataset::AsOfStats& joined,
              const SourceReads& parents, ReadRows* rows, RetrievalStats* stats) {
  stats->scans += joined.scans + parents.scans;
  for (size_t i = 0; i < views.size(); ++i) {
    const dataset::AsOfStats::Side& side = joined.right[i];
    stats->joins.emplace_back(views[i]->alias, side.strategy.ToString());
    if (views[i]->view->is_derived()) {
      --stats->scans;
      continue;
    }
    rows->Add(*views[i]->view, side.rows);
  }
  stats->source_rows += parents.rows;
  stats->spilled_bytes += joined.spilled_bytes;
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

Result<std::map<const PlannedView*, ViewArrays>> JoinPlainViews(
    const Context& context, const FeaturePlan& plan, const std::vector<const PlannedView*>& views,
    const Labels& labels, const OfflineStore& store, const SharedSources& shared,
    const std::vector<WindowRetrieval*>& windows, const arrow::Table& entity_rows,
    const RetrievalOptions& options, ReadRows* rows, RetrievalStats* stats) {
  std::map<const PlannedView*, ViewArrays> result;
  if (views.empty()) return result;
  dataset::AsOfRequest request{.left = nullptr, .on = {}, .right = {}, .settings = options.join};
  for (WindowRetrieval* window : windows) {
    ViewPass& pass = window->pass();
    request.companions.push_back({shared.GroupOf(pass.source().view()), &pass});
  }
  GNOMON_ASSIGN_OR_RETURN(request.on, EventTimestampColumn(*entity_rows.schema()));
  GNOMON_ASSIGN_OR_RETURN(const auto left, LabelColumns(views, entity_rows, request.on));
  request.left = PartitionedTable::Of(left, "the entity rows");
  SourceReads reads;
  std::vector<ViewSource> sources;  // what they read of views below them is reserved as they live
  for (const PlannedView* planned : views) {
    GNOMON_ASSIGN_OR_RETURN(
        ViewSource source,
        ViewSource::Open(context, *plan.definitions, *planned->view, store, ColumnsToRead(*planned),
                         RangeToRead(*planned, labels.min_micros(), labels.max_micros(), options),
                         &reads, shared.TableOf(*planned->view)));
    request.right.push_back(FeaturesOf(*planned, source, options, shared.GroupOf(*planned->view)));
    sources.push_back(std::move(source));
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
  int first = left->num_columns();
  for (const PlannedView* view : views) {
    GNOMON_ASSIGN_OR_RETURN(result[view], ArraysOf(*view, *joined, first));
    first += static_cast<int>(view->features.size());
  }
  AddStats(views, join->stats(), reads, rows, stats);
  return result;
}

}  // namespace gnomon::feature
