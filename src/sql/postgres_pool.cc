#include "sql/postgres_pool.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/text.h"

namespace gnomon::sql {

struct PostgresPool::State {
  State(PostgresOptions where, const PostgresPoolOptions& how)
      : options(std::move(where)), pool_options(how) {}

  const PostgresOptions options;
  const PostgresPoolOptions pool_options;

  Mutex mutex;
  std::condition_variable_any freed;
  std::vector<std::unique_ptr<Postgres>> idle GNOMON_GUARDED_BY(mutex);  // latest used last
  int in_use GNOMON_GUARDED_BY(mutex) = 0;
  bool connected_once GNOMON_GUARDED_BY(mutex) = false;

  // Takes a place; the latest used idle connection when there is one.
  Result<std::unique_ptr<Postgres>> Checkout(const Context& context) {
    const double end = MonotonicSeconds() + pool_options.checkout_timeout_seconds;
    const double until = context.deadline.has_value() ? std::min(end, *context.deadline) : end;
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
    auto connection = std::move(idle.back());
    idle.pop_back();
    return connection;
  }

  void Return(std::unique_ptr<Postgres> connection) {
    std::vector<std::unique_ptr<Postgres>> closed;  // outside the lock
    {
      const MutexLock lock(mutex);
      --in_use;
      if (connection != nullptr && connection->usable() && !connection->in_transaction()) {
        idle.push_back(std::move(connection));
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
  GNOMON_ASSIGN_OR_RETURN(auto connection, state_->Checkout(context));
  if (connection != nullptr && connection->IsIdleAndAlive())
    return Lease(this, std::move(connection));
  connection.reset();
  auto opened = Postgres::Connect(context, state_->options);
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

Status PostgresPool::Run(const Context& context,
                         const std::function<Status(Postgres* connection)>& body) {
  const auto attempt = [&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(Lease lease, Acquire(context));
    return body(&*lease);
  };
  bool connected_once = false;
  {
    const MutexLock lock(state_->mutex);
    connected_once = state_->connected_once;
  }
  if (connected_once) return RetryWithBackOff(context, state_->pool_options.back_off, attempt);
  // Once connected, a failure is one of a server that was there.
  const Status first = RetryWithBackOff(context, state_->pool_options.first_back_off, attempt);
  if (first.ok() || !IsRetryable(first)) return first;
  {
    const MutexLock lock(state_->mutex);
    connected_once = state_->connected_once;
  }
  return connected_once ? RetryWithBackOff(context, state_->pool_options.back_off, attempt) : first;
}

}  // namespace gnomon::sql
