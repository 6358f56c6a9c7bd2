#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/error.h"

namespace gnomon {

class MemoryBudget;
class Metrics;
class Progress;

/// What every call that can take over a millisecond gets first: cancellation, deadline, memory,
/// clock, metrics, progress, trace id. A value: copies share everything. Ctrl-C, a client that
/// disconnects and a cancelled job are the same stop token. All pointers are borrowed and outlive
/// the call. Thread-safe to read.
struct Context {
  std::stop_token stop;
  std::optional<double> deadline;     ///< MonotonicSeconds at which to give up
  MemoryBudget* memory = nullptr;     ///< null: unlimited
  const Clock* clock = &RealClock();  ///< never null
  Metrics* metrics = nullptr;         ///< null: not counted
  Progress* progress = nullptr;       ///< null: silent
  std::string trace_id;

  /// kCancelled or kDeadline when the call should end. Operators ask once per batch.
  Status Check() const;

  /// A copy with another stop token, or a deadline `seconds` from now (never later than the present
  /// one).
  Context WithStop(std::stop_token token) const;
  Context WithTimeout(double seconds) const;
};

}  // namespace gnomon
