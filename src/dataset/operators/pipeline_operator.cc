#include <algorithm>
#include <deque>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "base/text.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"
#include "pit/time_unit.h"
#include "table/column.h"

/// Nodes that look at one row at a time, fused: a batch goes through all of them while it is warm,
/// several batches side by side, and they come out in their order.
namespace gnomon::dataset::internal {

namespace {

class Step {
 public:
  virtual ~Step() = default;
  virtual Result<BatchPtr> Apply(const BatchPtr& batch) const = 0;
};

class FilterStep : public Step {
 public:
  FilterStep(const Context& context, expr::BoundExpression predicate)
      : context_(context), predicate_(std::move(predicate)) {}
  Result<BatchPtr> Apply(const BatchPtr& batch) const override {
    GNOMON_ASSIGN_OR_RETURN(const auto selected, predicate_.Select(*batch));
    if (static_cast<int64_t>(selected.size()) == batch->num_rows()) return batch;
    return GatherRows(context_, batch, selected);
  }

 private:
  const Context& context_;
  const expr::BoundExpression predicate_;
};

/// Each output column is a column of the input or an expression.
class ColumnsStep : public Step {
 public:
  struct Column {
    int input = -1;
    std::optional<expr::BoundExpression> expression = {};
    std::shared_ptr<arrow::DataType> type = nullptr;  ///< what it is brought to; null: it stays
  };
  ColumnsStep(SchemaPtr schema, std::vector<Column> columns)
      : schema_(std::move(schema)), columns_(std::move(columns)) {}
  Result<BatchPtr> Apply(const BatchPtr& batch) const override {
    arrow::ArrayVector arrays;
    arrays.reserve(columns_.size());
    for (const Column& column : columns_) {
      std::shared_ptr<arrow::Array> array;
      if (column.expression) {
        GNOMON_ASSIGN_OR_RETURN(array, column.expression->Evaluate(*batch));
      } else {
        array = batch->column(column.input);
      }
      if (column.type != nullptr) {
        auto cast = table::CastLossless(array, column.type);
        const std::string& name = schema_->field(static_cast<int>(arrays.size()))->name();
        GNOMON_RETURN_NOT_OK(WithContext(cast.status(), Quoted(name)));
        array = *std::move(cast);
      }
      arrays.push_back(std::move(array));
    }
    return arrow::RecordBatch::Make(schema_, batch->num_rows(), std::move(arrays));
  }

 private:
  const SchemaPtr schema_;
  const std::vector<Column> columns_;
};

class FunctionStep : public Step {
 public:
  FunctionStep(const Context& context, const BatchFunction* function, MapBatchesSpec spec)
      : context_(context), function_(function), spec_(std::move(spec)) {}
  Result<BatchPtr> Apply(const BatchPtr& batch) const override {
    auto result = function_->apply(context_, batch, spec_.parameters);
    GNOMON_RETURN_NOT_OK(WithContext(result.status(), spec_.function));
    if (*result == nullptr || !(*result)->schema()->Equals(*spec_.output_schema, false)) {
      return Error(ErrorKind::kUser, "batch function ", Quoted(spec_.function),
                   " gave another schema than it promised");
    }
    if ((*result)->num_rows() != batch->num_rows()) {
      return Error(ErrorKind::kUser, "row-wise batch function ", Quoted(spec_.function), " gave ",
                   (*result)->num_rows(), " rows for ", batch->num_rows());
    }
    return result;
  }

 private:
  const Context& context_;
  const BatchFunction* const function_;
  const MapBatchesSpec spec_;
};

class TimeRangeStep : public Step {
 public:
  TimeRangeStep(const Context& context, SchemaPtr schema, const arrow::Schema& input,
                const TimeRangeSpec& spec)
      : context_(context),
        schema_(std::move(schema)),
        time_(input.GetFieldIndex(spec.time)),
        created_(spec.created_before ? input.GetFieldIndex(spec.created) : -1),
        adds_(!spec.name.empty()) {
    if (spec.first) first_ = pit::ToNanos(*spec.first, kMicro);
    if (spec.last) last_ = pit::ToNanos(*spec.last, kMicro);
    if (spec.created_before) created_before_ = pit::ToNanos(*spec.created_before, kMicro);
  }

  Result<BatchPtr> Apply(const BatchPtr& batch) const override {
    GNOMON_ASSIGN_OR_RETURN(const auto selected, Select(*batch));
    BatchPtr rows = batch;
    if (static_cast<int64_t>(selected.size()) < batch->num_rows()) {
      GNOMON_ASSIGN_OR_RETURN(rows, GatherRows(context_, batch, selected));
    }
    if (!adds_) return rows;
    arrow::ArrayVector arrays = rows->columns();
    GNOMON_ASSIGN_OR_RETURN(arrays.emplace_back(), InUnit(*rows->column(time_)));
    return arrow::RecordBatch::Make(schema_, rows->num_rows(), std::move(arrays));
  }

 private:
  static constexpr int64_t kMicro = 1000;

  Result<std::vector<int64_t>> Select(const arrow::RecordBatch& batch) const {
    const arrow::Array& times = *batch.column(time_);
    const int64_t unit = table::UnitNanos(*times.type());
    GNOMON_ASSIGN_OR_RETURN(const auto values, table::RawTimes(times));
    std::vector<int64_t> selected;
    for (int64_t i = 0; i < times.length(); ++i) {
      const pit::Nanos time = pit::ToNanos(values[static_cast<size_t>(i)], unit);
      if (times.IsValid(i) && (!first_ || time >= *first_) && (!last_ || time <= *last_))
        selected.push_back(i);
    }
    if (created_ >= 0) GNOMON_RETURN_NOT_OK(DropLate(*batch.column(created_), &selected));
    return selected;
  }

  Status DropLate(const arrow::Array& created, std::vector<int64_t>* rows) const {
    const int64_t unit = table::UnitNanos(*created.type());
    GNOMON_ASSIGN_OR_RETURN(const auto values, table::RawTimes(created));
    std::erase_if(*rows, [&](int64_t row) {
      return created.IsValid(row) &&
             pit::ToNanos(values[static_cast<size_t>(row)], unit) > created_before_;
    });
    return Status::OK();
  }

  Result<std::shared_ptr<arrow::Array>> InUnit(const arrow::Array& times) const {
    const auto& type = schema_->fields().back()->type();
    const int64_t from = table::UnitNanos(*times.type());
    const int64_t to = table::UnitNanos(*type);
    GNOMON_ASSIGN_OR_RETURN(const auto values, table::RawTimes(times));
    arrow::TimestampBuilder builder(type, arrow::default_memory_pool());
    GNOMON_RETURN_NOT_OK(builder.Reserve(times.length()));
    for (const int64_t value : values)
      builder.UnsafeAppend(pit::FloorToUnit(pit::ToNanos(value, from), to));
    return builder.Finish();
  }

  const Context& context_;
  const SchemaPtr schema_;
  const int time_;
  const int created_;  ///< -1: not looked at
  const bool adds_;
  std::optional<pit::Nanos> first_;
  std::optional<pit::Nanos> last_;
  pit::Nanos created_before_ = 0;
};

Result<ColumnsStep::Column> BindColumn(const arrow::Schema& input, const NamedExpression& named) {
  GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(named.expression));
  const auto columns = expression.columns();
  if (columns.size() == 1 && named.expression == ColumnExpression(columns[0]))
    return ColumnsStep::Column{.input = input.GetFieldIndex(columns[0]), .type = named.type};
  GNOMON_ASSIGN_OR_RETURN(auto bound, expression.Bind(input, named.functions.get()));
  return ColumnsStep::Column{.expression = std::move(bound), .type = named.type};
}

Result<std::unique_ptr<Step>> MakeStep(const Environment& environment, const PlanNode& node) {
  const arrow::Schema& input = *node.inputs()[0]->schema();
  if (const auto* filter = std::get_if<FilterSpec>(&node.spec())) {
    GNOMON_ASSIGN_OR_RETURN(const auto parsed, expr::Expression::Parse(filter->predicate));
    GNOMON_ASSIGN_OR_RETURN(auto bound, parsed.Bind(input, filter->functions.get()));
    return std::make_unique<FilterStep>(environment.context, std::move(bound));
  }
  if (const auto* range = std::get_if<TimeRangeSpec>(&node.spec()))
    return std::make_unique<TimeRangeStep>(environment.context, node.schema(), input, *range);
  if (const auto* map = std::get_if<MapBatchesSpec>(&node.spec())) {
    GNOMON_ASSIGN_OR_RETURN(const auto* function, FunctionOf(*map, environment.options.functions));
    return std::make_unique<FunctionStep>(environment.context, function, *map);
  }
  std::vector<ColumnsStep::Column> columns;
  if (const auto* project = std::get_if<ProjectSpec>(&node.spec())) {
    for (const NamedExpression& named : project->expressions) {
      GNOMON_ASSIGN_OR_RETURN(auto column, BindColumn(input, named));
      columns.push_back(std::move(column));
    }
  } else {
    for (int i = 0; i < input.num_fields(); ++i) columns.push_back({.input = i});
    for (const NamedExpression& named : std::get<DeriveSpec>(node.spec()).expressions) {
      GNOMON_ASSIGN_OR_RETURN(auto column, BindColumn(input, named));
      const int place = input.GetFieldIndex(named.name);
      if (place >= 0) {
        columns[static_cast<size_t>(place)] = std::move(column);
      } else {
        columns.push_back(std::move(column));
      }
    }
  }
  return std::make_unique<ColumnsStep>(node.schema(), std::move(columns));
}

class PipelineOperator : public Operator {
 public:
  PipelineOperator(const Environment& environment, SchemaPtr schema,
                   std::vector<std::unique_ptr<Step>> steps, OperatorPtr input,
                   OperatorStats* stats)
      : Operator(environment, std::move(schema), stats),
        steps_(std::move(steps)),
        input_(std::move(input)),
        reservation_(environment.context.memory) {}

 private:
  struct Slot {
    BatchPtr batch;
    Status status;  ///< after the rows of `batch`
  };

  Result<BatchPtr> Pull() override {
    if (ready_.empty()) GNOMON_RETURN_NOT_OK(FillWindow());
    if (ready_.empty()) return nullptr;
    Slot& slot = ready_.front();
    if (slot.batch == nullptr) return slot.status;
    BatchPtr batch = std::move(slot.batch);
    slot.batch = nullptr;
    if (slot.status.ok()) ready_.pop_front();
    if (ready_.empty()) reservation_.Clear();
    return batch;
  }

  /// Takes as many batches as there are threads, fewer where memory is refused.
  Status FillWindow() {
    std::vector<BatchPtr> taken;
    const auto most = static_cast<size_t>(NumThreads());
    while (!input_ended_ && taken.size() < most) {
      auto next = input_->Next();
      if (!next.ok() && taken.empty()) return next.status();
      input_ended_ = !next.ok() || *next == nullptr;
      if (!next.ok()) input_error_ = next.status();
      if (input_ended_) break;
      taken.push_back(*std::move(next));
      GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*taken.back()));
      if (!reservation_.TryGrow(2 * bytes)) break;
    }
    if (taken.empty()) return std::exchange(input_error_, Status::OK());
    std::vector<Slot> slots(taken.size());
    GNOMON_RETURN_NOT_OK(ParallelFor(context(), static_cast<int64_t>(taken.size()), [&](int64_t i) {
      const auto place = static_cast<size_t>(i);
      slots[place] = ApplyAll(taken[place]);
      return Status::OK();
    }));
    for (Slot& slot : slots) ready_.push_back(std::move(slot));
    return Status::OK();
  }

  Result<BatchPtr> Apply(const BatchPtr& batch) const {
    BatchPtr result = batch;
    for (const auto& step : steps_) {
      GNOMON_ASSIGN_OR_RETURN(result, step->Apply(result));
    }
    return result;
  }

  /// Rows before one that fails come out before its error does, so that what a consumer sees does
  /// not depend on the size of the batches.
  Slot ApplyAll(const BatchPtr& batch) const {
    auto whole = Apply(batch);
    if (whole.ok()) return {*std::move(whole), Status::OK()};
    int64_t good = 0;
    for (int64_t bad = batch->num_rows(); bad - good > 1;) {
      const int64_t middle = good + (bad - good) / 2;
      (Apply(batch->Slice(0, middle)).ok() ? good : bad) = middle;
    }
    auto prefix = Apply(batch->Slice(0, good));
    if (good == 0 || !prefix.ok() || (*prefix)->num_rows() == 0) return {nullptr, whole.status()};
    return {*std::move(prefix), whole.status()};
  }

  const std::vector<std::unique_ptr<Step>> steps_;
  const OperatorPtr input_;
  MemoryReservation reservation_;
  std::deque<Slot> ready_;
  bool input_ended_ = false;
  Status input_error_;
};

}  // namespace

bool IsPipelineNode(const PlanNode& node) {
  const auto* map = std::get_if<MapBatchesSpec>(&node.spec());
  return std::holds_alternative<FilterSpec>(node.spec()) ||
         std::holds_alternative<ProjectSpec>(node.spec()) ||
         std::holds_alternative<DeriveSpec>(node.spec()) ||
         std::holds_alternative<TimeRangeSpec>(node.spec()) || (map != nullptr && map->row_wise);
}

Result<OperatorPtr> MakePipelineOperator(const Environment& environment,
                                         const std::vector<Plan>& nodes, OperatorPtr input,
                                         OperatorStats* stats) {
  std::vector<std::unique_ptr<Step>> steps;
  for (const Plan& node : nodes) {
    GNOMON_ASSIGN_OR_RETURN(auto step, MakeStep(environment, *node));
    steps.push_back(std::move(step));
  }
  return std::make_unique<PipelineOperator>(environment, nodes.back()->schema(), std::move(steps),
                                            std::move(input), stats);
}

}  // namespace gnomon::dataset::internal
