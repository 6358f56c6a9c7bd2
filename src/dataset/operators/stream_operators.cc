#include <algorithm>
#include <cmath>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "base/text.h"
#include "dataset/operators/factories_internal.h"
#include "table/column.h"

/// Nodes that keep nothing but where they are: union, limit, sample, map_batches.
namespace gnomon::dataset::internal {

namespace {

class UnionOperator : public Operator {
 public:
  UnionOperator(const Environment& environment, const Plan& plan, std::vector<OperatorPtr> inputs,
                OperatorStats* stats)
      : Operator(environment, plan->schema(), stats), inputs_(std::move(inputs)) {}

 private:
  Result<BatchPtr> Pull() override {
    while (next_ < inputs_.size()) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, inputs_[next_]->Next());
      if (batch != nullptr) return Widen(*batch);
      inputs_[next_++].reset();
    }
    return nullptr;
  }

  Result<BatchPtr> Widen(const arrow::RecordBatch& batch) const {
    arrow::ArrayVector columns;
    for (int i = 0; i < batch.num_columns(); ++i) {
      auto column = table::CastLossless(batch.column(i), schema()->field(i)->type());
      GNOMON_RETURN_NOT_OK(
          WithContext(column.status(), Concat("union: column ", schema()->field(i)->name())));
      columns.push_back(*std::move(column));
    }
    return arrow::RecordBatch::Make(schema(), batch.num_rows(), std::move(columns));
  }

  std::vector<OperatorPtr> inputs_;
  size_t next_ = 0;
};

class LimitOperator : public Operator {
 public:
  LimitOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        to_skip_(std::get<LimitSpec>(plan->spec()).offset),
        to_give_(std::get<LimitSpec>(plan->spec()).limit),
        input_(std::move(input)) {}

 private:
  Result<BatchPtr> Pull() override {
    while (to_give_ > 0) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, input_->Next());
      if (batch == nullptr) break;
      const int64_t skipped = std::min(to_skip_, batch->num_rows());
      to_skip_ -= skipped;
      const int64_t given = std::min(to_give_, batch->num_rows() - skipped);
      to_give_ -= given;
      if (given > 0) return batch->Slice(skipped, given);
    }
    return nullptr;
  }

  int64_t to_skip_;
  int64_t to_give_;
  const OperatorPtr input_;
};

class SampleOperator : public Operator {
 public:
  SampleOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                 OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        spec_(std::get<SampleSpec>(plan->spec())),
        input_(std::move(input)),
        position_(spec_.first_position) {}

 private:
  Result<BatchPtr> Pull() override {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, input_->Next());
    if (batch == nullptr) return nullptr;
    std::vector<int64_t> kept;
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      if (IsKept(static_cast<uint64_t>(position_++))) kept.push_back(row);
    }
    return GatherRows(context(), batch, kept);
  }

  /// 53 bits of a hash as a number in [0, 1).
  bool IsKept(uint64_t position) const {
    const uint64_t words[2] = {spec_.seed, position};
    const uint64_t hash =
        HashBytes({reinterpret_cast<const char*>(words), sizeof(words)}, /*seed=*/0x5a3d);
    return std::ldexp(static_cast<double>(hash >> 11), -53) < spec_.fraction;
  }

  const SampleSpec spec_;
  const OperatorPtr input_;
  int64_t position_;
};

class MapBatchesOperator : public Operator {
 public:
  MapBatchesOperator(const Environment& environment, const Plan& plan,
                     const BatchFunction* function, OperatorPtr input, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        spec_(std::get<MapBatchesSpec>(plan->spec())),
        function_(function),
        input_(std::move(input)),
        calls_(input_.get(), spec_.rows_per_call) {}

 private:
  Result<BatchPtr> Pull() override {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, calls_.Next());
    if (batch == nullptr) return nullptr;
    auto result = function_->apply(context(), batch, spec_.parameters);
    GNOMON_RETURN_NOT_OK(WithContext(result.status(), spec_.function));
    if (*result == nullptr || !(*result)->schema()->Equals(*schema(), false)) {
      return Error(ErrorKind::kUser, "batch function ", Quoted(spec_.function),
                   " gave another schema than it promised");
    }
    return result;
  }

  const MapBatchesSpec spec_;
  const BatchFunction* const function_;
  const OperatorPtr input_;
  Rebatcher calls_;
};

}  // namespace

Result<const BatchFunction*> FunctionOf(const MapBatchesSpec& spec,
                                        const FunctionRegistry* functions) {
  if (spec.extension != nullptr) return spec.extension.get();
  if (functions != nullptr) return functions->Find(spec.function);
  return MakeError(ErrorKind::kNotFound, Concat("no such batch function: ", Quoted(spec.function)),
                   {}, "the execution was given no registry of functions");
}

Result<OperatorPtr> MakeMapBatchesOperator(const Environment& environment, const Plan& plan,
                                           OperatorPtr input, OperatorStats* stats) {
  const auto& spec = std::get<MapBatchesSpec>(plan->spec());
  GNOMON_ASSIGN_OR_RETURN(const auto* function, FunctionOf(spec, environment.options.functions));
  return std::make_unique<MapBatchesOperator>(environment, plan, function, std::move(input), stats);
}

Result<OperatorPtr> MakeStreamOperator(const Environment& environment, const Plan& plan,
                                       std::vector<OperatorPtr> inputs, OperatorStats* stats) {
  if (std::holds_alternative<UnionSpec>(plan->spec()))
    return std::make_unique<UnionOperator>(environment, plan, std::move(inputs), stats);
  if (std::holds_alternative<LimitSpec>(plan->spec()))
    return std::make_unique<LimitOperator>(environment, plan, std::move(inputs[0]), stats);
  return std::make_unique<SampleOperator>(environment, plan, std::move(inputs[0]), stats);
}

}  // namespace gnomon::dataset::internal
