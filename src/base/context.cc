#include "base/context.h"

#include <algorithm>
#include <utility>

namespace gnomon {

Status Context::Check() const {
  if (stop.stop_requested()) return Error(ErrorKind::kCancelled, "cancelled");
  if (deadline.has_value() && MonotonicSeconds() >= *deadline) {
    return Error(ErrorKind::kDeadline, "out of time");
  }
  return Status::OK();
}

Context Context::WithStop(std::stop_token token) const {
  Context out = *this;
  out.stop = std::move(token);
  return out;
}

Context Context::WithTimeout(double seconds) const {
  Context out = *this;
  const double end = MonotonicSeconds() + seconds;
  out.deadline = deadline.has_value() ? std::min(*deadline, end) : end;
  return out;
}

}  // namespace gnomon
