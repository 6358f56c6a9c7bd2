#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <libpq-fe.h>

#include "base/context.h"
#include "base/error.h"
#include "sql/postgres.h"

namespace gnomon::sql {

/// A descriptor that a stop request makes readable.
class StopBell {
 public:
  StopBell() = default;
  StopBell(StopBell&& other) noexcept;
  StopBell& operator=(StopBell&& other) noexcept;
  ~StopBell();
  /// Waits until `socket` has one of poll's `events`; false when MonotonicSeconds reaches `end`
  /// before. kCancelled and kDeadline of the context.
  Result<bool> Wait(const Context& context, int socket, int16_t events, std::optional<double> end);

 private:
  int fd_ = -1;  // made when it is first needed
};

struct Postgres::State {
  PGconn* connection = nullptr;
  StopBell bell;
  std::string place;
  bool broken = false;
  std::map<std::string, std::string, std::less<>> prepared;  // text -> name
  int64_t num_prepared = 0;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  /// An error when the context is over or the connection cannot be used any more.
  Status CheckReady(const Context& context) const;
  /// Sends what is buffered and waits until a result can be fetched without blocking.
  Status WaitForResult(const Context& context);
  /// Sends what is buffered.
  Status WaitUntilSent(const Context& context);
  /// Waits for bytes from the server (or, with `sending`, until it takes some).
  Status WaitForServer(const Context& context, bool sending);
  /// All results up to the null one, of which the last is returned, or the first error.
  Result<PostgresResult> Collect(const Context& context, std::string_view statement);
  /// Sends `statement` as it is, or by its prepared name, to which `preparing` adds.
  bool SendInPipeline(const PostgresStatement& statement,
                      std::map<std::string_view, std::string>* preparing,
                      std::string* prepared_now);
  /// Notes that the connection cannot be used any more; returns `status`. When the context ended,
  /// the server is told to stop.
  Status Break(const Status& status);
  /// The error of a result or, with null, of the connection.
  Status ErrorOf(const PGresult* result, std::string_view statement);
};

/// What went wrong at a place.
struct PostgresFailure {
  std::string sqlstate;
  std::string message;
  std::string detail;
  std::string hint;
};
Status PostgresError(std::string_view place, const PostgresFailure& failure,
                     std::string_view statement);

/// The SQLSTATE and message in the text that a refused connection gives, which has no fields. The
/// text must have been made with PQERRORS_VERBOSE.
PostgresFailure FailureOfConnecting(std::string_view text);

}  // namespace gnomon::sql
