#include <algorithm>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/operators/factories_internal.h"
#include "table/column.h"

/// Plan leaves that read no files: range, table, input.
namespace gnomon::dataset::internal {

namespace {

class RangeOperator : public Operator {
 public:
  RangeOperator(const Environment& environment, const Plan& plan, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats), spec_(std::get<RangeSpec>(plan->spec())) {
    if (spec_.end <= spec_.begin) return;
    const uint64_t length = static_cast<uint64_t>(spec_.end) - static_cast<uint64_t>(spec_.begin);
    rows_ = static_cast<int64_t>((length - 1) / static_cast<uint64_t>(spec_.step)) + 1;
  }

 private:
  Result<BatchPtr> Pull() override {
    const int64_t rows = std::min(batch_rows(), rows_ - row_);
    if (rows == 0) return nullptr;
    std::vector<int64_t> values(static_cast<size_t>(rows));
    for (int64_t i = 0; i < rows; ++i)
      values[static_cast<size_t>(i)] = spec_.begin + (row_ + i) * spec_.step;
    row_ += rows;
    auto column =
        std::make_shared<arrow::Int64Array>(rows, arrow::Buffer::FromVector(std::move(values)));
    return arrow::RecordBatch::Make(schema(), rows, arrow::ArrayVector{std::move(column)});
  }

  const RangeSpec spec_;
  int64_t rows_ = 0;
  int64_t row_ = 0;
};

class TableOperator : public Operator {
 public:
  TableOperator(const Environment& environment, const Plan& plan, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        table_(std::get<TableSpec>(plan->spec()).table),
        reader_(*table_) {
    reader_.set_chunksize(batch_rows());
  }

 private:
  Result<BatchPtr> Pull() override {
    BatchPtr batch;
    GNOMON_RETURN_NOT_OK(reader_.ReadNext(&batch));
    return batch;
  }

  const std::shared_ptr<arrow::Table> table_;
  arrow::TableBatchReader reader_;
};

class InputOperator : public Operator {
 public:
  InputOperator(const Environment& environment, const Plan& plan,
                std::unique_ptr<BatchSource> source, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        name_(std::get<InputSpec>(plan->spec()).name),
        source_(std::move(source)) {}

 private:
  Result<BatchPtr> Pull() override {
    GNOMON_ASSIGN_OR_RETURN(auto batch, source_->Next());
    if (batch != nullptr && !batch->schema()->Equals(*schema(), /*check_metadata=*/false)) {
      return Error(ErrorKind::kInternal, "input ", Quoted(name_),
                   " has another schema: ", batch->schema()->ToString(), " instead of ",
                   schema()->ToString());
    }
    return batch;
  }

  const std::string name_;
  const std::unique_ptr<BatchSource> source_;
};

Result<OperatorPtr> MakeInputOperator(const Environment& environment, const Plan& plan,
                                      OperatorStats* stats) {
  const std::string& name = std::get<InputSpec>(plan->spec()).name;
  const auto& inputs = environment.options.inputs;
  const auto input = inputs.find(name);
  if (input == inputs.end()) {
    std::vector<std::string> names;
    for (const auto& [known, open] : inputs) names.push_back(known);
    return MakeError(ErrorKind::kUser,
                     Concat("the execution was given no input of this name: ", Quoted(name)), {},
                     DidYouMean(name, names));
  }
  GNOMON_ASSIGN_OR_RETURN(auto source, input->second());
  return std::make_unique<InputOperator>(environment, plan, std::move(source), stats);
}

}  // namespace

Result<OperatorPtr> MakeMemoryOperator(const Environment& environment, const Plan& plan,
                                       OperatorStats* stats) {
  if (std::holds_alternative<RangeSpec>(plan->spec()))
    return std::make_unique<RangeOperator>(environment, plan, stats);
  if (std::holds_alternative<TableSpec>(plan->spec()))
    return std::make_unique<TableOperator>(environment, plan, stats);
  return MakeInputOperator(environment, plan, stats);
}

}  // namespace gnomon::dataset::internal
