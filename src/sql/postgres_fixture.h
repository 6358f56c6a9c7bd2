#pragma once

#include "sql/postgres.h"
#include "tests/support/postgres.h"
#include "tests/support/status.h"

/// For tests: connections to a server of the test harness.
namespace gnomon::sql {

inline PostgresOptions OptionsOf(const test::PostgresServer& server) {
  return {.host = server.host(),
          .port = server.port(),
          .database = server.database(),
          .user = server.user(),
          .password = Secret(server.password())};
}

inline Postgres ConnectToShared() {
  return test::ValueOf(Postgres::Connect({}, OptionsOf(test::PostgresServer::Shared())));
}

}  // namespace gnomon::sql
