#include <csignal>
#include <string>
#include <unistd.h>

#include <doctest/doctest.h>

#include "base/text.h"
#include "tests/support/postgres.h"
#include "tests/support/redis.h"
#include "tests/support/status.h"

namespace gnomon::test {
namespace {

TEST_CASE("a PostgreSQL server answers, and keeps its data over a restart") {
  PostgresServer server = PostgresServer::Start();
  const auto ask = [&](const std::string& statement) {
    return RunCommand({"psql", "-X", "-At", "-h", server.socket_folder(), "-p",
                       Concat(server.port()), "-U", server.user(), "-d", server.database(), "-c",
                       statement});
  };
  CHECK(ask("CREATE TABLE t AS SELECT 17 AS x").exit_code == 0);
  server.Restart();
  CHECK(ask("SELECT x FROM t").out == "17\n");
  server.Stop();
  CHECK(ask("SELECT x FROM t").exit_code != 0);
}

TEST_CASE("a Redis server answers, and forgets") {
  RedisServer server = RedisServer::Start({.password = "secret"});
  const auto ask = [&](const std::vector<std::string>& words) {
    std::vector<std::string> command = {"redis-cli", "-p",     Concat(server.port()),
                                        "-a",        "secret", "--no-auth-warning"};
    command.insert(command.end(), words.begin(), words.end());
    return RunCommand(command).out;
  };
  CHECK(ask({"SET", "a", "1"}) == "OK\n");
  CHECK(ask({"GET", "a"}) == "1\n");
  server.FlushAll();
  CHECK(ask({"GET", "a"}) == "\n");
  server.Restart();
  CHECK(ask({"PING"}) == "PONG\n");
}

}  // namespace
}  // namespace gnomon::test
