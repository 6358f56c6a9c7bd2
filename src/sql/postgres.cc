#include "sql/postgres.h"

#include <array>
#include <poll.h>
#include <utility>

#include "base/text.h"
#include "sql/postgres_internal.h"

namespace gnomon::sql {

namespace {

// How long the server may take to undo what was cut off.
constexpr double kRollbackSeconds = 5;

const char* BeginOf(PostgresIsolation isolation) {
  switch (isolation) {
    case PostgresIsolation::kReadCommitted:
      return "BEGIN ISOLATION LEVEL READ COMMITTED";
    case PostgresIsolation::kRepeatableRead:
      return "BEGIN ISOLATION LEVEL REPEATABLE READ";
    case PostgresIsolation::kSerializable:
      return "BEGIN ISOLATION LEVEL SERIALIZABLE";
  }
  return "BEGIN";
}

void SendCancel(PGconn* connection) {
  PGcancel* cancel = PQgetCancel(connection);
  if (cancel == nullptr) return;
  std::array<char, 256> message;
  // Whether it arrives makes no difference here: the connection is given up either way.
  static_cast<void>(PQcancel(cancel, message.data(), static_cast<int>(message.size())));
  PQfreeCancel(cancel);
}

}  // namespace

Postgres::State::~State() { PQfinish(connection); }

Postgres::Postgres(std::unique_ptr<State> state) : state_(std::move(state)) {}
Postgres::Postgres(Postgres&&) noexcept = default;
Postgres& Postgres::operator=(Postgres&&) noexcept = default;
Postgres::~Postgres() = default;

Status Postgres::State::Break(const Status& status) {
  if (!broken && PQstatus(connection) == CONNECTION_OK) SendCancel(connection);
  broken = true;
  return status;
}

Status Postgres::State::CheckReady(const Context& context) const {
  GNOMON_RETURN_NOT_OK(context.Check());
  if (!broken) return Status::OK();
  return Error(ErrorKind::kUnavailable, "postgres ", place, ": the connection was given up");
}

Status Postgres::State::WaitForServer(const Context& context, bool sending) {
  const auto events = static_cast<int16_t>(POLLIN | (sending ? POLLOUT : 0));
  const auto ready = bell.Wait(context, PQsocket(connection), events, std::nullopt);
  return ready.ok() ? Status::OK() : Break(ready.status());
}

Status Postgres::State::WaitForResult(const Context& context) {
  for (;;) {
    const int unsent = PQflush(connection);
    // After an error of the connection PQgetResult does not block and says what it was.
    if (unsent < 0 || PQisBusy(connection) == 0) return Status::OK();
    GNOMON_RETURN_NOT_OK(WaitForServer(context, unsent > 0));
    if (PQconsumeInput(connection) == 0) return Status::OK();
  }
}

Status Postgres::State::WaitUntilSent(const Context& context) {
  for (;;) {
    const int unsent = PQflush(connection);
    if (unsent < 0) return ErrorOf(nullptr, {});
    if (unsent == 0) return Status::OK();
    GNOMON_RETURN_NOT_OK(WaitForServer(context, true));
    // The server may have to get rid of something before it takes more.
    if (PQconsumeInput(connection) == 0) return ErrorOf(nullptr, {});
  }
}

Result<PostgresResult> Postgres::State::Collect(const Context& context,
                                                std::string_view statement) {
  PostgresResult last;
  Status error;
  for (;;) {
    GNOMON_RETURN_NOT_OK(WaitForResult(context));
    PGresult* result = PQgetResult(connection);
    if (result == nullptr) break;
    PostgresResult kept(result);
    switch (PQresultStatus(result)) {
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK:
      case PGRES_EMPTY_QUERY:
        last = std::move(kept);
        continue;
      case PGRES_COPY_IN:
      case PGRES_COPY_OUT:
      case PGRES_COPY_BOTH:
        return Break(
            Error(ErrorKind::kUser, "COPY does not work as a plain statement: ", statement));
      default:
        if (error.ok()) error = ErrorOf(result, statement);
    }
  }
  GNOMON_RETURN_NOT_OK(error);
  return last;
}

Status Postgres::Execute(const Context& context, const std::string& statements) {
  GNOMON_RETURN_NOT_OK(state_->CheckReady(context));
  if (PQsendQuery(state_->connection, statements.c_str()) == 0)
    return state_->ErrorOf(nullptr, statements);
  return state_->Collect(context, statements).status();
}

Result<PostgresResult> Postgres::Query(const Context& context, const std::string& statement,
                                       const PostgresParameters& parameters) {
  GNOMON_RETURN_NOT_OK(state_->CheckReady(context));
  if (PQsendQueryParams(state_->connection, statement.c_str(), parameters.size(),
                        parameters.types_.data(), parameters.values_.data(),
                        parameters.lengths_.data(), parameters.formats_.data(), 1) == 0) {
    return state_->ErrorOf(nullptr, statement);
  }
  return state_->Collect(context, statement);
}

Result<PostgresResult> Postgres::QueryPrepared(const Context& context, const std::string& statement,
                                               const PostgresParameters& parameters) {
  const auto found = state_->prepared.find(statement);
  if (found == state_->prepared.end()) {
    const PostgresStatement one{statement, &parameters};
    GNOMON_ASSIGN_OR_RETURN(auto results, Pipeline(context, {&one, 1}));
    return std::move(results[0]);
  }
  GNOMON_RETURN_NOT_OK(state_->CheckReady(context));
  if (PQsendQueryPrepared(state_->connection, found->second.c_str(), parameters.size(),
                          parameters.values_.data(), parameters.lengths_.data(),
                          parameters.formats_.data(), 1) == 0) {
    return state_->ErrorOf(nullptr, statement);
  }
  return state_->Collect(context, statement);
}

Status Postgres::Transaction(const Context& context, const std::function<Status()>& body,
                             PostgresIsolation isolation) {
  GNOMON_RETURN_NOT_OK(Execute(context, BeginOf(isolation)));
  const Status status = body();
  if (status.ok()) {
    const Status commit = Execute(context, "COMMIT");
    if (commit.ok() || usable()) return commit;
    return WithContext(commit, "the outcome of COMMIT is not known");
  }
  if (usable() && in_transaction()) {
    // Not the caller's context, which may be over.
    const Status rollback = Execute(Context{}.WithTimeout(kRollbackSeconds), "ROLLBACK");
    if (!rollback.ok())
      return WithContext(status, Concat("rollback failed (", rollback.message(), ")"));
  }
  return status;
}

bool Postgres::usable() const {
  return !state_->broken && PQstatus(state_->connection) == CONNECTION_OK;
}

bool Postgres::in_transaction() const {
  return PQtransactionStatus(state_->connection) != PQTRANS_IDLE;
}

bool Postgres::IsIdleAndAlive() {
  if (!usable() || in_transaction()) return false;
  pollfd entry{.fd = PQsocket(state_->connection), .events = POLLIN, .revents = 0};
  // A notice or a changed setting may be waiting, or a last message and the end.
  while (::poll(&entry, 1, 0) != 0) {
    if (PQconsumeInput(state_->connection) == 0 || PQisBusy(state_->connection) != 0) return false;
  }
  return usable();
}

int Postgres::server_version() const { return PQserverVersion(state_->connection); }

const std::string& Postgres::place() const { return state_->place; }

}  // namespace gnomon::sql
