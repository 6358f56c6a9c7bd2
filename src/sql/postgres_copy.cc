#include "sql/postgres_copy.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "sql/postgres_internal.h"

namespace gnomon::sql {

namespace {

// Bytes that libpq may hold before Write waits for the server to take them.
constexpr size_t kMaxUnsent = size_t{256} * 1024;

Status BeginCopy(const Context& context, Postgres* connection, const std::string& statement,
                 ExecStatusType expected) {
  Postgres::State* state = connection->state();
  GNOMON_RETURN_NOT_OK(state->CheckReady(context));
  if (PQsendQuery(state->connection, statement.c_str()) == 0)
    return state->ErrorOf(nullptr, statement);
  GNOMON_RETURN_NOT_OK(state->WaitForResult(context));
  const PostgresResult result(PQgetResult(state->connection));
  PGresult* raw = result.raw();
  if (PQresultStatus(raw) == expected) return Status::OK();
  if (PQresultStatus(raw) != PGRES_FATAL_ERROR)
    return state->Break(Error(ErrorKind::kInternal, "no COPY statement: ", statement));
  const Status error = state->ErrorOf(raw, statement);
  static_cast<void>(state->Collect(context, statement));
  return error;
}

}  // namespace

PostgresCopyOut::PostgresCopyOut(const Context& context, Postgres* connection,
                                 std::string statement)
    : context_(context), connection_(connection), statement_(std::move(statement)) {}

Result<PostgresCopyOut> PostgresCopyOut::Begin(const Context& context, Postgres* connection,
                                               const std::string& statement) {
  GNOMON_RETURN_NOT_OK(BeginCopy(context, connection, statement, PGRES_COPY_OUT));
  return PostgresCopyOut(context, connection, statement);
}

PostgresCopyOut::PostgresCopyOut(PostgresCopyOut&& other) noexcept
    : context_(std::move(other.context_)),
      connection_(std::exchange(other.connection_, nullptr)),
      statement_(std::move(other.statement_)),
      piece_(std::exchange(other.piece_, nullptr)),
      ended_(other.ended_) {}

PostgresCopyOut::~PostgresCopyOut() {
  PQfreemem(piece_);
  if (connection_ != nullptr && !ended_)
    static_cast<void>(connection_->state()->Break(Status::OK()));
}

Result<std::optional<std::string_view>> PostgresCopyOut::Next() {
  PQfreemem(std::exchange(piece_, nullptr));
  if (ended_) return std::nullopt;
  Postgres::State* state = connection_->state();
  for (;;) {
    const int length = PQgetCopyData(state->connection, &piece_, 1);
    if (length > 0) return std::string_view(piece_, static_cast<size_t>(length));
    if (length < 0) break;  // the end, or an error that the result says
    GNOMON_RETURN_NOT_OK(state->WaitForServer(context_, PQflush(state->connection) > 0));
    if (PQconsumeInput(state->connection) == 0) {
      ended_ = true;
      return state->ErrorOf(nullptr, statement_);
    }
  }
  ended_ = true;
  GNOMON_RETURN_NOT_OK(state->Collect(context_, statement_));
  return std::nullopt;
}

PostgresCopyIn::PostgresCopyIn(const Context& context, Postgres* connection, std::string statement)
    : context_(context), connection_(connection), statement_(std::move(statement)) {}

Result<PostgresCopyIn> PostgresCopyIn::Begin(const Context& context, Postgres* connection,
                                             const std::string& statement) {
  GNOMON_RETURN_NOT_OK(BeginCopy(context, connection, statement, PGRES_COPY_IN));
  return PostgresCopyIn(context, connection, statement);
}

PostgresCopyIn::PostgresCopyIn(PostgresCopyIn&& other) noexcept
    : context_(std::move(other.context_)),
      connection_(std::exchange(other.connection_, nullptr)),
      statement_(std::move(other.statement_)),
      unsent_(other.unsent_),
      ended_(other.ended_) {}

PostgresCopyIn::~PostgresCopyIn() {
  if (connection_ != nullptr && !ended_)
    static_cast<void>(connection_->state()->Break(Status::OK()));
}

Status PostgresCopyIn::Write(std::string_view bytes) {
  Postgres::State* state = connection_->state();
  GNOMON_CHECK(!ended_, "written after the end");
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kMaxUnsent);
    const int queued =
        PQputCopyData(state->connection, piece.data(), static_cast<int>(piece.size()));
    if (queued < 0) return state->ErrorOf(nullptr, statement_);
    if (queued > 0) {
      bytes.remove_prefix(piece.size());
      unsent_ += piece.size();
    }
    if (queued == 0 || unsent_ >= kMaxUnsent) {
      GNOMON_RETURN_NOT_OK(state->WaitUntilSent(context_));
      unsent_ = 0;
    }
  }
  return Status::OK();
}

Result<int64_t> PostgresCopyIn::Finish() {
  Postgres::State* state = connection_->state();
  GNOMON_CHECK(!ended_, "finished twice");
  GNOMON_RETURN_NOT_OK(state->WaitUntilSent(context_));
  ended_ = true;
  while (true) {
    const int queued = PQputCopyEnd(state->connection, nullptr);
    if (queued < 0) return state->ErrorOf(nullptr, statement_);
    if (queued > 0) break;
    GNOMON_RETURN_NOT_OK(state->WaitUntilSent(context_));
  }
  GNOMON_ASSIGN_OR_RETURN(const PostgresResult result, state->Collect(context_, statement_));
  return result.affected_rows();
}

}  // namespace gnomon::sql
