#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/error.h"

namespace gnomon {

enum class FaultAction { kKill, kError, kNoSpace, kInterrupt, kPause };

/// One planned fault: the `pass`-th time that `point` is passed, `action` happens. Thread-safe.
class FaultPlan {
 public:
  /// Parses "materialize.before_commit:3:kill".
  static Result<std::unique_ptr<FaultPlan>> Parse(std::string_view text);

  Status Pass(std::string_view point, const std::stop_token& stop = {});

 private:
  FaultPlan(std::string point, int64_t pass, FaultAction action);

  const std::string point_;
  const int64_t pass_;
  const FaultAction action_;
  std::atomic<int64_t> num_passed_{0};
};

}  // namespace gnomon
