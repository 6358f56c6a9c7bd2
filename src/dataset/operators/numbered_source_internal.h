#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>

#include "dataset/operators/operator_internal.h"

/// Rows that were read already, then those that are not: what an operator begins anew with when
/// memory has refused. The former stay reserved until they are given out, as far as memory grants.
namespace gnomon::dataset::internal {

class ContinuedSource : public BatchSource {
 public:
  ContinuedSource(const Context& context, std::vector<BatchPtr> first, BatchSource* rest)
      : reservation_(context.memory), first_(std::move(first)), rest_(rest) {
    for (const BatchPtr& batch : first_)
      static_cast<void>(reservation_.TryGrow(BatchBytes(*batch).ValueOr(0)));
  }
  Result<BatchPtr> Next() override {
    if (next_ == first_.size()) {
      reservation_.Clear();
      return rest_->Next();
    }
    BatchPtr batch = std::move(first_[next_++]);
    reservation_.Shrink(BatchBytes(*batch).ValueOr(0));
    return batch;
  }

 private:
  MemoryReservation reservation_;
  std::vector<BatchPtr> first_;
  size_t next_ = 0;
  BatchSource* const rest_;
};

/// The same with the position of each row as a last column, `__position`.
class NumberedSource : public BatchSource {
 public:
  NumberedSource(const Context& context, std::vector<BatchPtr> first, BatchSource* rest)
      : source_(context, std::move(first), rest) {}
  Result<BatchPtr> Next() override {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, source_.Next());
    if (batch == nullptr) return nullptr;
    const int64_t begin = position_;
    position_ += batch->num_rows();
    return WithInt64Column(*batch, "__position", Positions(begin, batch->num_rows()));
  }

 private:
  ContinuedSource source_;
  int64_t position_ = 0;
};

}  // namespace gnomon::dataset::internal
