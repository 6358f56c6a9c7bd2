#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/offline/offline_store.h"
#include "feature/registry/registry.h"

/// A materialization as the registry keeps it, from its beginning to its end:
/// docs/guide/materialization.md.
namespace gnomon::feature {

/// Writes to the registry, again after a conflict with another writer and while its database does
/// not answer for a moment.
Status WriteWithRetries(const Context& context, Registry& registry,
                        const std::function<Status()>& write);

/// A job that has not begun. REQUIRES: `progress` has at least one view.
MaterializationJob NewJob(int64_t now, std::vector<ViewProgress> progress);

/// The newest job of these views and intervals when it did not end well: interrupted, failed or
/// cancelled. `incremental`: a view that the job has done may have begun elsewhere, as its
/// watermark has moved.
std::optional<MaterializationJob> FindResumable(const std::vector<MaterializationJob>& jobs,
                                                const std::vector<ViewProgress>& wanted,
                                                bool incremental);

/// kNotFound with the nearest id; an unambiguous beginning of an id is enough.
Result<MaterializationJob> FindJob(const Registry& registry, const std::string& id);

/// Puts the job into the registry as running in this process. kConflict when a running job works on
/// one of its views in an interval that overlaps, unless `force`.
Status BeginJob(const Context& context, Registry& registry, bool force, MaterializationJob* job);

/// What the rows of a view are read from, as a fingerprint; empty when it cannot be told whether
/// they changed.
Result<std::string> SourceFingerprint(const Context& context, const Definitions& definitions,
                                      const FeatureView& view, const OfflineStore& offline);

/// Watches for a request to cancel the job while it runs, and lets the registry know that it does.
/// The token fires for a request and for the context's.
class CancelWatch {
 public:
  CancelWatch(const Context& context, Registry& registry, std::string job);
  CancelWatch(const CancelWatch&) = delete;
  CancelWatch& operator=(const CancelWatch&) = delete;
  ~CancelWatch();

  std::stop_token token() const { return source_.get_token(); }
  /// Whether somebody has asked for it.
  bool was_requested() const { return requested_; }

 private:
  void Watch(const std::stop_token& ended);
  void LookAtJob(double* next_heartbeat);

  Context context_;
  Registry& registry_;
  const std::string job_;
  std::stop_source source_;
  std::atomic<bool> requested_ = false;
  std::stop_callback<std::function<void()>> outer_;
  std::jthread thread_;  // last: ends first
};

}  // namespace gnomon::feature
