#include "base/outage.h"

#include <algorithm>

#include "base/time.h"

namespace gnomon {

namespace {

/// Ends that leave open whether the server is there.
bool TellsNothing(ErrorKind kind) {
  return kind == ErrorKind::kCancelled || kind == ErrorKind::kDeadline ||
         kind == ErrorKind::kExhausted;
}

}  // namespace

std::optional<Outage::Beginning> Outage::Begun() const {
  if (!lasts_.load()) return std::nullopt;
  const MutexLock lock(mutex_);
  return beginning_;
}

Status Outage::Retry(const Context& context, const BackOff& back_off,
                     const std::function<Status()>& attempt) {
  BackOff left = back_off;
  if (const auto begun = Begun(); begun.has_value())
    left.total_seconds -= std::max(0.0, monotonic_() - begun->seconds);
  return RetryWithBackOff(context, left, [&] { return Note(context, attempt()); });
}

Status Outage::Note(const Context& context, const Status& outcome) {
  if (outcome.ok() && !lasts_.load()) return outcome;
  std::optional<Beginning> before;
  {
    const MutexLock lock(mutex_);
    before = beginning_;
    if (outcome.ok() ||
        (KindOf(outcome) != ErrorKind::kUnavailable && !TellsNothing(KindOf(outcome)))) {
      beginning_.reset();
    } else if (KindOf(outcome) == ErrorKind::kUnavailable && !before.has_value()) {
      beginning_ = {.seconds = monotonic_(), .instant = context.clock->NowMicros()};
    }
    lasts_ = beginning_.has_value();
    if (!lasts_ || !before.has_value()) return outcome;
  }
  const int64_t whole_seconds = before->instant / kMicrosPerSecond * kMicrosPerSecond;
  return outcome.WithMessage(outcome.message(), " (no answer since ",
                             FormatTimestamp(whole_seconds), ")");
}

bool Outage::HasLasted(double seconds) const {
  const auto begun = Begun();
  return begun.has_value() && monotonic_() - begun->seconds >= seconds;
}

}  // namespace gnomon
