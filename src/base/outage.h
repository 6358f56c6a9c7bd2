#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "base/back_off.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/error.h"
#include "base/mutex.h"

namespace gnomon {

/// Since when a server has not answered, known to all who ask it through one pool. An outage begins
/// with the first attempt that fails with kUnavailable and ends with the first one that the server
/// answers, be it by an error. An attempt that ends for another reason (cancelled, its deadline, no
/// free connection) tells nothing. Thread-safe.
///
/// A pool owns one. What must not pile up while the server is away, such as reads for requests,
/// shares one patience: the first ones outlast a restart, and once the outage has lasted longer,
/// each of them makes one attempt. What may take long, such as writes of a batch job, has a
/// patience of its own and only notes what it finds:
///
///     Status Read(...)  { return outage_.Retry(context, kReads, [&] { return RunOnce(...); }); }
///     Status Write(...) { return RetryWithBackOff(context, kWrites, [&] {
///                           return outage_.Note(context, RunOnce(...)); }); }
///
/// RunOnce asks `HasLasted` before it opens a connection, which a host that says nothing at all
/// should not hold up for as long as in good times.
class Outage {
 public:
  /// `monotonic` measures how long it lasts.
  explicit Outage(double (*monotonic)() = MonotonicSeconds) : monotonic_(monotonic) {}

  /// RetryWithBackOff whose time counts from the beginning of the outage. `attempt` must not note
  /// its outcome itself.
  Status Retry(const Context& context, const BackOff& back_off,
               const std::function<Status()>& attempt);

  /// Notes how an attempt ended. Gives the same status; the error of one that has found the server
  /// as silent as those before also says since when, by the context's clock.
  Status Note(const Context& context, const Status& outcome);

  /// Whether there is an outage that has lasted this long.
  bool HasLasted(double seconds) const;

 private:
  struct Beginning {
    double seconds;   // of monotonic_
    int64_t instant;  // of the wall clock, for messages
  };

  std::optional<Beginning> Begun() const;

  double (*const monotonic_)();
  std::atomic<bool> lasts_ = false;  // without the lock: in good times there is nothing to note
  mutable Mutex mutex_;
  std::optional<Beginning> beginning_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace gnomon
