#pragma once

#include "feature/definition/repository.h"
#include "tests/support/postgres.h"

/// For tests: the offline store in a server of the test harness.
namespace gnomon::feature {

inline RepositoryConfig ConfigOf(const test::PostgresServer& server) {
  RepositoryConfig config;
  config.offline_store.type = "postgres";
  config.offline_store.host = server.host();
  config.offline_store.port = server.port();
  config.offline_store.database = server.database();
  config.offline_store.user = server.user();
  config.offline_store.password = Secret(server.password());
  return config;
}

}  // namespace gnomon::feature
