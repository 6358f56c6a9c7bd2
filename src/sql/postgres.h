#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "sql/postgres_values.h"

struct pg_conn;

namespace gnomon::sql {

/// Where a PostgreSQL server is. What is left empty or 0 comes from libpq's environment (PGHOST,
/// PGPORT, PGDATABASE, PGUSER, PGPASSWORD, ~/.pgpass, PGSSLMODE ...), then from its defaults.
struct PostgresOptions {
  std::string host = {};  ///< a name, an address or the folder of a unix socket
  int port = 0;
  std::string database = {};
  std::string user = {};
  Secret password = {};
  std::string db_schema =
      {};  ///< tables are looked for here, then in public; empty: the server's way
  std::string sslmode = {};  ///< disable, allow, prefer, require, verify-ca, verify-full
  std::string sslrootcert = {};
  std::string sslcert = {};
  std::string sslkey = {};
  double connect_timeout_seconds = 10;
  /// Seconds of silence after which the system asks whether the server still lives; 0: its default.
  int keepalives_idle = 60;
  /// Plan a prepared statement once, not anew for its parameters: for look-ups by key, whose plan
  /// is always the same.
  bool generic_plans = false;
};

/// One statement of a pipeline. The texts and parameters outlive the call.
struct PostgresStatement {
  std::string_view text;
  const PostgresParameters* parameters = nullptr;  ///< null: none
  bool prepare = true;  ///< keep it prepared under its text, for the next time
};

enum class PostgresIsolation { kReadCommitted, kRepeatableRead, kSerializable };

/// One connection. Sessions speak UTF-8 and UTC. Nothing blocks: every wait ends with the context,
/// after which the statement is cancelled on the server and the connection is no longer usable.
/// (Only the look-up of a host's name may take as long as the system's resolver does.)
///
/// Errors name host:port/database and the SQLSTATE, and have a kind: connection failures and
/// shutdowns kUnavailable, 28 and TLS that is refused kUnauthenticated, 42501 kDenied, missing
/// tables, columns and databases kNotFound, constraints kConflict, serialization failures and
/// deadlocks kConflict (to be tried again), 53 and 54 kExhausted, 22 and other 42 kUser, 57014
/// kCancelled, XX001 and XX002 kDataLoss. Not thread-safe.
class Postgres {
 public:
  static Result<Postgres> Connect(const Context& context, const PostgresOptions& options);
  Postgres(Postgres&&) noexcept;
  Postgres& operator=(Postgres&&) noexcept;
  ~Postgres();

  /// Runs one or more statements without parameters and without interest in rows. Several are one
  /// transaction unless they say otherwise.
  Status Execute(const Context& context, const std::string& statements);
  /// Runs one statement; all rows come into memory, in binary format.
  Result<PostgresResult> Query(const Context& context, const std::string& statement,
                               const PostgresParameters& parameters = {});
  /// The same by a statement that is prepared at its first use and known by its text.
  Result<PostgresResult> QueryPrepared(const Context& context, const std::string& statement,
                                       const PostgresParameters& parameters = {});
  /// Runs all statements in one round trip; they are one transaction unless one is open already. A
  /// result for each, or the error of the first that failed.
  Result<std::vector<PostgresResult>> Pipeline(const Context& context,
                                               std::span<const PostgresStatement> statements);

  /// BEGIN, body, COMMIT; ROLLBACK when the body fails. An error of COMMIT that lost the connection
  /// says that the outcome is not known.
  Status Transaction(const Context& context, const std::function<Status()>& body,
                     PostgresIsolation isolation = PostgresIsolation::kReadCommitted);

  /// False after a lost connection or a cancelled wait: open another one.
  bool usable() const;
  bool in_transaction() const;
  /// Whether the server has said nothing while nothing was asked: false when it closed the
  /// connection. Does not wait.
  bool IsIdleAndAlive();
  /// 150018 is version 15.18.
  int server_version() const;
  /// "host:port/database", for messages.
  const std::string& place() const;

  struct State;  ///< postgres_internal.h
  State* state() { return state_.get(); }

 private:
  explicit Postgres(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace gnomon::sql
