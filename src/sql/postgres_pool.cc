#include "sql/postgres_pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/outage.h"
#include "base/text.h"

namespace gnomon::sql {

struct PostgresPool::State {
  State(PostgresOptions where, const PostgresPoolOptions& how)
      : options(std::move(where)), pool_options(how) {}

  struct Idle {
    std::unique_ptr<Postgres> connection;
    double since = 0;  // MonotonicSeconds
  };

  const PostgresOptions options;
  const PostgresPoolOptions pool_options;
  Outage outage;

  Mutex mutex;
  std::condition_variable_any freed;
  std::vector<Idle> idle GNOMON_GUARDED_BY(mutex);  // latest used last
  int in_use GNOMON_GUARDED_BY(mutex) = 0;
  bool connected_once GNOMON_GUARDED_BY(mutex) = false;

  Patience UsualPatience() const {
    return {.checkout_seconds = pool_options.checkout_timeout_seconds,
            .connect_seconds = options.connect_timeout_seconds,
            .trusted_seconds = 0};
  }

  // Takes a place; the latest used idle connection when there is one that lives.
  Result<std::unique_ptr<Postgres>> Checkout(const Context& context, const Patience& patience) {
    const double now = MonotonicSeconds();
    const double end = now + patience.checkout_seconds;
    const double until = context.deadline.has_value() ? std::min(end, *context.deadline) : end;
    Idle taken;
    std::unique_lock lock(mutex);
    while (in_use >= pool_options.max_connections) {
      const std::chrono::duration<double> left(until - MonotonicSeconds());
      if (left.count() <= 0 || context.stop.stop_requested()) {
        GNOMON_RETURN_NOT_OK(context.Check());
        return Error(ErrorKind::kExhausted, "postgres ", options.host, "/", options.database,
                     ": no free connection, all are in use: ", pool_options.max_connections);
      }
      freed.wait_for(lock, context.stop, left,
                     [&] { return in_use < pool_options.max_connections; });
    }
    ++in_use;
    if (idle.empty()) return nullptr;
    taken = std::move(idle.back());
    idle.pop_back();
    lock.unlock();
    const bool trusted = now - taken.since < patience.trusted_seconds;
    if (!trusted && !taken.connection->IsIdleAndAlive()) taken.connection.reset();
    return std::move(taken.connection);
  }

  bool HasConnected() {
    const MutexLock lock(mutex);
    return connected_once;
  }

  /// `retry` with the back-off for a server that has answered before, or for one that has not.
  template <typename Retry>
  Status RetryAsKnown(const BackOff& back_off, const Retry& retry) {
    if (HasConnected()) return retry(back_off);
    const Status first = retry(pool_options.first_back_off);
    if (first.ok() || !IsRetryable(first)) return first;
    // Once connected, a failure is one of a server that was there.
    return HasConnected() ? retry(back_off) : first;
  }

  void Return(std::unique_ptr<Postgres> connection) {
    std::vector<Idle> closed;  // outside the lock
    const double now = MonotonicSeconds();
    {
      const MutexLock lock(mutex);
      --in_use;
      if (connection != nullptr && connection->usable() && !connection->in_transaction()) {
        idle.push_back({std::move(connection), now});
      } else if (connection != nullptr && !connection->usable()) {
        closed.swap(idle);  // what broke one has mostly broken them all
      }
    }
    freed.notify_one();
  }
};

PostgresPool::Lease::Lease(PostgresPool* pool, std::unique_ptr<Postgres> connection)
    : pool_(pool), connection_(std::move(connection)) {}

PostgresPool::Lease::~Lease() {
  if (connection_ != nullptr) pool_->GiveBack(std::move(connection_));
}

PostgresPool::PostgresPool(PostgresOptions options, PostgresPoolOptions pool_options)
    : state_(std::make_unique<State>(std::move(options), pool_options)) {}

PostgresPool::~PostgresPool() = default;

void PostgresPool::GiveBack(std::unique_ptr<Postgres> connection) {
  state_->Return(std::move(connection));
}

const PostgresOptions& PostgresPool::options() const { return state_->options; }

const PostgresPoolOptions& PostgresPool::pool_options() const { return state_->pool_options; }

Result<PostgresPool::Lease> PostgresPool::Acquire(const Context& context) {
  return AcquireWithin(context, state_->UsualPatience());
}

Result<PostgresPool::Lease> PostgresPool::AcquireWithin(const Context& context,
                                                        const Patience& patience) {
  GNOMON_ASSIGN_OR_RETURN(auto connection, state_->Checkout(context, patience));
  if (connection != nullptr) return Lease(this, std::move(connection));
  PostgresOptions options = state_->options;
  options.connect_timeout_seconds = patience.connect_seconds;
  auto opened = Postgres::Connect(context, options);
  if (!opened.ok()) {
    state_->Return(nullptr);
    return opened.status();
  }
  {
    const MutexLock lock(state_->mutex);
    state_->connected_once = true;
  }
  return Lease(this, std::make_unique<Postgres>(*std::move(opened)));
}

Status PostgresPool::RunOnce(const Context& context, const Patience& patience,
                             const std::function<Status(Postgres* connection)>& body) {
  GNOMON_ASSIGN_OR_RETURN(Lease lease, AcquireWithin(context, patience));
  return body(&*lease);
}

Status PostgresPool::Run(const Context& context,
                         const std::function<Status(Postgres* connection)>& body) {
  const auto attempt = [&] {
    return state_->outage.Note(context, RunOnce(context, state_->UsualPatience(), body));
  };
  return state_->RetryAsKnown(state_->pool_options.back_off, [&](const BackOff& back_off) {
    return RetryWithBackOff(context, back_off, std::ref(attempt));
  });
}

Status PostgresPool::Read(const Context& context,
                          const std::function<Status(Postgres* connection)>& body) {
  const auto attempt = [&] {
    const PostgresPoolOptions& options = state_->pool_options;
    Patience patience = state_->UsualPatience();
    patience.trusted_seconds = options.trusted_seconds;
    if (state_->outage.HasLasted(options.read_back_off.total_seconds)) {
      patience.checkout_seconds = std::min(patience.checkout_seconds, options.probe_seconds);
      patience.connect_seconds = std::min(patience.connect_seconds, options.probe_seconds);
    }
    return RunOnce(context, patience, body);
  };
  return state_->RetryAsKnown(state_->pool_options.read_back_off, [&](const BackOff& back_off) {
    return state_->outage.Retry(context, back_off, std::ref(attempt));
  });
}

}  // namespace gnomon::sql
