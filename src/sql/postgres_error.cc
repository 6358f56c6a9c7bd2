#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "base/text.h"
#include "sql/postgres_internal.h"

namespace gnomon::sql {

namespace {

struct Rule {
  std::string_view prefix;  // of the SQLSTATE
  ErrorKind kind;
  bool retryable = false;
  std::string_view hint = {};
};

// The first rule that fits counts.
constexpr std::array kRules = {
    Rule{"08", ErrorKind::kUnavailable, true},
    Rule{"57P", ErrorKind::kUnavailable, true},
    Rule{"57014", ErrorKind::kCancelled},
    Rule{"28", ErrorKind::kUnauthenticated, false,
         "check user and password (password in feature_store.yaml, or PGPASSWORD) and the server's "
         "pg_hba.conf"},
    Rule{"3D000", ErrorKind::kNotFound, false,
         "create the database, or name another as `database`"},
    Rule{"3F000", ErrorKind::kNotFound, false, "create the schema, or name another as `db_schema`"},
    Rule{"42501", ErrorKind::kDenied},
    Rule{"42P01", ErrorKind::kNotFound},
    Rule{"42703", ErrorKind::kNotFound},
    Rule{"42704", ErrorKind::kNotFound},
    Rule{"42883", ErrorKind::kNotFound},
    Rule{"42P06", ErrorKind::kConflict},
    Rule{"42P07", ErrorKind::kConflict},
    Rule{"42710", ErrorKind::kConflict},
    Rule{"40", ErrorKind::kConflict, true},
    Rule{"23", ErrorKind::kConflict},
    Rule{"53300", ErrorKind::kExhausted, true,
         "raise the server's max_connections, or let fewer connections be opened"},
    Rule{"53", ErrorKind::kExhausted},
    Rule{"54", ErrorKind::kExhausted},
    Rule{"55P03", ErrorKind::kUnavailable, true},
    Rule{"55", ErrorKind::kConflict},
    Rule{"26000", ErrorKind::kUnavailable, true},  // a prepared statement that a proxy dropped
    Rule{"25006", ErrorKind::kDenied, false, "this server only reads: connect to the primary one"},
    Rule{"0A000", ErrorKind::kUnsupported},
    Rule{"22", ErrorKind::kUser},
    Rule{"42", ErrorKind::kUser},
    Rule{"P0", ErrorKind::kUser},
    Rule{"58", ErrorKind::kUnavailable, true},
    Rule{"XX001", ErrorKind::kDataLoss},
    Rule{"XX002", ErrorKind::kDataLoss},
};

bool IsSqlState(std::string_view text) {
  return text.size() == 5 && std::ranges::all_of(text, [](unsigned char c) {
           return std::isdigit(c) != 0 || (c >= 'A' && c <= 'Z');
         });
}

// The beginning of a statement, for messages.
std::string Shown(std::string_view statement) {
  constexpr size_t kMax = 80;
  std::string text(Trim(statement));
  std::ranges::replace(text, '\n', ' ');
  if (text.size() > kMax) {
    text.resize(kMax);
    text += "...";
  }
  return text;
}

}  // namespace

Status PostgresError(std::string_view place, const PostgresFailure& failure,
                     std::string_view statement) {
  std::string text = Concat("postgres ", place, ": ", Trim(failure.message));
  if (!failure.detail.empty()) text += Concat(": ", Trim(failure.detail));
  if (!failure.sqlstate.empty()) text += Concat(" (", failure.sqlstate, ")");
  if (!statement.empty()) text += Concat(": ", Shown(statement));

  Rule rule{"", ErrorKind::kInternal};
  if (failure.sqlstate.empty()) {
    rule = {"", ErrorKind::kUnavailable, true};
  } else {
    const auto* found = std::ranges::find_if(
        kRules, [&](const Rule& each) { return failure.sqlstate.starts_with(each.prefix); });
    if (found != kRules.end()) rule = *found;
  }
  std::string hint = failure.hint.empty() ? std::string(rule.hint) : failure.hint;
  const Status status = MakeError(rule.kind, std::move(text));
  return status.WithDetail(
      std::make_shared<ErrorDetail>(rule.kind, rule.retryable, Location{}, std::move(hint)));
}

// "FATAL:  28P01: password authentication failed for user "x"\nLOCATION:  auth_failed, auth.c:326",
// with the severity in the server's language.
PostgresFailure FailureOfConnecting(std::string_view text) {
  PostgresFailure failure;
  for (size_t at = text.find(": "); at != std::string_view::npos; at = text.find(": ", at + 1)) {
    if (at < 7 || !IsSqlState(text.substr(at - 5, 5)) || text.substr(at - 7, 2) != "  ") continue;
    failure.sqlstate = text.substr(at - 5, 5);
    text.remove_prefix(at + 2);
    text = text.substr(0, text.find('\n'));
    break;
  }
  failure.message = Trim(text);
  std::ranges::replace(failure.message, '\n', ' ');
  return failure;
}

Status Postgres::State::ErrorOf(const PGresult* result, std::string_view statement) {
  if (PQstatus(connection) == CONNECTION_BAD) broken = true;
  PostgresFailure failure;
  if (result != nullptr) {
    const auto field = [&](int code) {
      const char* value = PQresultErrorField(result, code);
      return std::string(value == nullptr ? "" : value);
    };
    failure = {field(PG_DIAG_SQLSTATE), field(PG_DIAG_MESSAGE_PRIMARY),
               field(PG_DIAG_MESSAGE_DETAIL), field(PG_DIAG_MESSAGE_HINT)};
    if (failure.message.empty()) failure.message = PQresultErrorMessage(result);
  } else {
    failure.message = PQerrorMessage(connection);
  }
  // A table that was altered meanwhile: prepared anew, the statement works.
  if (failure.sqlstate == "0A000" && prepared.contains(statement)) failure.sqlstate = "26000";
  if (failure.sqlstate == "26000") prepared.clear();
  std::ranges::replace(failure.message, '\n', ' ');
  return PostgresError(place, failure, statement);
}

}  // namespace gnomon::sql
