#pragma once

#include <atomic>
#include <cstdint>

namespace gnomon {

/// Wall time in microseconds since 1970-01-01T00:00:00Z. The wall clock is read only through a
/// Clock. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowMicros() const = 0;
};

class SystemClock : public Clock {
 public:
  int64_t NowMicros() const override;
};

/// The process's SystemClock.
const Clock& RealClock();

/// For tests and for demos on old data: stands still until it is moved.
class FakeClock : public Clock {
 public:
  explicit FakeClock(int64_t now_micros) : now_(now_micros) {}
  int64_t NowMicros() const override { return now_.load(); }
  void Set(int64_t now_micros) { now_.store(now_micros); }
  void Advance(int64_t micros) { now_.fetch_add(micros); }

 private:
  std::atomic<int64_t> now_;
};

/// Seconds on a monotonic clock, for measuring spans only.
double MonotonicSeconds();

}  // namespace gnomon
