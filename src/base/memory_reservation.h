#pragma once

#include <cstdint>
#include <utility>

#include "base/error.h"
#include "base/memory.h"

namespace gnomon {

/// Bytes taken from a budget until destruction. Does nothing without a budget, which must outlive
/// it.
class MemoryReservation {
 public:
  explicit MemoryReservation(MemoryBudget* budget) : budget_(budget) {}
  ~MemoryReservation() {
    if (budget_ != nullptr) budget_->Release(bytes_);
  }
  MemoryReservation(const MemoryReservation&) = delete;
  MemoryReservation& operator=(const MemoryReservation&) = delete;

  Status Grow(int64_t bytes) {
    if (budget_ == nullptr) return Status::OK();
    GNOMON_RETURN_NOT_OK(budget_->Reserve(bytes));
    bytes_ += bytes;
    return Status::OK();
  }

  MemoryBudget* budget() const { return budget_; }

 private:
  MemoryBudget* const budget_;
  int64_t bytes_ = 0;
};

}  // namespace gnomon
