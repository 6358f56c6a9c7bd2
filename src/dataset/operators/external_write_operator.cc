#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>

#include "dataset/external_sink.h"
#include "dataset/operators/factories_internal.h"
#include "runtime/sink.h"

namespace gnomon::dataset::internal {

namespace {

/// In one process all rows are one partition.
class ExternalWriteOperator : public Operator {
 public:
  ExternalWriteOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                        OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        plan_(plan),
        spec_(std::get<ExternalWriteSpec>(plan->spec())),
        input_(std::move(input)) {}

 private:
  Result<BatchPtr> Pull() override {
    if (std::exchange(written_, true)) return nullptr;
    GNOMON_ASSIGN_OR_RETURN(const std::string token,
                            spec_.writer->Write(context(), spec_.parameters, *input_));
    if (spec_.commits != nullptr) GNOMON_RETURN_NOT_OK(spec_.commits->Commit(context(), token));
    arrow::BinaryBuilder tokens;
    GNOMON_RETURN_NOT_OK(tokens.Append(token));
    GNOMON_ASSIGN_OR_RETURN(auto column, tokens.Finish());
    return arrow::RecordBatch::Make(schema(), 1, {std::move(column)});
  }

  const Plan plan_;  ///< keeps spec_
  const ExternalWriteSpec& spec_;
  const OperatorPtr input_;
  bool written_ = false;
};

}  // namespace

OperatorPtr MakeExternalWriteOperator(const Environment& environment, const Plan& plan,
                                      OperatorPtr input, OperatorStats* stats) {
  return std::make_unique<ExternalWriteOperator>(environment, plan, std::move(input), stats);
}

}  // namespace gnomon::dataset::internal
