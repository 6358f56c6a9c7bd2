#include "sql/postgres_batches.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "sql/postgres_batches_internal.h"
#include "sql/postgres_fixture.h"
#include "tests/support/table.h"

namespace gnomon::sql {
namespace {

using test::TableOf;
using test::ValueOf;

Result<std::shared_ptr<arrow::Table>> ReadQuery(Postgres* connection, const std::string& query,
                                                int64_t batch_rows = 1000) {
  GNOMON_ASSIGN_OR_RETURN(const auto columns, DescribeQuery({}, connection, query));
  GNOMON_ASSIGN_OR_RETURN(auto reader,
                          PostgresBatchReader::Open({}, connection, query, columns, batch_rows));
  arrow::RecordBatchVector batches;
  for (;;) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, reader.Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(batch->ValidateFull());
    batches.push_back(std::move(batch));
  }
  return arrow::Table::FromRecordBatches(reader.schema(), batches);
}

const auto kMicros = arrow::timestamp(arrow::TimeUnit::MICRO);
const auto kMicrosUtc = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");

TEST_CASE("every type comes as its Arrow type, with nulls") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection.Execute({}, "CREATE TYPE pg_temp.mood AS ENUM ('sad', 'ok')").ok());
  const std::string query =
      "SELECT * FROM (VALUES (true, 1::int2, 2::int4, 3::int8, 0.5::float4, 0.1::float8, "
      "12345.6789::numeric(12,4), 'grüße'::text, 'v'::varchar(3), 'c'::char(2), "
      "'{\"a\": 1}'::jsonb, '6f1c2a34-0000-4000-8000-00000000abCD'::uuid, '\\x0061'::bytea, "
      "'1969-12-31'::date, '2024-02-29 12:00:00.123456'::timestamp, "
      "'2024-02-29 12:00:00+02'::timestamptz, 'ok'::pg_temp.mood, "
      "'{1,NULL,3}'::int4[], '{}'::text[], '{1.5,NaN}'::numeric[]), "
      "(NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,"
      "NULL,NULL)) AS t(b,i2,i4,i8,f4,f8,n,t,v,c,j,u,by,d,ts,tz,e,li,lt,ln)";
  const auto table = ValueOf(ReadQuery(&connection, query));
  const auto nulls = table->Slice(1);
  for (const auto& column : nulls->columns()) CHECK(column->null_count() == 1);
  const auto ln = table->GetColumnByName("ln")->Slice(0, 1);
  CHECK(ln->type()->Equals(arrow::list(arrow::float64())));
  const auto head = ValueOf(table->Slice(0, 1)->RemoveColumn(19));
  CHECK_TABLE_EQ(
      head,
      TableOf(
          {{"b", arrow::boolean()},
           {"i2", arrow::int32()},
           {"i4", arrow::int32()},
           {"i8", arrow::int64()},
           {"f4", arrow::float32()},
           {"f8", arrow::float64()},
           {"n", arrow::float64()},
           {"t", arrow::utf8()},
           {"v", arrow::utf8()},
           {"c", arrow::utf8()},
           {"j", arrow::utf8()},
           {"u", arrow::utf8()},
           {"by", arrow::binary()},
           {"d", arrow::date32()},
           {"ts", kMicros},
           {"tz", kMicrosUtc},
           {"e", arrow::utf8()},
           {"li", arrow::list(arrow::int32())},
           {"lt", arrow::list(arrow::utf8())}},
          "[[true, 1, 2, 3, 0.5, 0.1, 12345.6789, \"grüße\", \"v\", \"c \", \"{\\\"a\\\": 1}\", "
          "\"6f1c2a34-0000-4000-8000-00000000abcd\", \"\\u0000a\", -1, "
          "\"2024-02-29 12:00:00.123456\", \"2024-02-29 10:00:00\", \"ok\", [1, null, 3], []]]")
          ->ReplaceSchemaMetadata(nullptr));
}

TEST_CASE("what has no place in a record batch is an error which names column and remedy") {
  const auto error = [&](const std::string& query) {
    Postgres connection = ConnectToShared();
    return ReadQuery(&connection, query);
  };
  CHECK_ERROR(error("SELECT interval '1 day' AS length"), ErrorKind::kUnsupported,
              "extract(epoch from \"length\")");
  CHECK_ERROR(error("SELECT point(1,2) AS place"), ErrorKind::kUnsupported,
              "'place' has PostgreSQL type point");
  CHECK_ERROR(error("SELECT 'infinity'::timestamptz AS t"), ErrorKind::kUser, "column 't', row 0");
  CHECK_ERROR(error("SELECT '-infinity'::date AS t"), ErrorKind::kUser, "column 't', row 0");
  CHECK_ERROR(error("SELECT '{{1,2},{3,4}}'::int[] AS m"), ErrorKind::kUser, "several dimensions");
  CHECK_ERROR(error("SELECT * FROM nowhere"), ErrorKind::kNotFound, "nowhere");
}

TEST_CASE("a numeric is the nearest double, and a double an equal numeric") {
  Postgres connection = ConnectToShared();
  const auto text = [&](double value) {
    const std::string bytes = NumericOfDouble(value);
    CHECK(bytes.size() >= 8);
    const double back = ValueOf(DoubleOfNumeric(bytes));
    CHECK((back == value || (std::isnan(back) && std::isnan(value))));
    return bytes;
  };
  for (const double value :
       {0.0, 1.0, -1.0, 0.1, -0.00012345, 1e22, 123456789.987654321, 1e-7, 10000.0, 9999.0001,
        5e-324, 1.7976931348623157e308, std::numeric_limits<double>::quiet_NaN(),
        std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
    text(value);
  }
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (std::isfinite(value)) text(value);
  }
  const auto numbers = ValueOf(
      ReadQuery(&connection,
                "SELECT x, x::float8 AS y FROM (VALUES (0.1::numeric), (-98765432109876543210.5), "
                "(1e-30), (12345678901234567890123456789), (0), ('NaN'), ('-Infinity')) v(x)"));
  CHECK(numbers->column(0)->Equals(*numbers->column(1), arrow::EqualOptions().nans_equal(true)));
}

TEST_CASE("random rows come back from a table with the values that they had as text") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection
              .Execute({},
                       "SELECT setseed(0.5); CREATE TEMP TABLE source AS SELECT "
                       "nullif(random() > 0.5, random() > 0.9) AS b, "
                       "(random() * 60000 - 30000)::int2 AS i2, "
                       "((random() - 0.5) * 4e9)::int4 AS i4, "
                       "((random() - 0.5) * 1.8e19)::int8 AS i8, random()::float4 AS f4, "
                       "(random() - 0.5) * 1e30 AS f8, (random() * 1e6)::numeric(12,3) AS n, "
                       "CASE WHEN random() < 0.8 THEN repeat(md5(random()::text), "
                       "(random() * 4)::int) END AS t, decode(md5(random()::text), 'hex') AS by, "
                       "gen_random_uuid() AS u, jsonb_build_object('a', random()) AS j, "
                       "'2000-01-01'::date + (random() * 20000 - 10000)::int AS d, "
                       "'2000-01-01'::timestamp + (random() - 0.5) * interval '80 years' AS ts, "
                       "'2000-01-01'::timestamptz + random() * interval '80 years' AS tz, "
                       "CASE WHEN random() < 0.7 THEN ARRAY[random(), NULL, random()] END AS lf, "
                       "ARRAY[md5(random()::text), NULL]::varchar[] AS lt "
                       "FROM generate_series(1, 3000); "
                       "CREATE TEMP TABLE target AS SELECT * FROM source LIMIT 0")
              .ok());
  const std::string query = "SELECT * FROM source";
  const auto columns = ValueOf(DescribeQuery({}, &connection, query));
  const auto rows = ValueOf(ReadQuery(&connection, query + " ORDER BY u", 700));
  CHECK(rows->num_rows() == 3000);
  {
    PostgresBatchWriter writer =
        ValueOf(PostgresBatchWriter::Open({}, &connection, "target", columns));
    arrow::TableBatchReader batches(*rows);
    while (const auto batch = ValueOf(batches.Next())) CHECK_OK(writer.Write(*batch));
    CHECK(ValueOf(writer.Finish()) == 3000);
  }
  const auto differing = ValueOf(connection.Query(
      {},
      "SELECT count(*) FROM (SELECT source::text FROM source EXCEPT ALL SELECT target::text "
      "FROM target) x"));
  CHECK(ValueOf(differing.Int64(0, 0)) == 0);
  CHECK_TABLE_EQ(ReadQuery(&connection, "SELECT * FROM target ORDER BY u"), rows);
}

TEST_CASE("a value that the column cannot hold is an error which names column and row") {
  Postgres connection = ConnectToShared();
  REQUIRE(connection.Execute({}, "CREATE TEMP TABLE t (i int2, u uuid)").ok());
  const auto columns = ValueOf(DescribeQuery({}, &connection, "SELECT * FROM t"));
  const auto write = [&](const std::string& rows) -> Status {
    const auto table = TableOf({{"i", arrow::int32()}, {"u", arrow::utf8()}}, rows);
    Postgres other = ConnectToShared();
    REQUIRE(other.Execute({}, "CREATE TEMP TABLE t (i int2, u uuid)").ok());
    GNOMON_ASSIGN_OR_RETURN(auto writer, PostgresBatchWriter::Open({}, &other, "t", columns));
    arrow::TableBatchReader batches(*table);
    GNOMON_ASSIGN_OR_RETURN(const auto batch, batches.Next());
    return writer.Write(*batch);
  };
  CHECK_ERROR(write("[[1, null], [40000, null]]"), ErrorKind::kUser, "column 'i', row 1");
  CHECK_ERROR(write("[[1, \"soon\"]]"), ErrorKind::kUser, "column 'u', row 0: no uuid");
}

}  // namespace
}  // namespace gnomon::sql
