#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>

#include "dataset/operators/operator_internal.h"

/// Rows that were read already, then those that are not: what an operator begins anew with when
/// memory has refused.
namespace gnomon::dataset::internal {

class ContinuedSource : public BatchSource {
 public:
  ContinuedSource(std::vector<BatchPtr> first, BatchSource* rest)
      : first_(std::move(first)), rest_(rest) {}
  Result<BatchPtr> Next() override {
    GNOMON_ASSIGN_OR_RETURN(auto batch, first_.Next());
    return batch != nullptr ? batch : rest_->Next();
  }

 private:
  MemorySource first_;
  BatchSource* const rest_;
};

/// The same with the position of each row as a last column, `__position`.
class NumberedSource : public BatchSource {
 public:
  NumberedSource(std::vector<BatchPtr> first, BatchSource* rest)
      : source_(std::move(first), rest) {}
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
