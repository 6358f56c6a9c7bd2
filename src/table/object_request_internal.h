#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include <arrow/util/future.h>
#include <arrow/util/thread_pool.h>

#include "base/error.h"

/// Requests to an S3 service, which answers when it likes. The client cannot break one off, but who
/// waits for it can go on: it is abandoned, and what it answers is dropped.
namespace gnomon::table::internal {

/// What StopObjectRequests was given.
std::stop_token StopOfRequests();

/// kCancelled: who waited for `what` waits no longer.
Status RequestStopped(const std::string& what);

/// Threads that do nothing but wait for a service; they live as long as the process.
arrow::internal::ThreadPool& RequestThreads();

/// Until `is_done`, which waits for so many seconds; kCancelled `patience` seconds after the stop.
Status AwaitRequest(const std::function<bool(double)>& is_done, const std::string& what,
                    double patience);

/// The result of something that is under way; kCancelled when the wait was broken off.
template <typename T>
Result<T> Awaited(const arrow::Future<T>& future, const std::string& what) {
  GNOMON_RETURN_NOT_OK(
      AwaitRequest([&](double seconds) { return future.Wait(seconds); }, what, /*patience=*/0));
  return future.result();
}

/// Calls `request`, which gives a Status or a Result, on another thread when it may have to be
/// abandoned: it owns all that it uses, and nobody else uses that until it has ended. `what` is
/// for messages. With patience it is made after the stop, too.
template <typename Request>
std::invoke_result_t<Request&> Requested(const std::string& what, Request request,
                                         double patience = 0) {
  const std::stop_token stop = StopOfRequests();
  if (!stop.stop_possible()) return request();
  if (stop.stop_requested() && patience == 0) return RequestStopped(what);
  GNOMON_ASSIGN_OR_RETURN(const auto future, RequestThreads().Submit(std::move(request)));
  GNOMON_RETURN_NOT_OK(
      AwaitRequest([&](double seconds) { return future.Wait(seconds); }, what, patience));
  if constexpr (std::is_same_v<std::invoke_result_t<Request&>, Status>) {
    return future.status();
  } else {
    return future.result();
  }
}

}  // namespace gnomon::table::internal
