#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/progress.h"
#include "base/text.h"
#include "dataset/external_source.h"
#include "dataset/operators/factories_internal.h"

namespace gnomon::dataset::internal {

namespace {

class ExternalOperator : public Operator {
 public:
  ExternalOperator(const Environment& environment, const Plan& plan, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        plan_(plan),
        spec_(std::get<ExternalSpec>(plan->spec())) {}

 private:
  Result<BatchPtr> Pull() override {
    while (true) {
      if (rows_ == nullptr) {
        if (part_ == spec_.parts.size()) return nullptr;
        GNOMON_ASSIGN_OR_RETURN(rows_, spec_.reader->Open(context(), spec_.parts[part_]));
      }
      GNOMON_ASSIGN_OR_RETURN(const BatchPtr batch, rows_->Next());
      if (batch == nullptr) {
        rows_.reset();
        ++part_;
        continue;
      }
      if (context().progress != nullptr) context().progress->Advance(batch->num_rows());
      if (batch->num_rows() > 0) return Named(*batch);
    }
  }

  Result<BatchPtr> Named(const arrow::RecordBatch& batch) const {
    bool same = batch.num_columns() == schema()->num_fields();
    for (int i = 0; same && i < batch.num_columns(); ++i)
      same = batch.column(i)->type()->Equals(*schema()->field(i)->type());
    if (same) return arrow::RecordBatch::Make(schema(), batch.num_rows(), batch.columns());
    return Error(ErrorKind::kInternal, spec_.source,
                 " gives other columns: ", batch.schema()->ToString(), " instead of ",
                 schema()->ToString());
  }

  const Plan plan_;  ///< keeps spec_
  const ExternalSpec& spec_;
  size_t part_ = 0;
  std::unique_ptr<BatchSource> rows_;
};

}  // namespace

OperatorPtr MakeExternalOperator(const Environment& environment, const Plan& plan,
                                 OperatorStats* stats) {
  return std::make_unique<ExternalOperator>(environment, plan, stats);
}

}  // namespace gnomon::dataset::internal
