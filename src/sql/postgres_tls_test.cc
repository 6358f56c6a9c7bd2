#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "sql/postgres_fixture.h"
#include "tests/support/certificates.h"
#include "tests/support/temporary.h"

namespace gnomon::sql {

using test::Authority;
using test::PostgresServer;
using test::ValueOf;

namespace {

/// Gives the server a certificate and makes it read its settings again.
void TurnOnTls(const PostgresServer& server, const Authority& authority,
               const std::string& folder) {
  authority.SignServer(folder);
  Postgres connection = ValueOf(Postgres::Connect({}, OptionsOf(server)));
  const std::string data =
      std::string(ValueOf(ValueOf(connection.Query({}, "SHOW data_directory")).Text(0, 0)));
  // The server's own user has to own the key.
  for (const char* file : {"/server.key", "/server.crt"}) {
    const std::string text = ValueOf(ReadFile(folder + file));
    CHECK_OK(connection.Execute(
        {}, Concat("COPY (SELECT unnest(string_to_array('", Trim(text),
                   "', E'\\n'))) TO PROGRAM 'umask 077; cat > ", data, file, "'")));
  }
  CHECK_OK(connection.Execute({}, "ALTER SYSTEM SET ssl = on"));
  CHECK_OK(connection.Execute({}, "SELECT pg_reload_conf()"));
}

bool IsEncrypted(Postgres* connection) {
  return ValueOf(
      ValueOf(connection->Query({}, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
          .Bool(0, 0));
}

}  // namespace

TEST_CASE("TLS is spoken as sslmode asks, and what is not trusted is refused by name") {
  const PostgresServer server = PostgresServer::Start();
  PostgresOptions options = OptionsOf(server);
  options.sslmode = "require";
  CHECK_ERROR(Postgres::Connect({}, options), ErrorKind::kUnauthenticated, "does not support SSL");

  const auto folder = test::MakeTemporaryFolder();
  const auto others = test::MakeTemporaryFolder();
  const Authority authority(folder.path());
  const Authority stranger(others.path());
  TurnOnTls(server, authority, folder.path());

  const auto connect = [&](const char* host, const char* mode, const std::string& root) {
    options.host = host;
    options.sslmode = mode;
    options.sslrootcert = root;
    // The server reads its settings a moment after it was told to.
    const double end = MonotonicSeconds() + 30 * test::TimeScale();
    for (;;) {
      auto connection = Postgres::Connect({}, options);
      if (connection.ok() || MonotonicSeconds() > end ||
          connection.status().message().find("does not support SSL") == std::string::npos)
        return connection;
    }
  };
  Postgres required = ValueOf(connect("127.0.0.1", "require", ""));
  CHECK(IsEncrypted(&required));
  Postgres full = ValueOf(connect("localhost", "verify-full", authority.certificate()));
  CHECK(IsEncrypted(&full));
  Postgres plain = ValueOf(connect("127.0.0.1", "disable", ""));
  CHECK_FALSE(IsEncrypted(&plain));

  CHECK_ERROR(connect("localhost", "verify-full", stranger.certificate()),
              ErrorKind::kUnauthenticated, "certificate verify failed");
  CHECK_ERROR(connect("127.0.0.1", "verify-full", authority.certificate()),
              ErrorKind::kUnauthenticated, "does not match host name");
  CHECK_ERROR(connect("localhost", "verify-ca", folder.path() + "/none.crt"),
              ErrorKind::kUnauthenticated, "none.crt");
}

}  // namespace gnomon::sql
