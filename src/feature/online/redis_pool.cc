#include <algorithm>
#include <chrono>
#include <utility>

#include "base/back_off.h"
#include "base/clock.h"
#include "base/text.h"
#include "feature/online/redis_cluster_connection_internal.h"
#include "feature/online/redis_pool_internal.h"
#include "feature/online/redis_scripts_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr double kCheckoutSeconds = 30;
/// A wrong address should be told soon; a server that has answered before is restarting.
constexpr double kFirstSeconds = 2;
/// How long reads ask again, counted from the beginning of an outage; later each makes a single
/// attempt, which waits this long for a connection.
constexpr BackOff kReads = {.longest_seconds = 0.5, .total_seconds = 5};
constexpr double kProbeSeconds = 1;

bool IsLost(const Status& status) {
  const ErrorKind kind = KindOf(status);
  return kind == ErrorKind::kUnavailable || kind == ErrorKind::kDeadline ||
         kind == ErrorKind::kCancelled;
}

}  // namespace

RedisPool::RedisPool(RedisOptions options, std::vector<RedisAddress> servers, int max_connections)
    : options_(std::move(options)),
      cluster_(servers.empty() ? nullptr
                               : std::make_shared<RedisCluster>(options_, std::move(servers))),
      max_connections_(static_cast<size_t>(max_connections)) {}

std::string RedisPool::place() const {
  return cluster_ != nullptr ? cluster_->place() : Concat(options_.host, ":", options_.port);
}

RedisPool::Patience RedisPool::UsualPatience() const {
  return {.checkout_seconds = kCheckoutSeconds, .connect_seconds = options_.connect_seconds};
}

bool RedisPool::HasConnected() {
  const MutexLock lock(mutex_);
  return connected_before_;
}

Status RedisPool::Run(const Context& context, const std::function<Status(RedisClient*)>& body) {
  BackOff back_off;
  if (!HasConnected()) back_off.total_seconds = kFirstSeconds;
  return RetryWithBackOff(context, back_off, [&] { return RunOnce(context, body); });
}

Status RedisPool::Read(const Context& context, const std::function<Status(RedisClient*)>& body) {
  BackOff back_off = kReads;
  if (!HasConnected()) back_off.total_seconds = kFirstSeconds;
  return outage_.Retry(context, back_off, [&] {
    Patience patience = UsualPatience();
    if (outage_.HasLasted(kReads.total_seconds)) {
      patience.checkout_seconds = std::min(patience.checkout_seconds, kProbeSeconds);
      patience.connect_seconds = std::min(patience.connect_seconds, kProbeSeconds);
    }
    return RunWithin(context, patience, body);
  });
}

Status RedisPool::RunOnce(const Context& context, const std::function<Status(RedisClient*)>& body) {
  return outage_.Note(context, RunWithin(context, UsualPatience(), body));
}

Status RedisPool::RunWithin(const Context& context, const Patience& patience,
                            const std::function<Status(RedisClient*)>& body) {
  GNOMON_ASSIGN_OR_RETURN(auto client, Acquire(context, patience));
  const Status status = body(client.get());
  const bool reusable = (status.ok() || !IsLost(status)) && !client->connection->has_pending();
  GiveBack(std::move(client), reusable);
  return status;
}

Result<std::unique_ptr<RedisClient>> RedisPool::Acquire(const Context& context,
                                                        const Patience& patience) {
  {
    const double give_up = MonotonicSeconds() + patience.checkout_seconds;
    const MutexLock lock(mutex_);
    while (idle_.empty() && in_use_ >= max_connections_) {
      GNOMON_RETURN_NOT_OK(WithContext(context.Check(), "waiting for a redis connection"));
      if (MonotonicSeconds() >= give_up) {
        return MakeError(
            ErrorKind::kExhausted,
            Concat("all ", max_connections_, " connections to redis ", place(), " are in use"), {},
            "raise online_store.max_conn");
      }
      free_.wait_for(mutex_, std::chrono::milliseconds(50));
    }
    ++in_use_;
    if (!idle_.empty()) {
      auto client = std::move(idle_.back());
      idle_.pop_back();
      return client;
    }
  }
  auto client = Connect(context, patience.connect_seconds);
  const MutexLock lock(mutex_);
  if (client.ok()) {
    connected_before_ = true;
  } else {
    --in_use_;
    free_.notify_one();
  }
  return client;
}

Result<std::unique_ptr<RedisClient>> RedisPool::Connect(const Context& context,
                                                        double connect_seconds) {
  auto client = std::make_unique<RedisClient>();
  if (cluster_ != nullptr) {
    GNOMON_ASSIGN_OR_RETURN(client->connection,
                            RedisClusterConnection::Connect(context, cluster_, connect_seconds));
    return client;
  }
  RedisOptions options = options_;
  options.connect_seconds = connect_seconds;
  GNOMON_ASSIGN_OR_RETURN(auto connection, RedisConnection::Connect(context, options));
  GNOMON_RETURN_NOT_OK(LoadRedisScripts(context, connection.get()));
  client->connection = std::move(connection);
  return client;
}

void RedisPool::GiveBack(std::unique_ptr<RedisClient> client, bool reusable) {
  std::vector<std::unique_ptr<RedisClient>> dropped;
  if (!reusable && cluster_ != nullptr) cluster_->Forget();
  {
    const MutexLock lock(mutex_);
    --in_use_;
    if (reusable) {
      idle_.push_back(std::move(client));
    } else {
      dropped.swap(idle_);  // what broke one connection has broken the others
    }
  }
  free_.notify_one();
}

}  // namespace gnomon::feature::internal
