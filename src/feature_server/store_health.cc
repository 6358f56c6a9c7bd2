#include "base/clock.h"
#include "feature_server/store_health_internal.h"
#include "net/json.h"

namespace gnomon::feature_server {

void StoreHealth::Observe(const Status& status) {
  const bool fails = !status.ok() && (KindOf(status) == ErrorKind::kUnavailable ||
                                      KindOf(status) == ErrorKind::kDeadline);
  if (!fails && (!status.ok() || !failing_)) return;
  MutexLock lock(mutex_);
  failing_ = fails;
  problem_ = fails ? status.message() : std::string();
  failed_at_ = MonotonicSeconds();
}

net::HttpResponse StoreHealth::Answer() const {
  MutexLock lock(mutex_);
  const bool failing = failing_ && MonotonicSeconds() - failed_at_ < kSeconds;
  std::string body;
  net::JsonWriter json(&body);
  json.BeginObject().Key("status").String(failing ? "unavailable" : "ok");
  if (failing) json.Key("online_store").String(problem_);
  json.EndObject();
  return net::JsonResponse(failing ? 503 : 200, std::move(body));
}

}  // namespace gnomon::feature_server
