#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"

namespace gnomon {

/// A node of the budget tree process -> job -> operator. Reserve before allocating; what is refused
/// is spilled or fails with kExhausted. A child's reservation counts in all its ancestors.
/// Thread-safe.
class MemoryBudget {
 public:
  /// `limit` in bytes; 0 means no limit of its own. `parent` must outlive this.
  explicit MemoryBudget(std::string name, int64_t limit = 0, MemoryBudget* parent = nullptr);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  /// Takes `bytes`, or changes nothing and returns false when a limit on the way to the root would
  /// be passed.
  bool TryReserve(int64_t bytes);
  /// TryReserve as a status (kExhausted, naming the budget that refused).
  Status Reserve(int64_t bytes);
  void Release(int64_t bytes);

  int64_t used() const { return used_.load(std::memory_order_relaxed); }
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  int64_t limit() const { return limit_; }
  const std::string& name() const { return name_; }

 private:
  // Takes `bytes` along the way to the root; returns the budget that refused, or null.
  const MemoryBudget* Refusal(int64_t bytes);

  const std::string name_;
  const int64_t limit_;
  MemoryBudget* const parent_;
  std::atomic<int64_t> used_{0};
  std::atomic<int64_t> peak_{0};
};

/// Memory of this machine that we may use: the cgroup's limit when there is one, else physical
/// memory, in bytes.
int64_t AvailableMemory();

/// Parses "2GiB", "512 MB", "1073741824" (KB MB GB TB powers of 1000, KiB MiB GiB TiB of 1024).
Result<int64_t> ParseBytes(std::string_view text);
/// "1.5 GiB", "12 KiB", "17 B".
std::string FormatBytes(int64_t bytes);

}  // namespace gnomon
