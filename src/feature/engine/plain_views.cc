#include "feature/engine/plain_views.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/engine/filtered_table.h"
#include "feature/engine/view_source.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

using table::PartitionedTable;

/// Names that occur in the joined rows beside each other: those of the entity rows, where all but
/// keys and times may occur twice, and hidden ones of features.
class JoinedNames {
 public:
  explicit JoinedNames(const arrow::Schema& entity_rows) {
    const auto names = entity_rows.field_names();
    const auto is_taken = [&](const std::string& name) { return name.starts_with(prefix_); };
    while (std::ranges::any_of(names, is_taken)) prefix_.insert(prefix_.begin(), '_');
    arrow::FieldVector fields;
    for (const auto& field : entity_rows.fields()) {
      const bool unique = entity_rows.GetAllFieldIndices(field->name()).size() == 1;
      fields.push_back(unique ? field : field->WithName(Concat(prefix_, fields.size())));
    }
    left_ = arrow::schema(std::move(fields));
  }

  const std::shared_ptr<arrow::Schema>& left() const { return left_; }
  std::string Feature(size_t view, const std::string& name) const {
    return Concat(prefix_, "view", view, "_", name);
  }

 private:
  std::string prefix_ = "__";
  std::shared_ptr<arrow::Schema> left_;
};

dataset::AsOfFeatures RightSideOf(const PlannedView& planned, const ViewSource& source,
                                  const RetrievalOptions& options, int scan_group,
                                  const std::function<std::string(const std::string&)>& name_of) {
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
    features.outputs.push_back(name_of(field->name));
  }
  return features;
}

}  // namespace

Result<std::unique_ptr<PlainViews>> PlainViews::Open(
    const Context& context, const FeaturePlan& plan, std::vector<const PlannedView*> views,
    const std::shared_ptr<const table::PartitionedTable>& entity_rows,
    std::shared_ptr<dataset::AsOfLabels> labels, const OfflineStore& store,
    const SharedSources& shared, const std::vector<WindowRetrieval*>& windows,
    const RetrievalOptions& options) {
  std::unique_ptr<PlainViews> plain(new PlainViews(std::move(views)));
  const JoinedNames names(*entity_rows->schema());
  const auto times = labels->range().value_or(table::TimeRange{.min = 0, .max = 0});
  dataset::AsOfRequest request{.left = nullptr, .on = {}, .right = {}, .settings = options.join};
  request.left = PartitionedTable::Renamed(entity_rows, "the entity rows", names.left());
  GNOMON_ASSIGN_OR_RETURN(request.on, EventTimestampColumn(*entity_rows->schema()));
  request.labels = std::move(labels);
  for (WindowRetrieval* window : windows) {
    ViewPass& pass = window->pass();
    request.companions.push_back({shared.GroupOf(pass.source().view()), &pass});
  }
  int column = entity_rows->schema()->num_fields();
  for (const PlannedView* planned : plain->views_) {
    GNOMON_ASSIGN_OR_RETURN(
        ViewSource source,
        ViewSource::Open(context, *plan.definitions, *planned->view, store, ColumnsToRead(*planned),
                         RangeToRead(*planned, times.min, times.max, options), &plain->reads_,
                         shared.TableOf(*planned->view)));
    request.right.push_back(RightSideOf(
        *planned, source, options, shared.GroupOf(*planned->view),
        [&](const std::string& name) { return names.Feature(request.right.size(), name); }));
    plain->sources_.push_back(std::move(source));
    plain->first_column_[planned] = column;
    column += static_cast<int>(planned->features.size());
  }
  GNOMON_ASSIGN_OR_RETURN(plain->join_,
                          dataset::PointInTimeJoin::Make(context, std::move(request)));
  return plain;
}

Result<ViewArrays> PlainViews::FeaturesOf(const PlannedView& view,
                                          const arrow::RecordBatch& rows) const {
  ViewArrays arrays;
  int column = first_column_.at(&view);
  for (const Field* field : view.features) {
    auto cast = table::CastLossless(rows.column(column++), field->dtype.ToArrow());
    if (!cast.ok())
      return WithContext(cast.status(), Concat("feature ", view.view->name, ":", field->name));
    arrays.push_back(*std::move(cast));
  }
  return arrays;
}

std::string PlainViews::ExplainJoins(const dataset::AsOfSettings& settings) const {
  std::string text;
  for (size_t i = 0; i < views_.size(); ++i) {
    const dataset::AsOfStrategy& strategy = join_->stats().right[i].strategy;
    text += Concat("  join ", views_[i]->alias, ": ", strategy.ToString(), "\n    because ",
                   strategy.reason, "\n");
    if (!strategy.partitioned) continue;
    text += Concat("    a partition above ", strategy.slice_rows,
                   " rows is joined in slices of whole windows of ",
                   FormatDuration(settings.window_size_for_joins), "\n");
  }
  return text;
}

void PlainViews::AddStats(ReadRows* rows, RetrievalStats* stats) const {
  const dataset::AsOfStats& joined = join_->stats();
  stats->scans += joined.scans + reads_.scans;
  for (size_t i = 0; i < views_.size(); ++i) {
    const dataset::AsOfStats::Side& side = joined.right[i];
    stats->joins.emplace_back(views_[i]->alias,
                              Concat(side.strategy.ToString(), ", because ", side.strategy.reason));
    if (views_[i]->view->is_derived()) {
      --stats->scans;
      continue;
    }
    rows->Add(*views_[i]->view, side.rows);
  }
  stats->source_rows += reads_.rows;
  stats->spilled_bytes += joined.spilled_bytes;
}

}  // namespace gnomon::feature
