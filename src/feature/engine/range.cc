#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/engine/derived_columns.h"
#include "feature/engine/distinct_rows.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/source_rows.h"
#include "feature/engine/stage_rows.h"
#include "feature/engine/view_columns.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;

/// One plain view: its rows are the answer, batch by batch.
class RowsOfOneView : public HistoricalRows {
 public:
  RowsOfOneView(const Context& context, const FeaturePlan& plan)
      : context_(context), plan_(plan), columns_(ColumnsToRead(planned())) {}

  Status Open(const OfflineStore& store, const SourceRange& range) {
    SourceReads reads;
    GNOMON_ASSIGN_OR_RETURN(
        rows_, SourceRowStream::Read(context_, *plan_.definitions, *planned().view, store, columns_,
                                     range, &reads));
    stats_.source_rows = reads.rows;
    stats_.scans = reads.scans;
    stats_.spilled_bytes = rows_->spilled_bytes();
    arrow::FieldVector fields;
    for (size_t i = 0; i < planned().entity_columns.size(); ++i) {
      fields.push_back(arrow::field(planned().entity_columns[i], planned().key_types[i].ToArrow()));
    }
    fields.push_back(arrow::field("event_timestamp", arrow::timestamp(unit(), "UTC")));
    const arrow::Schema entity_rows(fields);
    for (size_t i = 0; i < plan_.outputs.size(); ++i) {
      const PlannedOutput& output = plan_.outputs[i];
      if (entity_rows.GetFieldIndex(output.name) >= 0) continue;
      outputs_.push_back(i);
      fields.push_back(arrow::field(output.name, output.dtype.ToArrow()));
    }
    schema_ = arrow::schema(std::move(fields));
    return Status::OK();
  }

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  const RetrievalStats& stats() const override { return stats_; }

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_RETURN_NOT_OK(context_.Check());
    held_.reset();
    GNOMON_ASSIGN_OR_RETURN(held_, rows_->Next());
    if (!held_) return nullptr;
    GNOMON_ASSIGN_OR_RETURN(const auto keys,
                            KeysAndTimes(planned(), *held_, unit() == arrow::TimeUnit::NANO));
    arrow::ArrayVector columns = keys->columns();
    GNOMON_ASSIGN_OR_RETURN(const PlanInputs inputs, InputsOf(*held_));
    auto outputs = EvaluateOutputs(plan_, inputs);
    if (!outputs.ok()) return WithRowMoved(outputs.status(), stats_.entity_rows);
    for (const size_t output : outputs_) columns.push_back((*outputs)[output]);
    stats_.entity_rows += held_->num_rows;
    return arrow::RecordBatch::Make(schema_, held_->num_rows, std::move(columns));
  }

 private:
  const PlannedView& planned() const { return plan_.views.front(); }
  Result<PlanInputs> InputsOf(const SourceRows& rows) const {
    PlanInputs inputs;
    inputs.num_rows = rows.num_rows;
    inputs.views.emplace_back();
    for (const Field* field : planned().features) {
      const auto place = std::ranges::find(columns_, field->name) - columns_.begin();
      GNOMON_ASSIGN_OR_RETURN(
          auto column,
          table::CastLossless(rows.columns[static_cast<size_t>(place)], field->dtype.ToArrow()));
      inputs.views.back().push_back(std::move(column));
    }
    return inputs;
  }
  arrow::TimeUnit::type unit() const {
    return rows_->time_unit() < kMicro ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO;
  }

  const Context context_;
  const FeaturePlan& plan_;
  const std::vector<std::string> columns_;
  std::unique_ptr<SourceRowStream> rows_;
  std::optional<SourceRows> held_;  ///< reserved until the next batch
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<size_t> outputs_;  ///< that are no columns already
  RetrievalStats stats_;
};

/// The rows of all views as of the distinct times.
class RowsOfViews : public HistoricalRows {
 public:
  RowsOfViews(const Context& context, const FeaturePlan& plan) : context_(context), plan_(plan) {}

  Status Open(const OfflineStore& store, const SourceRange& range,
              const RetrievalOptions& options) {
    GNOMON_ASSIGN_OR_RETURN(distinct_, DistinctEntityRows(context_, plan_, store, range));
    auto entity_rows = table::PartitionedTable::Of(distinct_.table, "the views' rows");
    GNOMON_ASSIGN_OR_RETURN(
        rows_, OpenHistorical(context_, plan_, store, std::move(entity_rows), options));
    return Status::OK();
  }

  const std::shared_ptr<arrow::Schema>& schema() const override { return rows_->schema(); }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_ASSIGN_OR_RETURN(auto batch, rows_->Next());
    stats_ = rows_->stats();
    stats_.source_rows += distinct_.reads.rows;
    stats_.scans += distinct_.reads.scans;
    stats_.spilled_bytes += distinct_.spilled_bytes;
    return batch;
  }
  const RetrievalStats& stats() const override { return stats_; }

 private:
  const Context context_;
  const FeaturePlan& plan_;
  DistinctRows distinct_;
  std::unique_ptr<HistoricalRows> rows_;
  RetrievalStats stats_;
};

}  // namespace

Result<std::unique_ptr<HistoricalRows>> OpenRange(const Context& context, const FeaturePlan& plan,
                                                  const OfflineStore& store, int64_t start,
                                                  int64_t end, const RetrievalOptions& options) {
  if (start > end) return Error(ErrorKind::kUser, "start is after end");
  if (!plan.request_fields.empty()) {
    return Error(ErrorKind::kUser, "retrieval without entity rows cannot give request data: ",
                 Quoted(plan.request_fields.front().name));
  }
  const SourceRange range{.min = start, .max = end, .created_before = options.created_before};
  if (options.in_processes) {
    auto rows = OpenRangeInProcesses(context, plan, store, start, end, options);
    if (rows.ok() || KindOf(rows.status()) != ErrorKind::kUnsupported) return rows;
  }
  if (plan.views.size() == 1 && !plan.views.front().view->is_window()) {
    auto rows = std::make_unique<RowsOfOneView>(context, plan);
    GNOMON_RETURN_NOT_OK(rows->Open(store, range));
    return rows;
  }
  auto rows = std::make_unique<RowsOfViews>(context, plan);
  GNOMON_RETURN_NOT_OK(rows->Open(store, range, options));
  return rows;
}

Result<std::shared_ptr<arrow::Table>> RetrieveRange(const Context& context, const FeaturePlan& plan,
                                                    const OfflineStore& store, int64_t start,
                                                    int64_t end, const RetrievalOptions& options,
                                                    RetrievalStats* stats) {
  GNOMON_ASSIGN_OR_RETURN(const auto rows, OpenRange(context, plan, store, start, end, options));
  GNOMON_ASSIGN_OR_RETURN(auto table, CollectRows(context, rows.get()));
  if (stats != nullptr) *stats = rows->stats();
  return table;
}

}  // namespace gnomon::feature
