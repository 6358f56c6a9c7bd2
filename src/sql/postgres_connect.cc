#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <functional>
#include <optional>
#include <poll.h>
#include <stop_token>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/text.h"
#include "sql/postgres_internal.h"
#include "sql/sqlite.h"

namespace gnomon::sql {

namespace {

/// libpq's parameters; what is not given stays to its environment and defaults.
class ConnectionParameters {
 public:
  void Add(const char* keyword, std::string value) {
    if (value.empty()) return;
    keywords_.push_back(keyword);
    texts_.push_back(std::move(value));
  }
  PGconn* Start() {
    std::vector<const char*> keywords = keywords_;
    std::vector<const char*> values;
    for (const std::string& text : texts_) values.push_back(text.c_str());
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    return PQconnectStartParams(keywords.data(), values.data(), 0);
  }

 private:
  std::vector<const char*> keywords_;
  std::vector<std::string> texts_;
};

// "-c name=value", with white space and backslashes of the value escaped for `options`.
std::string SessionOption(std::string_view name, std::string_view value) {
  std::string out = Concat("-c ", name, "=");
  for (const char c : value) {
    if (c == ' ' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

// As Feast has it: what is not in the schema is looked for in public.
std::string SearchPath(const std::string& schema) {
  const std::string first = QuoteIdentifier(schema);
  return schema == "public" ? first : Concat(first, ",public");
}

ConnectionParameters ParametersOf(const PostgresOptions& options) {
  ConnectionParameters parameters;
  const auto number = [](int value) { return value > 0 ? Concat(value) : std::string(); };
  parameters.Add("host", options.host);
  parameters.Add("port", number(options.port));
  parameters.Add("dbname", options.database);
  parameters.Add("user", options.user);
  parameters.Add("password", options.password.Reveal());
  parameters.Add("sslmode", options.sslmode);
  parameters.Add("sslrootcert", options.sslrootcert);
  parameters.Add("sslcert", options.sslcert);
  parameters.Add("sslkey", options.sslkey);
  parameters.Add("client_encoding", "UTF8");
  parameters.Add("fallback_application_name", "gnomon");
  parameters.Add("keepalives_idle", number(options.keepalives_idle));
  // Also bounds the connection that PQcancel makes, which knows no other limit.
  const double timeout_ms = std::ceil(options.connect_timeout_seconds * 1000);
  parameters.Add("tcp_user_timeout", number(static_cast<int>(std::min(timeout_ms, 1e9))));
  std::string session = SessionOption("TimeZone", "UTC");
  if (!options.db_schema.empty())
    session += Concat(" ", SessionOption("search_path", SearchPath(options.db_schema)));
  if (options.generic_plans)
    session += Concat(" ", SessionOption("plan_cache_mode", "force_generic_plan"));
  parameters.Add("options", session);
  return parameters;
}

std::string PlaceOf(const PGconn* connection) {
  const auto text = [](const char* value) {
    return std::string_view(value == nullptr ? "" : value);
  };
  return Concat(text(PQhost(connection)), ":", text(PQport(connection)), "/",
                text(PQdb(connection)));
}

// Drives the handshake to its end.
Status Establish(const Context& context, Postgres::State* state, double timeout_seconds) {
  const double end = MonotonicSeconds() + timeout_seconds;
  for (PostgresPollingStatusType next = PGRES_POLLING_WRITING; next != PGRES_POLLING_OK;) {
    if (next == PGRES_POLLING_FAILED) return Status::Invalid("refused");
    const auto events = static_cast<int16_t>(next == PGRES_POLLING_READING ? POLLIN : POLLOUT);
    GNOMON_ASSIGN_OR_RETURN(const bool ready,
                            state->bell.Wait(context, PQsocket(state->connection), events, end));
    if (!ready) {
      return Error(ErrorKind::kUnavailable, "postgres ", state->place,
                   ": no connection within seconds: ", timeout_seconds);
    }
    next = PQconnectPoll(state->connection);
  }
  return Status::OK();
}

/// TLS that cannot be had as it was asked for; a connection that merely broke is no such thing.
bool IsAboutTls(std::string_view message) {
  constexpr std::array<std::string_view, 3> kSigns = {"certificate", "does not support SSL",
                                                      "private key"};
  return std::ranges::any_of(
      kSigns, [&](std::string_view sign) { return message.find(sign) != std::string_view::npos; });
}

Status Refused(PGconn* connection, std::string_view place) {
  PostgresFailure failure = FailureOfConnecting(PQerrorMessage(connection));
  if (failure.sqlstate.empty() && PQconnectionNeedsPassword(connection) != 0) {
    failure.sqlstate = "28P01";
    failure.message = "the server asks for a password and there is none";
  }
  if (failure.sqlstate.empty() && IsAboutTls(failure.message)) {
    return MakeError(ErrorKind::kUnauthenticated, Concat("postgres ", place, ": ", failure.message),
                     {}, "check sslmode, sslrootcert, sslcert and sslkey, and the server's ssl");
  }
  return PostgresError(place, failure, {});
}

}  // namespace

StopBell::StopBell(StopBell&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

StopBell& StopBell::operator=(StopBell&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

StopBell::~StopBell() {
  if (fd_ >= 0) ::close(fd_);
}

Result<bool> StopBell::Wait(const Context& context, int socket, int16_t events,
                            std::optional<double> end) {
  if (context.deadline.has_value() && (!end.has_value() || *context.deadline < *end))
    end = context.deadline;
  std::array<pollfd, 2> entries = {
      {{.fd = socket, .events = events, .revents = 0}, {.fd = -1, .events = POLLIN, .revents = 0}}};
  std::optional<std::stop_callback<std::function<void()>>> ring;
  if (context.stop.stop_possible()) {
    if (fd_ < 0) fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd_ < 0) return ErrnoError(errno, "eventfd");
    entries[1].fd = fd_;
    ring.emplace(context.stop, [fd = fd_] { ::eventfd_write(fd, 1); });
  }
  for (;;) {
    GNOMON_RETURN_NOT_OK(context.Check());
    int timeout = -1;
    if (end.has_value()) {
      const double left = *end - MonotonicSeconds();
      if (left <= 0) {
        GNOMON_RETURN_NOT_OK(context.Check());
        return false;
      }
      timeout = static_cast<int>(std::ceil(std::min(left, 1e6) * 1000));
    }
    const int ready = ::poll(entries.data(), entries.size(), timeout);
    if (ready < 0 && errno != EINTR) return ErrnoError(errno, "poll");
    if (ready > 0 && entries[0].revents != 0) return true;
  }
}

Result<Postgres> Postgres::Connect(const Context& context, const PostgresOptions& options) {
  GNOMON_RETURN_NOT_OK(context.Check());
  auto state = std::make_unique<State>();
  state->connection = ParametersOf(options).Start();
  if (state->connection == nullptr) return Error(ErrorKind::kExhausted, "postgres: no memory");
  PGconn* connection = state->connection;
  if (PQstatus(connection) == CONNECTION_BAD) {
    // Wrong parameters, or a host that has no address.
    state->place = Concat(options.host, ":", options.port, "/", options.database);
    return Refused(connection, state->place);
  }
  state->place = PlaceOf(connection);
  PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
  const Status status = Establish(context, state.get(), options.connect_timeout_seconds);
  if (!status.ok()) {
    return PQstatus(connection) == CONNECTION_BAD ? Refused(connection, state->place) : status;
  }
  PQsetErrorVerbosity(connection, PQERRORS_DEFAULT);
  PQsetNoticeProcessor(
      connection, [](void*, const char*) {}, nullptr);
  if (PQsetnonblocking(connection, 1) != 0) return state->ErrorOf(nullptr, {});
  return Postgres(std::move(state));
}

}  // namespace gnomon::sql
