#include "sql/postgres_url.h"

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon::sql {

using test::ValueOf;

TEST_CASE("a PostgreSQL URL gives where, who and how") {
  const auto options = ValueOf(ParsePostgresUrl(
      "postgresql+psycopg://feast:p%40ss%2Fword@db.example:5433/features?sslmode=require"
      "&options=-csearch_path%3Dregistry&connect_timeout=3"));
  CHECK(options.host == "db.example");
  CHECK(options.port == 5433);
  CHECK(options.database == "features");
  CHECK(options.user == "feast");
  CHECK(options.password.Reveal() == "p@ss/word");
  CHECK(options.sslmode == "require");
  CHECK(options.db_schema == "registry");
  CHECK(options.connect_timeout_seconds == 3);
}

TEST_CASE("parts of a PostgreSQL URL may be absent, and a socket's folder is an option") {
  const auto options = ValueOf(ParsePostgresUrl("postgres:///features?host=/run/pg&user=me"));
  CHECK(options.host == "/run/pg");
  CHECK(options.port == 0);
  CHECK(options.database == "features");
  CHECK(options.user == "me");
  CHECK(options.password.empty());
  CHECK(ValueOf(ParsePostgresUrl("postgresql://[::1]:6000")).host == "::1");
  CHECK(ValueOf(ParsePostgresUrl("postgresql://[::1]:6000")).port == 6000);
  CHECK(ValueOf(ParsePostgresUrl("postgresql://a:b:c@h")).password.Reveal() == "b:c");
}

TEST_CASE("what is no PostgreSQL URL says so without its password") {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"mysql://u:secret@h/d", "postgresql://"},
      {"postgresql://u:secret%4@h/d", "percent"},
      {"postgresql://u:secret@h:port/d", "the port"},
      {"postgresql://u:secret@h:70000/d", "65535"},
      {"postgresql://u:secret@h/d?pool_size=5", "'pool_size'"},
      {"postgresql://u:secret@h/d?options=-cwork_mem=1", "search_path"},
      {"postgresql://u:secret@h/d?sslmode", "without a value"},
      {"postgresql://u:secret@[::1/d", "bracket"}};
  for (const auto& [url, says] : cases) {
    CAPTURE(url);
    CHECK_ERROR(ParsePostgresUrl(url), ErrorKind::kUser, says);
    CHECK(ParsePostgresUrl(url).status().ToString().find("secret") == std::string::npos);
  }
}

}  // namespace gnomon::sql
