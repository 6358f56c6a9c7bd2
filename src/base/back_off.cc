#include "base/back_off.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>

#include "base/clock.h"
#include "base/text.h"

namespace gnomon {

namespace {

double RandomPart() {
  thread_local std::mt19937_64 generator(std::random_device{}());
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

/// Sleeps until the time is up or the context is stopped.
void Pause(const Context& context, double seconds) {
  std::mutex mutex;
  std::condition_variable_any woken;
  std::unique_lock lock(mutex);
  woken.wait_for(lock, context.stop, std::chrono::duration<double>(seconds), [] { return false; });
}

}  // namespace

Status RetryWithBackOff(const Context& context, const BackOff& back_off,
                        const std::function<Status()>& attempt) {
  const double end = MonotonicSeconds() + back_off.total_seconds;
  double pause = back_off.first_seconds;
  int attempts = 0;
  Status failed;  // how the last attempt ended that was not cut off by the deadline
  const auto given_up = [&] {
    if (attempts == 1) return failed;
    return failed.WithMessage(failed.message(), " (gave up after ", attempts, " attempts)");
  };
  for (;;) {
    Status status = context.Check();
    if (status.ok()) {
      ++attempts;
      status = attempt();
    }
    if (status.ok()) return status;
    if (!failed.ok() && KindOf(status) == ErrorKind::kDeadline) return given_up();
    if (!IsRetryable(status)) return status;
    failed = status;
    const double seconds = pause * (1 - back_off.jitter * RandomPart());
    const double next = MonotonicSeconds() + seconds;
    if (next > end || (context.deadline.has_value() && next > *context.deadline)) return given_up();
    Pause(context, seconds);
    pause = std::min(pause * 2, back_off.longest_seconds);
  }
}

}  // namespace gnomon
