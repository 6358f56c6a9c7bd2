#pragma once

#include <functional>

#include "base/context.h"
#include "base/error.h"

namespace gnomon {

/// How patiently work is tried again after a retryable error: the first pause, doubled up to the
/// longest one, each with a random part, until the time is up. A value.
struct BackOff {
  double first_seconds = 0.05;
  double longest_seconds = 2;
  /// No new attempt begins later than this after the first one; 0: a single attempt.
  double total_seconds = 15;
  /// A pause is shortened by up to this part of itself, so that many clients do not come at once.
  double jitter = 0.5;
};

/// Runs `attempt` until it succeeds, fails with an error that is not retryable, or the time of
/// `back_off` or `context` is up; then the last error, with "(gave up after N attempts)". An
/// attempt that the deadline cuts off says less than the one before it, whose error is given
/// instead. A pause ends at once when the context is stopped, which gives kCancelled. `attempt`
/// must be safe to repeat.
Status RetryWithBackOff(const Context& context, const BackOff& back_off,
                        const std::function<Status()>& attempt);

}  // namespace gnomon
