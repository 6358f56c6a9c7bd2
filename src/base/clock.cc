#include "base/clock.h"

#include <chrono>

namespace gnomon {

int64_t SystemClock::NowMicros() const {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

const Clock& RealClock() {
  static const SystemClock clock;
  return clock;
}

double MonotonicSeconds() {
  const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since_start).count();
}

}  // namespace gnomon
