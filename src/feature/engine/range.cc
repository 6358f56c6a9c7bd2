#include <algorithm>
#include <numeric>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
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

/// Distinct rows in order of time, then first appearance.
Result<std::shared_ptr<arrow::Table>> DistinctByTime(const arrow::Table& rows) {
  GNOMON_ASSIGN_OR_RETURN(auto batch, table::SingleBatch(rows));
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const auto& field : batch->schema()->fields()) types.push_back(field->type());
  GNOMON_ASSIGN_OR_RETURN(table::KeyIndex index, table::KeyIndex::Make(types));
  std::vector<int32_t> ids(static_cast<size_t>(batch->num_rows()));
  GNOMON_RETURN_NOT_OK(index.Insert(batch->columns(), ids));
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

/// One plain view: its rows are the answer.
Result<std::shared_ptr<arrow::Table>> OneView(const Context& context, const FeaturePlan& plan,
                                              const OfflineStore& store, const SourceRange& range,
                                              SourceReads* reads) {
  const PlannedView& planned = plan.views.front();
  const std::vector<std::string> columns = ColumnsToRead(planned);
  GNOMON_ASSIGN_OR_RETURN(
      const SourceRows rows,
      ReadSourceRows(context, *plan.definitions, *planned.view, store, columns, range, reads));
  const auto unit = rows.times.unit_nanos < kMicro ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO;
  GNOMON_ASSIGN_OR_RETURN(auto result, EntityRows(planned, rows, unit));
  PlanInputs inputs;
  inputs.num_rows = rows.num_rows;
  inputs.views.emplace_back();
  for (const Field* field : planned.features) {
    const auto place = std::ranges::find(columns, field->name) - columns.begin();
    GNOMON_ASSIGN_OR_RETURN(
        auto column,
        table::CastLossless(rows.columns[static_cast<size_t>(place)], field->dtype.ToArrow()));
    inputs.views.back().push_back(std::move(column));
  }
  GNOMON_ASSIGN_OR_RETURN(auto outputs, EvaluateOutputs(plan, inputs));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (result->schema()->GetFieldIndex(plan.outputs[i].name) >= 0) continue;
    GNOMON_ASSIGN_OR_RETURN(
        result, result->AddColumn(result->num_columns(),
                                  arrow::field(plan.outputs[i].name, outputs[i]->type()),
                                  std::make_shared<arrow::ChunkedArray>(outputs[i])));
  }
  return result;
}

}  // namespace

Result<std::shared_ptr<arrow::Table>> RetrieveRange(const Context& context, const FeaturePlan& plan,
                                                    const OfflineStore& store, int64_t start,
                                                    int64_t end, const RetrievalOptions& options,
                                                    RetrievalStats* stats) {
  if (start > end) return Error(ErrorKind::kUser, "start is after end");
  if (!plan.request_fields.empty()) {
    return Error(ErrorKind::kUser, "retrieval without entity rows cannot give request data: ",
                 Quoted(plan.request_fields.front().name));
  }
  const SourceRange range{.min = start, .max = end, .created_before = options.created_before};
  if (plan.views.size() == 1 && !plan.views.front().view->is_window()) {
    SourceReads reads;
    GNOMON_ASSIGN_OR_RETURN(auto result, OneView(context, plan, store, range, &reads));
    if (stats != nullptr) {
      stats->source_rows = reads.rows;
      stats->scans = reads.scans;
      stats->entity_rows = result->num_rows();
    }
    return result;
  }

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
  SourceReads reads;
  GNOMON_ASSIGN_OR_RETURN(auto rows,
                          ReadSourceRows(context, *plan.definitions, views, store, range, &reads));
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
    parts.push_back(std::move(part));
  }
  rows.clear();
  GNOMON_ASSIGN_OR_RETURN(auto all, arrow::ConcatenateTables(parts));
  GNOMON_ASSIGN_OR_RETURN(auto entity_rows, DistinctByTime(*all));
  parts.clear();
  all.reset();
  auto result = RetrieveHistorical(context, plan, store, *entity_rows, options, stats);
  if (stats != nullptr) {
    stats->source_rows += reads.rows;
    stats->scans += reads.scans;
  }
  return result;
}

}  // namespace gnomon::feature
