#include <cstdio>
#include <cstdlib>
#include <optional>
#include <unistd.h>

#include "base/clock.h"
#include "base/mutex.h"
#include "table/file_system.h"
#include "table/object_request_internal.h"

namespace gnomon::table {

namespace internal {

namespace {

/// How late a stop may be seen.
constexpr double kSliceSeconds = 0.05;
/// Threads are made when there is a request for them; more than the client has connections.
constexpr int kMostRequests = 256;

class StopSignal {
 public:
  void Set(std::stop_token token) {
    const MutexLock lock(mutex_);
    token_ = std::move(token);
  }
  std::stop_token Get() {
    const MutexLock lock(mutex_);
    return token_;
  }

 private:
  Mutex mutex_;
  std::stop_token token_ GNOMON_GUARDED_BY(mutex_);
};

/// Never destroyed: threads may still ask when the process ends.
StopSignal& TheStopSignal() {
  static auto* const signal = new StopSignal;
  return *signal;
}

/// The client's own exit handler waits until all requests have ended.
void LeaveRequests(int exit_code, void* /*unused*/) {
  if (!StopOfRequests().stop_requested()) return;
  std::fflush(nullptr);
  ::_exit(exit_code);
}

}  // namespace

std::stop_token StopOfRequests() { return TheStopSignal().Get(); }

Status RequestStopped(const std::string& what) {
  return Error(ErrorKind::kCancelled, "cancelled while the S3 service was asked for ", what);
}

arrow::internal::ThreadPool& RequestThreads() {
  static auto* const threads = [] {
    // The client was made before, so that this handler runs before that of the client.
    static_cast<void>(::on_exit(LeaveRequests, nullptr));
    return new std::shared_ptr<arrow::internal::ThreadPool>(
        arrow::internal::ThreadPool::MakeEternal(kMostRequests).ValueOrDie());
  }();
  return **threads;
}

Status AwaitRequest(const std::function<bool(double)>& is_done, const std::string& what,
                    double patience) {
  const std::stop_token stop = StopOfRequests();
  std::optional<double> end;
  while (!is_done(kSliceSeconds)) {
    if (!stop.stop_requested()) continue;
    if (!end.has_value()) end = MonotonicSeconds() + patience;
    if (MonotonicSeconds() >= *end) return RequestStopped(what);
  }
  return Status::OK();
}

}  // namespace internal

void StopObjectRequests(std::stop_token stop) { internal::TheStopSignal().Set(std::move(stop)); }

}  // namespace gnomon::table
