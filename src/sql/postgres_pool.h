#pragma once

#include <functional>
#include <memory>

#include "base/back_off.h"
#include "base/context.h"
#include "base/error.h"
#include "sql/postgres.h"

namespace gnomon::sql {

struct PostgresPoolOptions {
  int max_connections = 8;
  /// How long a free connection is waited for.
  double checkout_timeout_seconds = 30;
  /// How long a server that does not answer any more is asked again: a restart takes seconds.
  BackOff back_off = {};
  /// The same before the first connection: a wrong address should be told soon.
  BackOff first_back_off = {.total_seconds = 2};
  /// How long `Read` asks again, counted from the beginning of the outage; later it makes a single
  /// attempt, which waits at most `probe_seconds` for a connection.
  BackOff read_back_off = {.longest_seconds = 0.5, .total_seconds = 5};
  double probe_seconds = 1;
  /// `Read` does not ask the system whether a connection that was used this recently still lives.
  double trusted_seconds = 0.5;
};

/// Connections to one server that are opened when they are needed and used again. Thread-safe.
class PostgresPool {
 public:
  /// A connection for one user at a time; goes back at the end of the scope. One that is broken or
  /// was left inside a transaction is closed instead. Outlived by its pool.
  class Lease {
   public:
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&& other) = delete;
    ~Lease();
    Postgres* operator->() { return connection_.get(); }
    Postgres& operator*() { return *connection_; }

   private:
    friend class PostgresPool;
    Lease(PostgresPool* pool, std::unique_ptr<Postgres> connection);
    PostgresPool* pool_;
    std::unique_ptr<Postgres> connection_;  // null after a move
  };

  /// Opens nothing yet.
  explicit PostgresPool(PostgresOptions options, PostgresPoolOptions pool_options = {});
  ~PostgresPool();

  /// A live connection: a free one, or a new one. kExhausted when all are in use for too long.
  Result<Lease> Acquire(const Context& context);

  /// Runs `body` with a connection, and again with another one after a retryable error (lost
  /// connection, restarting server, serialization failure) until the back-off gives up. `body` must
  /// be safe to repeat: reads, or one transaction whose effect is the same when done twice.
  Status Run(const Context& context, const std::function<Status(Postgres* connection)>& body);

  /// The same for reads that somebody waits for: all of them share one patience with a server that
  /// does not answer (base/outage.h), so that they do not pile up while it stays away.
  Status Read(const Context& context, const std::function<Status(Postgres* connection)>& body);

  const PostgresOptions& options() const;
  const PostgresPoolOptions& pool_options() const;

 private:
  struct State;
  /// How long a connection is waited for, and how long after its last use it needs no look.
  struct Patience {
    double checkout_seconds;
    double connect_seconds;
    double trusted_seconds;
  };
  Result<Lease> AcquireWithin(const Context& context, const Patience& patience);
  Status RunOnce(const Context& context, const Patience& patience,
                 const std::function<Status(Postgres* connection)>& body);
  void GiveBack(std::unique_ptr<Postgres> connection);
  std::unique_ptr<State> state_;
};

}  // namespace gnomon::sql
