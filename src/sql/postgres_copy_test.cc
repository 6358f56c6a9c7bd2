#include "sql/postgres_copy.h"

#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "base/text.h"
#include "sql/postgres_fixture.h"

namespace gnomon::sql {
namespace {

using test::ValueOf;

int64_t Number(Postgres* connection, const std::string& statement) {
  return ValueOf(ValueOf(connection->Query({}, statement)).Int64(0, 0));
}

Result<std::string> ReadAll(PostgresCopyOut* copy) {
  std::string all;
  for (;;) {
    GNOMON_ASSIGN_OR_RETURN(const std::optional<std::string_view> piece, copy->Next());
    if (!piece.has_value()) return all;
    all.append(*piece);
  }
}

TEST_CASE("bytes that are copied in come out again") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection.Execute({}, "CREATE TEMP TABLE t (x int, s text)").ok());
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += Concat(i, "\tvalue ", i, "\n");
  PostgresCopyIn in = ValueOf(PostgresCopyIn::Begin({}, &connection, "COPY t FROM STDIN"));
  CHECK_OK(in.Write(std::string_view(text).substr(0, 7)));
  CHECK_OK(in.Write(std::string_view(text).substr(7)));
  CHECK(ValueOf(in.Finish()) == 200'000);

  PostgresCopyOut out = ValueOf(PostgresCopyOut::Begin({}, &connection, "COPY t TO STDOUT"));
  CHECK(ValueOf(ReadAll(&out)) == text);
  CHECK_FALSE(ValueOf(out.Next()).has_value());
  CHECK(Number(&connection, "SELECT count(*) FROM t") == 200'000);
}

TEST_CASE("a copy that is not finished stores nothing") {
  Postgres watcher = ConnectToShared();
  REQUIRE(
      watcher.Execute({}, "DROP TABLE IF EXISTS unfinished; CREATE TABLE unfinished (x int)").ok());
  Postgres connection = ConnectToShared();
  {
    PostgresCopyIn in =
        ValueOf(PostgresCopyIn::Begin({}, &connection, "COPY unfinished FROM STDIN"));
    CHECK_OK(in.Write("1\n2\n"));
  }
  CHECK_FALSE(connection.usable());
  CHECK(Number(&watcher, "SELECT count(*) FROM unfinished") == 0);
}

TEST_CASE("wrong data and wrong statements are errors, and the connection goes on") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection.Execute({}, "CREATE TEMP TABLE t (x int)").ok());
  PostgresCopyIn in = ValueOf(PostgresCopyIn::Begin({}, &connection, "COPY t FROM STDIN"));
  CHECK_OK(in.Write("1\nsoon\n"));
  CHECK_ERROR(in.Finish(), ErrorKind::kUser, "invalid input syntax for type integer");
  CHECK_ERROR(PostgresCopyOut::Begin({}, &connection, "COPY nowhere TO STDOUT"),
              ErrorKind::kNotFound, "nowhere");
  PostgresCopyOut out = ValueOf(PostgresCopyOut::Begin(
      {}, &connection, "COPY (SELECT 1/(3 - x) FROM generate_series(1, 5) x) TO STDOUT"));
  CHECK_ERROR(ReadAll(&out), ErrorKind::kUser, "division by zero");
  CHECK(connection.usable());
  CHECK(Number(&connection, "SELECT count(*) FROM t") == 0);
  CHECK_ERROR(connection.Query({}, "COPY t FROM STDIN"), ErrorKind::kUser, "COPY");
}

TEST_CASE("a copy ends with its context") {
  Postgres connection = ConnectToShared();
  const auto copy = [&](double seconds) -> Status {
    GNOMON_ASSIGN_OR_RETURN(
        auto out, PostgresCopyOut::Begin(
                      Context{}.WithTimeout(seconds), &connection,
                      "COPY (SELECT repeat('x', 9000), pg_sleep(0.05) FROM generate_series(1, "
                      "1000)) TO STDOUT"));
    return ReadAll(&out).status();
  };
  // One whose time is up before it is sent leaves the connection as it was.
  for (double seconds = 0.2; connection.usable() && seconds < 20; seconds *= 2)
    CHECK_ERROR(copy(seconds), ErrorKind::kDeadline, "");
  CHECK_FALSE(connection.usable());
}

}  // namespace
}  // namespace gnomon::sql
