#include "sql/postgres_url.h"

#include <charconv>
#include <utility>
#include <vector>

#include "base/text.h"

namespace gnomon::sql {

namespace {

Status BadUrl(std::string_view what) {
  return MakeError(ErrorKind::kUser, Concat("the URL of a PostgreSQL database: ", what), {},
                   "write it as postgresql://user:password@host:port/database");
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "%2F" as "/".
Result<std::string> Decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return BadUrl("a percent sign without two hexadecimal digits");
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

template <typename Number>
Status ReadNumber(std::string_view what, const std::string& text, Number* number) {
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, *number);
  if (parsed.ec == std::errc() && parsed.ptr == end && *number > 0) return Status::OK();
  return BadUrl(Concat(what, " is no number above 0: ", Quoted(text)));
}

Status ReadPort(const std::string& text, PostgresOptions* options) {
  if (text.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(ReadNumber("the port", text, &options->port));
  return options->port <= 65'535 ? Status::OK() : BadUrl("the port is above 65535");
}

// The session settings of `options`: of them the schema.
Status ReadSettings(const std::string& text, PostgresOptions* options) {
  constexpr std::string_view kSearchPath = "search_path=";
  const size_t at = text.find(kSearchPath);
  const bool lone = text.find(' ', at == std::string::npos ? 0 : at) == std::string::npos;
  if (at == std::string::npos || !lone) {
    return BadUrl(Concat("of `options` only -csearch_path=SCHEMA is known: ", Quoted(text)));
  }
  options->db_schema = text.substr(at + kSearchPath.size());
  return Status::OK();
}

Status ReadOption(std::string_view key, const std::string& value, PostgresOptions* options) {
  const std::vector<std::pair<std::string_view, std::string*>> texts = {
      {"host", &options->host},
      {"dbname", &options->database},
      {"user", &options->user},
      {"sslmode", &options->sslmode},
      {"sslcert", &options->sslcert},
      {"sslkey", &options->sslkey},
      {"sslrootcert", &options->sslrootcert}};
  for (const auto& [name, target] : texts) {
    if (name != key) continue;
    *target = value;
    return Status::OK();
  }
  if (key == "port") return ReadPort(value, options);
  if (key == "password") {
    options->password = Secret(value);
    return Status::OK();
  }
  if (key == "connect_timeout") {
    int64_t seconds = 0;
    GNOMON_RETURN_NOT_OK(ReadNumber("connect_timeout", value, &seconds));
    options->connect_timeout_seconds = static_cast<double>(seconds);
    return Status::OK();
  }
  if (key == "options") return ReadSettings(value, options);
  if (key == "application_name" || key == "target_session_attrs") return Status::OK();
  return BadUrl(Concat("no such option: ", Quoted(key)));
}

Status ReadAuthority(std::string_view text, PostgresOptions* options) {
  const size_t at = text.rfind('@');
  if (at != std::string_view::npos) {
    const std::string_view login = text.substr(0, at);
    const size_t colon = login.find(':');
    GNOMON_ASSIGN_OR_RETURN(options->user, Decoded(login.substr(0, colon)));
    if (colon != std::string_view::npos) {
      GNOMON_ASSIGN_OR_RETURN(std::string password, Decoded(login.substr(colon + 1)));
      options->password = Secret(std::move(password));
    }
    text = text.substr(at + 1);
  }
  const bool bracketed = text.starts_with('[');
  const size_t end = bracketed ? text.find(']') : 0;
  if (end == std::string_view::npos) return BadUrl("an address without its closing bracket");
  const size_t colon = text.find(':', end);
  std::string_view host = text.substr(0, colon);
  if (bracketed) host = host.substr(1, end - 1);
  GNOMON_ASSIGN_OR_RETURN(options->host, Decoded(host));
  if (colon == std::string_view::npos) return Status::OK();
  return ReadPort(std::string(text.substr(colon + 1)), options);
}

}  // namespace

Result<PostgresOptions> ParsePostgresUrl(std::string_view url) {
  const size_t scheme_end = url.find("://");
  const std::string_view scheme = url.substr(0, std::min(url.find('+'), scheme_end));
  if (scheme_end == std::string_view::npos || (scheme != "postgresql" && scheme != "postgres")) {
    return BadUrl("it does not begin with postgresql://");
  }
  std::string_view rest = url.substr(scheme_end + 3);
  std::string_view query;
  if (const size_t mark = rest.find('?'); mark != std::string_view::npos) {
    query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  PostgresOptions options;
  const size_t slash = rest.find('/');
  GNOMON_RETURN_NOT_OK(ReadAuthority(rest.substr(0, slash), &options));
  if (slash != std::string_view::npos) {
    GNOMON_ASSIGN_OR_RETURN(options.database, Decoded(rest.substr(slash + 1)));
  }
  if (query.empty()) return options;
  for (const std::string& item : Split(query, '&')) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos) return BadUrl("an option without a value");
    GNOMON_ASSIGN_OR_RETURN(const std::string value, Decoded(item.substr(equals + 1)));
    GNOMON_RETURN_NOT_OK(ReadOption(item.substr(0, equals), value, &options));
  }
  return options;
}

}  // namespace gnomon::sql
