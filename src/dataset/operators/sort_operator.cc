#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/operators/factories_internal.h"
#include "dataset/operators/sorter_internal.h"

namespace gnomon::dataset::internal {

namespace {

KeyEncoder EncoderOf(const arrow::Schema& schema, const SortSpec& spec) {
  std::vector<int> columns;
  std::vector<KeyOrder> orders;
  for (const SortKey& key : spec.keys) {
    columns.push_back(schema.GetFieldIndex(key.column));
    orders.push_back({key.descending, key.nulls_first});
  }
  return KeyEncoder(std::move(columns), std::move(orders));
}

class SortOperator : public Operator {
 public:
  SortOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
               OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        left_(std::get<SortSpec>(plan->spec()).limit),
        input_(std::move(input)),
        sorter_(environment, plan->schema(),
                EncoderOf(*plan->schema(), std::get<SortSpec>(plan->spec())), left_, stats) {}

 private:
  Result<BatchPtr> Pull() override {
    if (sorted_ == nullptr) {
      while (true) {
        GNOMON_ASSIGN_OR_RETURN(const auto batch, input_->Next());
        if (batch == nullptr) break;
        GNOMON_RETURN_NOT_OK(sorter_.Add(batch));
      }
      GNOMON_ASSIGN_OR_RETURN(sorted_, sorter_.Finish());
    }
    if (left_ && *left_ == 0) return nullptr;
    GNOMON_ASSIGN_OR_RETURN(auto batch, sorted_->Next());
    if (batch == nullptr || !left_) return batch;
    if (batch->num_rows() > *left_) batch = batch->Slice(0, *left_);
    *left_ -= batch->num_rows();
    return batch;
  }

  std::optional<int64_t> left_;
  const OperatorPtr input_;
  ExternalSorter sorter_;
  std::unique_ptr<BatchSource> sorted_;  ///< of sorter_
};

}  // namespace

OperatorPtr MakeSortOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                             OperatorStats* stats) {
  return std::make_unique<SortOperator>(environment, plan, std::move(input), stats);
}

}  // namespace gnomon::dataset::internal
