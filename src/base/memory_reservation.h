#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/error.h"
#include "base/memory.h"

namespace gnomon {

/// Bytes taken from a budget until destruction. Without a budget nothing is refused; a budget
/// outlives it. Not thread-safe.
class MemoryReservation {
 public:
  explicit MemoryReservation(MemoryBudget* budget = nullptr) : budget_(budget) {}
  ~MemoryReservation() { Clear(); }
  MemoryReservation(MemoryReservation&& other) noexcept
      : budget_(other.budget_), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryReservation& operator=(MemoryReservation&& other) noexcept {
    Clear();
    budget_ = other.budget_;
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }

  /// kExhausted, and nothing taken, when the budget refuses.
  Status Grow(int64_t bytes) {
    if (budget_ != nullptr) GNOMON_RETURN_NOT_OK(budget_->Reserve(bytes));
    bytes_ += bytes;
    return Status::OK();
  }
  /// Grow as a condition; nothing (or less) is always granted.
  bool TryGrow(int64_t bytes) {
    if (bytes <= 0) return true;
    if (budget_ != nullptr && !budget_->TryReserve(bytes)) return false;
    bytes_ += bytes;
    return true;
  }
  /// Gives back `bytes`, at most what is taken.
  void Shrink(int64_t bytes) {
    bytes = std::min(bytes, bytes_);
    if (budget_ != nullptr && bytes > 0) budget_->Release(bytes);
    bytes_ -= bytes;
  }
  void Clear() { Shrink(bytes_); }

  int64_t bytes() const { return bytes_; }
  MemoryBudget* budget() const { return budget_; }

 private:
  MemoryBudget* budget_;
  int64_t bytes_ = 0;
};

}  // namespace gnomon
