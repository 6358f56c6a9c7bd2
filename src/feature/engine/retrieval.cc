#include "feature/engine/retrieval.h"

#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/memory.h"
#include "base/memory_reservation.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/engine/stage_retrieval.h"
#include "feature/engine/view_columns.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

/// Batches of a table as they lie.
class TableRows : public HistoricalRows {
 public:
  TableRows(std::shared_ptr<arrow::Table> table, RetrievalStats stats)
      : table_(std::move(table)), stats_(std::move(stats)), reader_(*table_) {}

  const std::shared_ptr<arrow::Schema>& schema() const override { return table_->schema(); }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override { return reader_.Next(); }
  const RetrievalStats& stats() const override { return stats_; }

 private:
  const std::shared_ptr<arrow::Table> table_;
  const RetrievalStats stats_;
  arrow::TableBatchReader reader_;
};

}  // namespace

std::unique_ptr<HistoricalRows> RowsOfTable(std::shared_ptr<arrow::Table> table,
                                            RetrievalStats stats) {
  return std::make_unique<TableRows>(std::move(table), std::move(stats));
}

Result<std::shared_ptr<arrow::Table>> CollectRows(const Context& context, HistoricalRows* rows,
                                                  int held_columns) {
  MemoryReservation memory(context.memory);
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, rows->Next());
    if (batch == nullptr) break;
    int64_t bytes = 0;
    for (int i = held_columns; i < batch->num_columns(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(const int64_t of_column,
                              arrow::util::ReferencedBufferSize(*batch->column(i)));
      bytes += of_column;
    }
    GNOMON_RETURN_NOT_OK(WithHint(WithContext(memory.Grow(bytes), "rows of a retrieval"),
                                  "raise --memory-limit (memory_limit in feature_store.yaml), or "
                                  "write them to a file, batch by batch"));
    batches.push_back(std::move(batch));
  }
  return arrow::Table::FromRecordBatches(rows->schema(), batches);
}

Result<std::string> EventTimestampColumn(const arrow::Schema& schema) {
  std::vector<std::string> times;
  for (const auto& field : schema.fields()) {
    if (!table::IsTime(*field->type())) continue;
    if (field->name() == "event_timestamp") return field->name();
    times.push_back(field->name());
  }
  if (times.size() == 1) return times.front();
  if (const auto column = schema.GetFieldByName("event_timestamp"); column != nullptr) {
    return MakeError(ErrorKind::kUser,
                     Concat("column event_timestamp of the entity rows is no time but ",
                            column->type()->ToString()),
                     {}, "every value must be a time, in text files as 2024-01-05T12:30:00Z");
  }
  if (times.empty()) {
    return MakeError(ErrorKind::kUser, "entity rows have no timestamp column", {},
                     "add a column event_timestamp of a timestamp type");
  }
  return MakeError(ErrorKind::kUser,
                   Concat("entity rows have several timestamp columns: ", Join(times, ", ")), {},
                   "name the one that counts event_timestamp");
}

Result<std::shared_ptr<arrow::Table>> RetrieveHistorical(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    const arrow::Table& entity_rows, const RetrievalOptions& options, RetrievalStats* stats) {
  RetrievalStats unused;
  if (stats == nullptr) stats = &unused;
  RetrievalOptions here = options;
  if (options.in_processes) {
    auto table = RetrieveInProcesses(context, plan, store, entity_rows.Slice(0), options, stats);
    if (table.ok() || KindOf(table.status()) != ErrorKind::kUnsupported) return table;
    stats->joins.emplace_back("stages",
                              Concat("none, all in this process: ", table.status().message()));
    here.in_processes = false;
  }
  const auto joins = stats->joins;
  GNOMON_ASSIGN_OR_RETURN(
      const auto rows,
      OpenHistorical(context, plan, store,
                     table::PartitionedTable::Of(entity_rows.Slice(0), "the entity rows"), here));
  GNOMON_ASSIGN_OR_RETURN(auto table, CollectRows(context, rows.get(), entity_rows.num_columns()));
  *stats = rows->stats();
  stats->joins.insert(stats->joins.begin(), joins.begin(), joins.end());
  return table;
}

std::string ExplainRetrieval(const FeaturePlan& plan, const RetrievalOptions& options) {
  std::string text =
      Concat("retrieve ", plan.outputs.size(), " features from ", plan.views.size(), " views");
  if (!plan.feature_service.empty())
    text += Concat(" (feature service ", plan.feature_service, ")");
  text += "\n";
  for (const PlannedView& planned : plan.views) {
    const FeatureView& view = *planned.view;
    text += Concat("  view ", view.name);
    if (planned.alias != view.name) text += Concat(" as ", planned.alias);
    text += Concat(": ", planned.features.size(), " features by (",
                   Join(planned.entity_columns, ", "), ")\n");
    text += Concat("    ", view.is_derived() ? "rows of feature views " : "scan ",
                   view.is_derived() ? Join(view.source_views, ", ") : view.source, ": columns ",
                   Join(ColumnsToRead(planned), ", "), "; row groups ");
    if (view.is_window()) {
      const auto window = LongestWindow(planned);
      text += window ? Concat("outside the labels' time range minus ", FormatDuration(*window))
                     : std::string("after the last label (a lifetime window has no beginning)");
    } else {
      text += view.ttl > 0 ? Concat("outside the labels' time range minus the ttl of ",
                                    FormatDuration(view.ttl))
                           : std::string("after the last label (no ttl)");
    }
    text += " are not read\n";
    for (const Transformation& step : view.transformations) {
      text += Concat("    transform ", step.name, " = ", step.expression, "\n");
    }
    if (!view.filter.empty()) text += Concat("    filter ", view.filter, "\n");
    if (view.is_window()) {
      text +=
          "    window aggregates at each label's own time: events sorted per entity, windows slide "
          "over the labels\n";
    } else {
      text += "    latest row as of each label: keys and times first, then the winning rows\n";
    }
    if (options.filter_by_created_timestamp)
      text += "    rows created after the label's time do not exist for it\n";
  }
  const dataset::AsOfSettings& join = options.join;
  text +=
      Concat("  joins: ", join.max_workers > 0 ? Concat(join.max_workers) : "all", " workers; ");
  text += join.enable_optimization ? Concat("the smaller side is broadcast up to ",
                                            FormatBytes(join.broadcast_join_threshold))
                                   : std::string("always partitioned");
  text += Concat("; partitions of about ", FormatBytes(join.target_partition_size), ", at least ",
                 join.max_parallelism_multiplier, " for each worker, cut into slices of ",
                 FormatDuration(join.window_size_for_joins), " where they do not fit\n");
  if (options.created_before) {
    text += Concat("  rows created after ", FormatTimestamp(*options.created_before),
                   " do not exist\n");
  }
  for (const PlannedExpression& expression : plan.expressions) {
    text += Concat("  on demand ", expression.view->name, ":", expression.field->name, " from ",
                   Join(expression.input_names, ", "), "\n");
  }
  return text;
}

}  // namespace gnomon::feature
