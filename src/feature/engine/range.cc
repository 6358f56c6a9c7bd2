#include <algorithm>
#include <numeric>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/memory_reservation.h"
#include "base/text.h"
#include "feature/engine/derived_columns.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/source_rows.h"
#include "feature/engine/view_columns.h"
#include "pit/time_unit.h"
#include "table/column.h"
#include "table/key_index.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;

/// Keys (of the entities' types) and event_timestamp (microseconds UTC, nanoseconds for sources
/// that have them).
Result<std::shared_ptr<arrow::Table>> EntityRows(const PlannedView& planned, const SourceRows& rows,
                                                 arrow::TimeUnit::type unit) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (size_t i = 0; i < rows.keys.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto key,
                            table::CastLossless(rows.keys[i], planned.key_types[i].ToArrow()));
    fields.push_back(arrow::field(planned.entity_columns[i], key->type()));
    arrays.push_back(std::move(key));
  }
  const auto type = arrow::timestamp(unit, "UTC");
  arrow::TimestampBuilder builder(type, arrow::default_memory_pool());
  for (const int64_t time : rows.times.times) {
    const pit::Nanos nanos = pit::ToNanos(time, rows.times.unit_nanos);
    GNOMON_RETURN_NOT_OK(
        builder.Append(pit::FloorToUnit(nanos, unit == arrow::TimeUnit::NANO ? 1 : kMicro)));
  }
  GNOMON_ASSIGN_OR_RETURN(auto times, builder.Finish());
  fields.push_back(arrow::field("event_timestamp", type));
  arrays.push_back(std::move(times));
  return arrow::Table::Make(arrow::schema(std::move(fields)), std::move(arrays), rows.num_rows);
}

/// Distinct rows in order of time, then first appearance. `memory` of the result and what is needed
/// for it.
Result<std::shared_ptr<arrow::Table>> DistinctByTime(const arrow::Table& rows,
                                                     MemoryReservation* memory) {
  // One piece and the result, ids and the order.
  GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, arrow::util::ReferencedBufferSize(rows));
  GNOMON_RETURN_NOT_OK(memory->Grow(2 * bytes + 12 * rows.num_rows()));
  GNOMON_ASSIGN_OR_RETURN(auto batch, table::SingleBatch(rows));
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const auto& field : batch->schema()->fields()) types.push_back(field->type());
  GNOMON_ASSIGN_OR_RETURN(table::KeyIndex index, table::KeyIndex::Make(types));
  std::vector<int32_t> ids(static_cast<size_t>(batch->num_rows()));
  GNOMON_RETURN_NOT_OK(index.Insert(batch->columns(), ids, memory));
  std::vector<int64_t> first;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == static_cast<int32_t>(first.size())) first.push_back(static_cast<int64_t>(i));
  }
  GNOMON_ASSIGN_OR_RETURN(auto times, table::RawTimes(*batch->column(batch->num_columns() - 1)));
  std::ranges::stable_sort(first, {}, [&](int64_t row) { return times[static_cast<size_t>(row)]; });
  arrow::ArrayVector columns;
  for (const auto& column : batch->columns()) {
    GNOMON_ASSIGN_OR_RETURN(auto values, table::Gather(arrow::ChunkedArray(column), first));
    columns.push_back(std::move(values));
  }
  return arrow::Table::Make(batch->schema(), std::move(columns),
                            static_cast<int64_t>(first.size()));
}

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
    GNOMON_ASSIGN_OR_RETURN(const auto entity_rows, EntityRows(planned(), *held_, unit()));
    GNOMON_ASSIGN_OR_RETURN(const auto keys, table::SingleBatch(*entity_rows));
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

}  // namespace

namespace {

/// The distinct keys and times of all views' rows.
Result<std::shared_ptr<arrow::Table>> DistinctEntityRows(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    const SourceRange& range, SourceReads* reads, MemoryReservation* memory) {
  const std::vector<std::string>& keys = plan.views.front().entity_columns;
  std::vector<const FeatureView*> views;
  for (const PlannedView& planned : plan.views) {
    if (!std::ranges::is_permutation(planned.entity_columns, keys)) {
      return MakeError(ErrorKind::kUser,
                       Concat("retrieval without entity rows needs views with the same join keys: ",
                              plan.views.front().alias, " has (", Join(keys, ", "), "), ",
                              planned.alias, " has (", Join(planned.entity_columns, ", "), ")"),
                       {}, "give entity rows");
    }
    views.push_back(planned.view);
  }
  GNOMON_ASSIGN_OR_RETURN(auto rows,
                          ReadSourceRows(context, *plan.definitions, views, store, range, reads));
  auto unit = arrow::TimeUnit::MICRO;
  for (const SourceRows& read : rows) {
    if (read.times.unit_nanos < kMicro) unit = arrow::TimeUnit::NANO;
  }
  std::vector<std::shared_ptr<arrow::Table>> parts;
  for (size_t i = 0; i < rows.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto part, EntityRows(plan.views[i], rows[i], unit));
    GNOMON_ASSIGN_OR_RETURN(part, part->SelectColumns([&] {
      std::vector<int> order;
      for (const std::string& name : keys) order.push_back(part->schema()->GetFieldIndex(name));
      order.push_back(part->schema()->GetFieldIndex("event_timestamp"));
      return order;
    }()));
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, arrow::util::ReferencedBufferSize(*part));
    GNOMON_RETURN_NOT_OK(memory->Grow(bytes));
    parts.push_back(std::move(part));
  }
  rows.clear();
  GNOMON_ASSIGN_OR_RETURN(const auto all, arrow::ConcatenateTables(parts));
  return DistinctByTime(*all, memory);
}

/// The rows of all views as of the distinct times.
class RowsOfViews : public HistoricalRows {
 public:
  RowsOfViews(const Context& context, const FeaturePlan& plan)
      : context_(context), plan_(plan), memory_(context.memory) {}

  Status Open(const OfflineStore& store, const SourceRange& range,
              const RetrievalOptions& options) {
    std::shared_ptr<arrow::Table> entity_rows;
    {
      MemoryReservation memory(context_.memory);
      GNOMON_ASSIGN_OR_RETURN(entity_rows,
                              DistinctEntityRows(context_, plan_, store, range, &reads_, &memory));
    }
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, arrow::util::ReferencedBufferSize(*entity_rows));
    GNOMON_RETURN_NOT_OK(memory_.Grow(bytes));
    GNOMON_ASSIGN_OR_RETURN(rows_, OpenHistorical(context_, plan_, store,
                                                  table::PartitionedTable::Of(
                                                      std::move(entity_rows), "the views' rows"),
                                                  options));
    return Status::OK();
  }

  const std::shared_ptr<arrow::Schema>& schema() const override { return rows_->schema(); }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_ASSIGN_OR_RETURN(auto batch, rows_->Next());
    stats_ = rows_->stats();
    stats_.source_rows += reads_.rows;
    stats_.scans += reads_.scans;
    return batch;
  }
  const RetrievalStats& stats() const override { return stats_; }

 private:
  const Context context_;
  const FeaturePlan& plan_;
  MemoryReservation memory_;  ///< of the distinct keys and times
  SourceReads reads_;
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
