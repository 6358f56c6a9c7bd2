#include <thread>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/online/online_store.h"
#include "feature/online/online_store_suite_internal.h"
#include "sql/postgres.h"
#include "tests/support/postgres.h"
#include "tests/support/process.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using test::PostgresServer;
using test::ValueOf;

const OnlineTable kTable{
    .project = "p", .view = "v", .schema = arrow::schema({{"x", arrow::int64()}})};

RepositoryConfig::OnlineStore ConfigOf(const PostgresServer& server, const std::string& schema,
                                       const std::string& layout = "") {
  return {.type = "postgres",
          .layout = layout,
          .host = server.host(),
          .port = server.port(),
          .database = server.database(),
          .user = server.user(),
          .password = Secret(server.password()),
          .db_schema = schema};
}

std::unique_ptr<OnlineStore> Open(const RepositoryConfig::OnlineStore& config) {
  return ValueOf(OpenOnlineStore(config));
}

sql::Postgres Connect(const PostgresServer& server, const std::string& schema) {
  sql::PostgresOptions options;
  options.host = server.host();
  options.port = server.port();
  options.database = server.database();
  options.user = server.user();
  options.password = Secret(server.password());
  options.db_schema = schema;
  return ValueOf(sql::Postgres::Connect({}, options));
}

/// A schema that is empty.
std::string FreshSchema(const PostgresServer& server) {
  static int number = 0;
  const std::string name = Concat("online_", ++number);
  auto connection = Connect(server, "");
  test::RequireOk(connection.Execute({}, Concat("CREATE SCHEMA ", name)));
  return name;
}

Status WriteOne(OnlineStore& store, int64_t time, int64_t value) {
  const int64_t micros = time * kMicrosPerSecond;
  const auto values = ValueOf(
      test::TableOfSchema(kTable.schema, Concat("[[", value, "]]"))->CombineChunksToBatch());
  GNOMON_ASSIGN_OR_RETURN(auto writer, store.BeginWrite({}, kTable));
  GNOMON_RETURN_NOT_OK(writer->Write({}, {{SuiteKey("k")}, {&micros, 1}, {&micros, 1}, values}));
  return writer->Commit({});
}

Result<int64_t> ReadOne(OnlineStore& store, const Context& context = {}) {
  const OnlineRead read{.table = &kTable, .keys = {SuiteKey("k")}, .fields = {0}};
  GNOMON_ASSIGN_OR_RETURN(const auto values, store.Read(context, {&read, 1}));
  if (!values[0].found[0] || values[0].columns[0]->IsNull(0)) return -1;
  return static_cast<const arrow::Int64Array&>(*values[0].columns[0]).Value(0);
}

TEST_CASE("the PostgreSQL store does what every online store must do, packed") {
  const PostgresServer& server = PostgresServer::Shared();
  const std::string schema = FreshSchema(server);
  CheckOnlineStore([&] { return Open(ConfigOf(server, schema)); });
}

TEST_CASE("the PostgreSQL store does what every online store must do, in Feast's layout") {
  const PostgresServer& server = PostgresServer::Shared();
  const std::string schema = FreshSchema(server);
  CheckOnlineStore([&] { return Open(ConfigOf(server, schema, "feast")); },
                   {.feast = true, .distinct_tables = false});
}

TEST_CASE("a table that Feast made in PostgreSQL selects its layout") {
  const PostgresServer& server = PostgresServer::Shared();
  const std::string schema = FreshSchema(server);
  auto connection = Connect(server, schema);
  CHECK_OK(connection.Execute(
      {},
      "CREATE TABLE p_v (entity_key BYTEA, feature_name TEXT, value BYTEA, value_text TEXT NULL, "
      "value_num DOUBLE PRECISION NULL, vector_value BYTEA NULL, event_ts TIMESTAMPTZ, "
      "created_ts TIMESTAMPTZ, PRIMARY KEY(entity_key, feature_name))"));
  sql::PostgresParameters key;
  key.Bytea(SuiteKey("k"));
  test::RequireOk(connection
                      .Query({},
                             "INSERT INTO p_v (entity_key, feature_name, value, event_ts) VALUES "
                             "($1, 'x', '\\x2007', 'epoch'::timestamptz + '10 seconds')",
                             key)
                      .status());
  const auto store = Open(ConfigOf(server, schema));
  CHECK(ValueOf(ReadOne(*store)) == 7);  // before any apply
  CHECK_ERROR(Open(ConfigOf(server, schema, "packed"))->Prepare({}, {{kTable}}),
              ErrorKind::kConflict, "lies in layout feast");
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteOne(*store, 9, 6));
  CHECK(ValueOf(ReadOne(*store)) == 7);
  CHECK_OK(WriteOne(*store, 11, 8));
  const auto row = ValueOf(connection.Query({}, "SELECT value_num, value_text FROM p_v"));
  CHECK(ValueOf(row.Double(0, 0)) == 8);
  CHECK(ValueOf(row.Text(0, 1)) == "8");
  CHECK_OK(connection.Execute({}, "UPDATE p_v SET value = '\\x20'"));
  CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "feature 'x' of view 'v'");
  CHECK_OK(connection.Execute({}, "UPDATE p_v SET value = '\\x120161'"));
  CHECK(ValueOf(ReadOne(*store)) == -1);  // a text: read as null, with a warning
  CHECK_OK(connection.Execute({}, "UPDATE p_v SET value = NULL"));
  CHECK(ValueOf(ReadOne(*store)) == -1);
  CHECK_OK(store->Teardown({}, "p"));
  CHECK_ERROR(ReadOne(*store), ErrorKind::kNotFound, "run: gnomon apply");
}

TEST_CASE("damaged packed rows and newer formats in PostgreSQL are named") {
  const PostgresServer& server = PostgresServer::Shared();
  const std::string schema = FreshSchema(server);
  auto connection = Connect(server, schema);
  const auto store = Open(ConfigOf(server, schema));
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteOne(*store, 1, 5));
  CHECK_OK(connection.Execute({}, "UPDATE gnomon_1_p_v SET value = '\\x01'"));
  CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "view 'v'");
  CHECK_OK(connection.Execute({}, "UPDATE gnomon_1_p_v SET schema_id = 77"));
  CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "schema 77");
  CHECK_OK(connection.Execute({}, "UPDATE gnomon_online_meta SET value = 3"));
  CHECK_ERROR(ReadOne(*Open(ConfigOf(server, schema))), ErrorKind::kUnsupported,
              "format version 3, this build reads up to 2");
}

TEST_CASE("a write that is larger than one statement, or than its buffer, is still one commit") {
  const PostgresServer& server = PostgresServer::Shared();
  const OnlineTable table{
      .project = "p", .view = "v", .schema = arrow::schema({{"x", arrow::utf8()}})};
  for (const std::string layout : {"packed", "feast"}) {
    for (const size_t bytes : {size_t{2} << 20, size_t{20} << 20}) {
      CAPTURE(layout);
      CAPTURE(bytes);
      const auto store = Open(ConfigOf(server, FreshSchema(server), layout));
      CHECK_OK(store->Prepare({}, {{table}}));
      auto writer = ValueOf(store->BeginWrite({}, table));
      const std::vector<std::pair<std::string, int64_t>> rows = {
          {"b", 2}, {"a", 1}, {"b", 1}, {"a", 2}, {"a", 0}};
      for (size_t i = 0; i < rows.size(); ++i) {
        arrow::StringBuilder builder;
        test::RequireOk(builder.Append(std::string(bytes, static_cast<char>('0' + i))));
        const auto batch = arrow::RecordBatch::Make(table.schema, 1, {ValueOf(builder.Finish())});
        const int64_t time = rows[i].second * kMicrosPerSecond;
        CHECK_OK(writer->Write({}, {{SuiteKey(rows[i].first)}, {&time, 1}, {&time, 1}, batch}));
        CHECK(ValueOf(store->CountRows({}, table)) == 0);
      }
      CHECK_OK(writer->Commit({}));
      const OnlineRead read{.table = &table, .keys = {SuiteKey("a"), SuiteKey("b")}, .fields = {0}};
      const auto values = ValueOf(store->Read({}, {&read, 1}));
      const auto& texts = static_cast<const arrow::StringArray&>(*values[0].columns[0]);
      CHECK(texts.GetView(0).substr(0, 4) == "3333");
      CHECK(texts.GetView(1).substr(0, 4) == "0000");
      CHECK(texts.GetView(0).size() == bytes);
      CHECK_OK(store->Teardown({}, "p"));
    }
  }
}

TEST_CASE("what PostgreSQL's texts cannot hold has no value_text, but its value") {
  const PostgresServer& server = PostgresServer::Shared();
  const std::string schema = FreshSchema(server);
  const OnlineTable table{
      .project = "p", .view = "v", .schema = arrow::schema({{"x", arrow::utf8()}})};
  const auto store = Open(ConfigOf(server, schema, "feast"));
  CHECK_OK(store->Prepare({}, {{table}}));
  arrow::StringBuilder builder;
  test::RequireOk(builder.Append(std::string("a\0b", 3)));
  const auto batch = arrow::RecordBatch::Make(table.schema, 1, {ValueOf(builder.Finish())});
  const int64_t time = 0;
  auto writer = ValueOf(store->BeginWrite({}, table));
  CHECK_OK(writer->Write({}, {{SuiteKey("k")}, {&time, 1}, {&time, 1}, batch}));
  CHECK_OK(writer->Commit({}));
  const OnlineRead read{.table = &table, .keys = {SuiteKey("k")}, .fields = {0}};
  CHECK(ValueOf(store->Read({}, {&read, 1}))[0].columns[0]->Equals(*batch->column(0)));
}

TEST_CASE(
    "a restarted PostgreSQL is found again, a stopped one and a wrong password are clear errors") {
  PostgresServer server = PostgresServer::Start();
  auto wrong = ConfigOf(server, "features");
  wrong.password = Secret("wrong");
  CHECK_ERROR(Open(wrong)->Prepare({}, {{kTable}}), ErrorKind::kUnauthenticated, "password");
  const auto store = Open(ConfigOf(server, "features"));
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteOne(*store, 1, 5));
  server.Restart();
  CHECK(ValueOf(ReadOne(*store)) == 5);
  CHECK_OK(WriteOne(*store, 2, 6));
  server.Stop();
  CHECK_ERROR(ReadOne(*store, Context{}.WithTimeout(2 * test::TimeScale())),
              ErrorKind::kUnavailable, "");
  server.StartAgain();
  CHECK(ValueOf(ReadOne(*store)) == 6);
  // Within their patience, readers do not notice. A server that takes longer to come back is no
  // answer: then once more.
  int64_t read = 0;
  for (int attempt = 0; attempt < 5 && read != 6; ++attempt) {
    server.Stop();
    const double begin = MonotonicSeconds();
    {
      std::jthread waiting([&] { read = ReadOne(*store).ValueOr(-2); });
      server.StartAgain();
    }
    if (MonotonicSeconds() - begin < 3) break;
  }
  CHECK(read == 6);
  CHECK_OK(WriteOne(*store, 3, 7));
  CHECK(ValueOf(ReadOne(*store)) == 7);
}

}  // namespace
}  // namespace gnomon::feature
