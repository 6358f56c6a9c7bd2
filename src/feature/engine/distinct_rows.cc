#include "feature/engine/distinct_rows.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/memory.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "feature/engine/row_partitions.h"
#include "pit/time_unit.h"
#include "table/column.h"
#include "table/key_index.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;
constexpr const char* kTime = "event_timestamp";
constexpr const char* kInput = "rows of the views";

using Streams = std::vector<std::unique_ptr<SourceRowStream>>;

/// The views' rows, one view after another, in columns of one order.
class RowsOfViews : public dataset::BatchSource {
 public:
  RowsOfViews(const Context& context, const FeaturePlan& plan, Streams streams, bool nanos,
              std::vector<std::string> names)
      : context_(context),
        plan_(plan),
        streams_(std::move(streams)),
        nanos_(nanos),
        names_(std::move(names)) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_RETURN_NOT_OK(context_.Check());
    held_.reset();
    for (; view_ < streams_.size(); streams_[view_++].reset()) {
      GNOMON_ASSIGN_OR_RETURN(held_, streams_[view_]->Next());
      if (held_) break;
    }
    if (!held_) return nullptr;
    GNOMON_ASSIGN_OR_RETURN(const auto batch, KeysAndTimes(plan_.views[view_], *held_, nanos_));
    std::vector<int> order;
    for (const std::string& name : names_) order.push_back(batch->schema()->GetFieldIndex(name));
    return batch->SelectColumns(order);
  }

 private:
  const Context& context_;
  const FeaturePlan& plan_;
  Streams streams_;
  const bool nanos_;
  const std::vector<std::string> names_;
  size_t view_ = 0;
  std::optional<SourceRows> held_;  ///< reserved until the next batch
};

Status CheckSameKeys(const FeaturePlan& plan) {
  const PlannedView& first = plan.views.front();
  for (const PlannedView& planned : plan.views) {
    if (std::ranges::is_permutation(planned.entity_columns, first.entity_columns)) continue;
    return MakeError(ErrorKind::kUser,
                     Concat("retrieval without entity rows needs views with the same join keys: ",
                            first.alias, " has (", Join(first.entity_columns, ", "), "), ",
                            planned.alias, " has (", Join(planned.entity_columns, ", "), ")"),
                     {}, "give entity rows");
  }
  return Status::OK();
}

std::shared_ptr<arrow::Schema> EntityRowSchema(const PlannedView& planned, bool nanos) {
  arrow::FieldVector fields;
  for (size_t i = 0; i < planned.entity_columns.size(); ++i)
    fields.push_back(arrow::field(planned.entity_columns[i], planned.key_types[i].ToArrow()));
  const auto unit = nanos ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO;
  fields.push_back(arrow::field(kTime, arrow::timestamp(unit, "UTC")));
  return arrow::schema(std::move(fields));
}

/// Each row once, with all keys, in order of time: the sort keeps the order of first appearance.
dataset::Dataset DistinctByTime(const std::shared_ptr<arrow::Schema>& schema) {
  dataset::Dataset rows(dataset::MakeNode(dataset::InputSpec{.name = kInput, .schema = schema}));
  std::vector<std::string> conditions;
  for (const std::string& name : schema->field_names()) {
    if (name != kTime)
      conditions.push_back(Concat(dataset::ColumnExpression(name), " is not null"));
  }
  if (!conditions.empty()) rows = rows.Filter(Join(conditions, " and "));
  return rows.Aggregate(schema->field_names(), {}).Sort({{.column = kTime}});
}

/// Floating point is no join key, here as elsewhere.
Status CheckKeyTypes(const arrow::Schema& schema) {
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const auto& field : schema.fields()) types.push_back(field->type());
  return table::KeyIndex::Make(types).status();
}

/// All batches as a table, as far as there is room in memory and beyond it in a mapped file.
Status Store(const Context& context, const std::shared_ptr<arrow::Schema>& schema,
             dataset::Execution* execution, DistinctRows* rows) {
  RowPartitions kept(context, schema, 1, std::string());
  int64_t position = 0;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, execution->Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(kept.AddBatch(position++, *batch));
  }
  for (const dataset::OperatorStats& stats : execution->Stats())
    rows->spilled_bytes += stats.spilled_bytes;
  GNOMON_RETURN_NOT_OK(kept.Finish());
  rows->spilled_bytes += kept.spilled_bytes();
  return kept.TakeTable(&rows->memory).Value(&rows->table);
}

}  // namespace

Result<std::shared_ptr<arrow::RecordBatch>> KeysAndTimes(const PlannedView& planned,
                                                         const SourceRows& rows, bool nanos) {
  arrow::ArrayVector arrays;
  for (size_t i = 0; i < rows.keys.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto key,
                            table::CastLossless(rows.keys[i], planned.key_types[i].ToArrow()));
    arrays.push_back(std::move(key));
  }
  auto schema = EntityRowSchema(planned, nanos);
  arrow::TimestampBuilder builder(schema->fields().back()->type(), arrow::default_memory_pool());
  GNOMON_RETURN_NOT_OK(builder.Reserve(rows.num_rows));
  for (const int64_t time : rows.times.times) {
    const pit::Nanos instant = pit::ToNanos(time, rows.times.unit_nanos);
    builder.UnsafeAppend(pit::FloorToUnit(instant, nanos ? 1 : kMicro));
  }
  GNOMON_ASSIGN_OR_RETURN(arrays.emplace_back(), builder.Finish());
  return arrow::RecordBatch::Make(std::move(schema), rows.num_rows, std::move(arrays));
}

Result<DistinctRows> DistinctEntityRows(const Context& context, const FeaturePlan& plan,
                                        const OfflineStore& store, const SourceRange& range) {
  GNOMON_RETURN_NOT_OK(CheckSameKeys(plan));
  DistinctRows distinct;
  distinct.memory = MemoryReservation(context.memory);
  std::vector<const FeatureView*> views;
  for (const PlannedView& planned : plan.views) views.push_back(planned.view);
  GNOMON_ASSIGN_OR_RETURN(Streams streams, ReadSourceRows(context, *plan.definitions, views, store,
                                                          range, &distinct.reads));
  bool nanos = false;
  for (const auto& stream : streams) {
    nanos = nanos || stream->time_unit() < kMicro;
    distinct.spilled_bytes += stream->spilled_bytes();
  }
  const auto schema = EntityRowSchema(plan.views.front(), nanos);
  GNOMON_RETURN_NOT_OK(CheckKeyTypes(*schema));
  dataset::ExecutionOptions options;
  options.inputs[kInput] = [&]() -> Result<std::unique_ptr<dataset::BatchSource>> {
    return std::make_unique<RowsOfViews>(context, plan, std::move(streams), nanos,
                                         schema->field_names());
  };
  // Half for the operators, which hold batches beyond what they count.
  MemoryBudget half("distinct keys and times",
                    context.memory == nullptr ? 0 : context.memory->limit() / 2, context.memory);
  Context operators = context;
  operators.memory = &half;
  GNOMON_ASSIGN_OR_RETURN(const auto execution, DistinctByTime(schema).Stream(operators, options));
  GNOMON_RETURN_NOT_OK(Store(context, schema, execution.get(), &distinct));
  return distinct;
}

}  // namespace gnomon::feature
