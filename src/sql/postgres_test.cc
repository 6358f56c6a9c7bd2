#include "sql/postgres.h"

#include <arpa/inet.h>
#include <chrono>
#include <cmath>
#include <limits>
#include <netinet/in.h>
#include <optional>
#include <stop_token>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/text.h"
#include "sql/postgres_fixture.h"
#include "sql/wire_bytes.h"

namespace gnomon::sql {
namespace {

using test::ErrorOf;
using test::PostgresServer;
using test::ValueOf;

int64_t Number(Postgres* connection, const std::string& statement) {
  return ValueOf(ValueOf(connection->Query({}, statement)).Int64(0, 0));
}

TEST_CASE("parameters come back as they were given") {
  Postgres connection = ConnectToShared();
  const std::string bytes("\0\xff\\x", 4);
  PostgresParameters parameters;
  parameters.Bool(true)
      .Int32(-7)
      .Int64(std::numeric_limits<int64_t>::min())
      .Double(-0.0)
      .Text("grüße")
      .Bytea(bytes)
      .Timestamptz(1'700'000'000'123'456)
      .Null(oid::kText)
      .Untyped("3.5")
      .Text("");
  const PostgresResult row = ValueOf(
      connection.Query({}, "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::float4, $10", parameters));
  REQUIRE(row.num_rows() == 1);
  REQUIRE(row.num_columns() == 10);
  CHECK(ValueOf(row.Bool(0, 0)));
  CHECK(ValueOf(row.Int64(0, 1)) == -7);
  CHECK(ValueOf(row.Int64(0, 2)) == std::numeric_limits<int64_t>::min());
  CHECK(std::signbit(ValueOf(row.Double(0, 3))));
  CHECK(ValueOf(row.Text(0, 4)) == "grüße");
  CHECK(ValueOf(row.Bytea(0, 5)) == bytes);
  CHECK(ValueOf(row.Timestamptz(0, 6)) == 1'700'000'000'123'456);
  CHECK(row.IsNull(0, 7));
  CHECK(ValueOf(row.Double(0, 8)) == 3.5);
  CHECK_FALSE(row.IsNull(0, 9));
  CHECK(ValueOf(row.Text(0, 9)).empty());
  CHECK(row.type(4) == oid::kText);
}

TEST_CASE("arrays with nulls are parameters of ANY and unnest") {
  Postgres connection = ConnectToShared();
  using Texts = std::vector<std::optional<std::string_view>>;
  const Texts texts = {"a", std::nullopt, ""};
  const std::vector<std::optional<int64_t>> numbers = {1, std::nullopt, 3};
  const std::vector<std::optional<double>> doubles = {0.5, 1.5, std::nullopt};
  const std::vector<std::optional<bool>> flags = {true, std::nullopt, false};
  PostgresParameters parameters;
  parameters.TextArray(texts)
      .ByteaArray(texts)
      .Int64Array(numbers)
      .DoubleArray(doubles)
      .BoolArray(flags)
      .TimestamptzArray(numbers);
  const PostgresResult rows =
      ValueOf(connection.Query({}, "SELECT * FROM unnest($1, $2, $3, $4, $5, $6)", parameters));
  REQUIRE(rows.num_rows() == 3);
  for (int column = 0; column < 6; ++column) CHECK(rows.IsNull(column == 3 ? 2 : 1, column));
  CHECK(ValueOf(rows.Text(0, 0)) == "a");
  CHECK(ValueOf(rows.Bytea(2, 1)).empty());
  CHECK(ValueOf(rows.Int64(2, 2)) == 3);
  CHECK(ValueOf(rows.Double(1, 3)) == 1.5);
  CHECK_FALSE(ValueOf(rows.Bool(2, 4)));
  CHECK(ValueOf(rows.Timestamptz(2, 5)) == 3);

  PostgresParameters none;
  none.ByteaArray({});
  CHECK(ValueOf(connection.Query({}, "SELECT 1 WHERE 'a'::bytea = ANY($1)", none)).num_rows() == 0);
}

TEST_CASE("a value of another type is an error which names the column") {
  Postgres connection = ConnectToShared();
  const PostgresResult row = ValueOf(connection.Query({}, "SELECT 1 AS n, NULL::text AS t"));
  CHECK_ERROR(row.Text(0, 0), ErrorKind::kDataLoss, "'n'");
  CHECK_ERROR(row.Double(0, 0), ErrorKind::kDataLoss, "'n'");
  CHECK_ERROR(row.Text(0, 1), ErrorKind::kDataLoss, "'t' is NULL");
  CHECK_ERROR(row.Int64(0, 1), ErrorKind::kDataLoss, "'t'");
}

TEST_CASE("the errors of the server have the right kind") {
  Postgres connection = ConnectToShared();
  REQUIRE(
      connection.Execute({}, "CREATE TEMP TABLE t (x int PRIMARY KEY); INSERT INTO t VALUES (1)")
          .ok());
  const auto error = [&](const std::string& statement) {
    return ErrorOf(connection.Query({}, statement));
  };
  const Status missing = error("SELECT * FROM nowhere");
  CHECK(KindOf(missing) == ErrorKind::kNotFound);
  CHECK(missing.message() == Concat("postgres ", connection.place(),
                                    ": relation \"nowhere\" does not exist (42P01): SELECT * FROM "
                                    "nowhere"));
  CHECK(KindOf(error("SELECT y FROM t")) == ErrorKind::kNotFound);
  CHECK(KindOf(error("SELEC")) == ErrorKind::kUser);
  CHECK(KindOf(error("SELECT 1/0")) == ErrorKind::kUser);
  CHECK(KindOf(error("INSERT INTO t VALUES (1)")) == ErrorKind::kConflict);
  CHECK_FALSE(IsRetryable(error("INSERT INTO t VALUES (1)")));
  CHECK(KindOf(error("CREATE TABLE pg_temp.t (x int)")) == ErrorKind::kConflict);
  CHECK(connection.usable());
  CHECK(Number(&connection, "SELECT x FROM t") == 1);
}

TEST_CASE("what may not be done is denied") {
  Postgres connection = ConnectToShared();
  REQUIRE(
      connection.Execute({}, "DROP ROLE IF EXISTS guest; CREATE ROLE guest; SET ROLE guest").ok());
  CHECK_ERROR(connection.Query({}, "SELECT * FROM pg_authid"), ErrorKind::kDenied, "pg_authid");
}

TEST_CASE("a connection that cannot be made is an error of the right kind without the password") {
  const PostgresOptions good = OptionsOf(PostgresServer::Shared());
  const auto error = [&](const PostgresOptions& options) {
    return ErrorOf(Postgres::Connect(Context{}.WithTimeout(20), options));
  };
  PostgresOptions options = good;
  options.password = Secret("wrong-secret");
  const Status wrong = error(options);
  CHECK(KindOf(wrong) == ErrorKind::kUnauthenticated);
  CHECK(FormatError(wrong).find("wrong-secret") == std::string::npos);
  CHECK(wrong.message() == Concat("postgres 127.0.0.1:", good.port,
                                  "/postgres: password authentication failed for user \"gnomon\" "
                                  "(28P01)"));
  CHECK(HintOf(wrong).find("PGPASSWORD") != std::string::npos);

  options = good;
  options.database = "nowhere";
  CHECK_ERROR(error(options), ErrorKind::kNotFound, "database \"nowhere\" does not exist");

  options = good;
  const test::ClosedPort closed;
  options.port = closed.port();
  const Status refused = error(options);
  CHECK_ERROR(refused, ErrorKind::kUnavailable, Concat("127.0.0.1:", options.port));
  CHECK(IsRetryable(refused));

  options = good;
  options.sslmode = "require";
  CHECK_ERROR(error(options), ErrorKind::kUnauthenticated, "SSL");
  options.sslmode = "sometimes";
  CHECK_FALSE(Postgres::Connect({}, options).ok());
}

TEST_CASE("a server that accepts but says nothing is given up after the timeout") {
  // A socket that listens and never answers.
  PostgresOptions options = OptionsOf(PostgresServer::Shared());
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(fd, 1) == 0);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  options.port = ntohs(address.sin_port);
  options.connect_timeout_seconds = 0.05;
  CHECK_ERROR(Postgres::Connect({}, options), ErrorKind::kUnavailable, "no connection within");
  options.connect_timeout_seconds = 100;
  CHECK_ERROR(Postgres::Connect(Context{}.WithTimeout(0.05), options), ErrorKind::kDeadline, "");
  ::close(fd);
}

TEST_CASE("a wait ends with the context, and the server stops the statement") {
  Postgres watcher = ConnectToShared();
  const auto running = [&] {
    return Number(&watcher,
                  "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(77)' AND "
                  "state = 'active'");
  };
  SUBCASE("at its deadline") {
    Postgres connection = ConnectToShared();
    // A statement whose time is up before it is sent leaves the connection as it was.
    for (double seconds = 0.05; connection.usable() && seconds < 20; seconds *= 2) {
      CHECK_ERROR(connection.Query(Context{}.WithTimeout(seconds), "SELECT pg_sleep(77)"),
                  ErrorKind::kDeadline, "");
    }
    CHECK_FALSE(connection.usable());
    CHECK_FALSE(connection.Query({}, "SELECT 1").ok());
  }
  SUBCASE("when it is stopped") {
    Postgres connection = ConnectToShared();
    std::stop_source stop;
    std::jthread stopper([&] {
      while (running() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      stop.request_stop();
    });
    CHECK_ERROR(connection.Query(Context{}.WithStop(stop.get_token()), "SELECT pg_sleep(77)"),
                ErrorKind::kCancelled, "");
    stopper.join();
  }
  const double end = MonotonicSeconds() + 20 * test::TimeScale();
  while (running() != 0 && MonotonicSeconds() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  CHECK(running() == 0);
}

TEST_CASE("a transaction whose body fails leaves nothing behind") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection.Execute({}, "CREATE TEMP TABLE t (x int)").ok());
  const Status failed = connection.Transaction({}, [&]() -> Status {
    GNOMON_RETURN_NOT_OK(connection.Execute({}, "INSERT INTO t VALUES (1)"));
    CHECK(connection.in_transaction());
    return Error(ErrorKind::kUser, "no");
  });
  CHECK(failed.message() == "no");
  CHECK_FALSE(connection.in_transaction());
  CHECK(Number(&connection, "SELECT count(*) FROM t") == 0);
  CHECK_OK(connection.Transaction(
      {}, [&] { return connection.Execute({}, "INSERT INTO t VALUES (1)"); }));
  CHECK(Number(&connection, "SELECT count(*) FROM t") == 1);
}

TEST_CASE("a transaction that lost against another one is a conflict that can be tried again") {
  Postgres one = ConnectToShared();
  Postgres two = ConnectToShared();
  REQUIRE(one.Execute({}, "DROP TABLE IF EXISTS lost; CREATE TABLE lost AS SELECT 1 AS x").ok());
  const Status status = one.Transaction(
      {},
      [&]() -> Status {
        Number(&one, "SELECT x FROM lost");
        CHECK_OK(two.Execute({}, "UPDATE lost SET x = 2"));
        return one.Execute({}, "UPDATE lost SET x = 3");
      },
      PostgresIsolation::kRepeatableRead);
  CHECK_ERROR(status, ErrorKind::kConflict, "40001");
  CHECK(IsRetryable(status));
}

TEST_CASE("a pipeline answers every statement, and is one transaction") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection.Execute({}, "CREATE TEMP TABLE t (x int8 CHECK (x < 100), b bytea)").ok());
  const std::string insert = "INSERT INTO t VALUES ($1, $2)";
  const std::string count = "SELECT count(*), sum(x)::int8 FROM t";
  const std::string large(200'000, 'x');
  std::vector<PostgresParameters> rows(20);
  std::vector<PostgresStatement> statements;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].Int64(static_cast<int64_t>(i)).Bytea(large);
    statements.push_back({insert, &rows[i], i % 2 == 0});
  }
  statements.push_back({count});
  for (int round = 1; round <= 2; ++round) {  // prepared, then known
    const auto results = ValueOf(connection.Pipeline({}, statements));
    REQUIRE(results.size() == 21);
    CHECK(results[0].affected_rows() == 1);
    CHECK(ValueOf(results[20].Int64(0, 0)) == 20 * round);
    CHECK(ValueOf(results[20].Int64(0, 1)) == 190 * round);
  }
  PostgresParameters refused;
  refused.Int64(100).Bytea("");
  statements[7].parameters = &refused;
  CHECK_ERROR(connection.Pipeline({}, statements), ErrorKind::kConflict, "23514");
  CHECK(connection.usable());
  CHECK(Number(&connection, "SELECT count(*) FROM t") == 40);
  CHECK(ValueOf(connection.Pipeline({}, {})).empty());
}

TEST_CASE("a statement that cannot be prepared can be asked again once it can") {
  Postgres connection = ConnectToShared();
  const std::string select = "SELECT x FROM later";
  REQUIRE(connection.Execute({}, "DROP TABLE IF EXISTS later").ok());
  CHECK_ERROR(connection.QueryPrepared({}, select), ErrorKind::kNotFound, "later");
  REQUIRE(connection.Execute({}, "CREATE TEMP TABLE later AS SELECT 5 AS x").ok());
  for (int round = 0; round < 3; ++round)
    CHECK(ValueOf(ValueOf(connection.QueryPrepared({}, select)).Int64(0, 0)) == 5);
  REQUIRE(connection.Execute({}, "ALTER TABLE later ALTER COLUMN x TYPE text").ok());
  const Status altered = ErrorOf(connection.QueryPrepared({}, select));
  CHECK(IsRetryable(altered));
  CHECK(ValueOf(ValueOf(connection.QueryPrepared({}, select)).Text(0, 0)) == "5");
}

TEST_CASE("the schema of the options comes first, whatever its name") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection
              .Execute({},
                       "CREATE SCHEMA IF NOT EXISTS \"My \\ \"\"Schema\"; "
                       "CREATE TABLE IF NOT EXISTS \"My \\ \"\"Schema\".only_here (x int)")
              .ok());
  PostgresOptions options = OptionsOf(PostgresServer::Shared());
  options.db_schema = "My \\ \"Schema";
  Postgres inside = ValueOf(Postgres::Connect({}, options));
  CHECK(Number(&inside, "SELECT count(*) FROM only_here") == 0);
  CHECK(ValueOf(ValueOf(inside.Query({}, "SHOW TimeZone")).Text(0, 0)) == "UTC");
}

TEST_CASE("a server that ends makes its connections unavailable") {
  PostgresServer server = PostgresServer::Start();
  Postgres connection = ValueOf(Postgres::Connect({}, OptionsOf(server)));
  CHECK(connection.IsIdleAndAlive());
  server.Stop();
  CHECK_FALSE(connection.IsIdleAndAlive());
  const Status lost = ErrorOf(connection.Query({}, "SELECT 1"));
  CHECK(KindOf(lost) == ErrorKind::kUnavailable);
  CHECK(IsRetryable(lost));
  CHECK_FALSE(connection.usable());
  CHECK_ERROR(Postgres::Connect({}, OptionsOf(server)), ErrorKind::kUnavailable, "127.0.0.1");
}

TEST_CASE("numbers are written with the highest byte first") {
  std::string bytes;
  AppendBigEndian<int16_t>(&bytes, -2);
  AppendBigEndian<uint32_t>(&bytes, 0x01020304);
  AppendBigEndian(&bytes, 1.0);
  CHECK(bytes == std::string("\xff\xfe\x01\x02\x03\x04\x3f\xf0\0\0\0\0\0\0", 14));
  CHECK(ReadBigEndian<int16_t>(bytes.data()) == -2);
  CHECK(ReadBigEndian<uint32_t>(bytes.data() + 2) == 0x01020304);
  CHECK(ReadBigEndian<double>(bytes.data() + 6) == 1.0);
}

}  // namespace
}  // namespace gnomon::sql
