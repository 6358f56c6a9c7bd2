#pragma once

#include <atomic>
#include <string>

#include "base/error.h"
#include "base/mutex.h"
#include "net/http.h"

namespace gnomon::feature_server {

/// What GET /health says of the online store, told by the reads that clients ask for: it asks the
/// store nothing itself. Thread-safe.
class StoreHealth {
 public:
  /// How long a failed read counts. Then the store may be asked again: a server that is out of a
  /// load balancer gets no reads that could show its recovery.
  static constexpr double kSeconds = 10;

  /// The outcome of a read. Only kUnavailable and kDeadline speak against the store.
  void Observe(const Status& status);
  net::HttpResponse Answer() const;

 private:
  mutable Mutex mutex_;
  std::string problem_ GNOMON_GUARDED_BY(mutex_);
  double failed_at_ GNOMON_GUARDED_BY(mutex_) = 0;  // MonotonicSeconds
  std::atomic<bool> failing_ = false;               // problem_ is not empty
};

}  // namespace gnomon::feature_server
