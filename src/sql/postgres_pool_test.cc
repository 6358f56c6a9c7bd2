#include "sql/postgres_pool.h"

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "base/text.h"
#include "sql/postgres_fixture.h"

namespace gnomon::sql {
namespace {

using test::PostgresServer;
using test::ValueOf;

int64_t Backend(Postgres* connection) {
  return ValueOf(ValueOf(connection->Query({}, "SELECT pg_backend_pid()")).Int64(0, 0));
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("a connection that was given back is used again, a broken one is not") {
  PostgresPool pool(OptionsOf(PostgresServer::Shared()));
  int64_t first = 0;
  {
    auto lease = ValueOf(pool.Acquire({}));
    first = Backend(&*lease);
  }
  {
    auto lease = ValueOf(pool.Acquire({}));
    CHECK(Backend(&*lease) == first);
    CHECK_FALSE(lease->Query({}, "SELECT pg_terminate_backend(pg_backend_pid())").ok());
    CHECK_FALSE(lease->usable());
  }
  {
    auto lease = ValueOf(pool.Acquire({}));
    CHECK(Backend(&*lease) != first);
    CHECK_OK(lease->Execute({}, "BEGIN"));
    first = Backend(&*lease);
  }
  auto lease = ValueOf(pool.Acquire({}));
  CHECK(Backend(&*lease) != first);
}

TEST_CASE("a pool of two serves many threads with two connections") {
  PostgresPool pool(OptionsOf(PostgresServer::Shared()), {.max_connections = 2});
  std::atomic<int> users = 0;
  std::atomic<int> most = 0;
  std::atomic<int> done = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 20; ++round) {
          const Status status = pool.Run({}, [&](Postgres* connection) -> Status {
            const int now = ++users;
            int seen = most.load();
            while (seen < now && !most.compare_exchange_weak(seen, now)) {
            }
            const auto result = connection->QueryPrepared({}, "SELECT 1");
            --users;
            return result.status();
          });
          if (status.ok()) ++done;
        }
      });
    }
  }
  CHECK(done == 160);
  CHECK(most <= 2);
}

TEST_CASE("when all connections are in use one is waited for, until the time is up") {
  PostgresPool hasty(OptionsOf(PostgresServer::Shared()),
                     {.max_connections = 1, .checkout_timeout_seconds = 0.05});
  {
    auto lease = ValueOf(hasty.Acquire({}));
    CHECK_ERROR(hasty.Acquire({}), ErrorKind::kExhausted, "no free connection");
  }
  CHECK(hasty.Acquire({}).ok());
  PostgresPool patient(OptionsOf(PostgresServer::Shared()),
                       {.max_connections = 1, .checkout_timeout_seconds = 1000});
  auto lease = ValueOf(patient.Acquire({}));
  CHECK_ERROR(patient.Acquire(Context{}.WithTimeout(0.01)), ErrorKind::kDeadline, "");
}

TEST_CASE("work goes on after the server was restarted") {
  PostgresServer server = PostgresServer::Start();
  PostgresPool pool(OptionsOf(server));
  REQUIRE(pool.Run({},
                   [](Postgres* connection) {
                     return connection->Execute({}, "CREATE TABLE t (x int)");
                   })
              .ok());
  server.Stop();
  int attempts = 0;
  Status inserted;
  {
    // The server is a child of this thread, which therefore does the restart.
    const std::jthread worker([&] {
      inserted = pool.Run({}, [&](Postgres* connection) -> Status {
        ++attempts;
        return connection->Execute({}, "INSERT INTO t VALUES (1)");
      });
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    server.StartAgain();
  }
  CHECK_OK(inserted);
  CHECK(attempts == 1);  // the others found nobody to talk to

  server.Stop();
  // Who never reached the server has another patience: here it is a single attempt.
  PostgresPool stranger(OptionsOf(server), {.first_back_off = {.total_seconds = 0}});
  const Status away = stranger.Run({}, [](Postgres*) { return Status::OK(); });
  CHECK(KindOf(away) == ErrorKind::kUnavailable);
  CHECK_FALSE(Contains(away.message(), "gave up after"));
}

/// One read through the pool; the text of its error, or nothing.
std::string Read(PostgresPool* pool) {
  return pool
      ->Read(
          {},
          [](Postgres* connection) { return connection->QueryPrepared({}, "SELECT 1").status(); })
      .message();
}

TEST_CASE("reads outlast a restart; while a server stays away they make one attempt each") {
  PostgresServer server = PostgresServer::Start();
  const BackOff short_patience = {
      .first_seconds = 0.01, .longest_seconds = 0.02, .total_seconds = 0.3, .jitter = 0};
  PostgresPool pool(OptionsOf(server),
                    {.back_off = short_patience, .read_back_off = short_patience});
  for (int outages = 0; outages < 2; ++outages) {
    CHECK(Read(&pool).empty());
    server.Stop();
    std::string error = Read(&pool);
    CHECK_MESSAGE(Contains(error, "gave up after"), error);
    // What is left of the patience may do for one more attempt.
    while (Contains(error, "gave up after")) error = Read(&pool);
    std::atomic<int> failed_at_once = 0;
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 12; ++i) {
        threads.emplace_back([&] {
          for (int read = 0; read < 10; ++read) {
            const std::string told = Read(&pool);
            const bool at_once =
                Contains(told, "(no answer since 20") && !Contains(told, "gave up after");
            CHECK_MESSAGE(at_once, told);
            if (at_once) ++failed_at_once;
          }
        });
      }
    }
    CHECK(failed_at_once == 120);
    CHECK_ERROR(pool.Run({}, [](Postgres*) { return Status::OK(); }), ErrorKind::kUnavailable,
                "gave up after");  // what may take long has its own patience
    server.StartAgain();
  }
  CHECK(Read(&pool).empty());
}

}  // namespace
}  // namespace gnomon::sql
