#include <thread>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/online/feast_layout_internal.h"
#include "feature/online/online_store.h"
#include "feature/online/online_store_suite_internal.h"
#include "feature/online/redis_connection_internal.h"
#include "tests/support/process.h"
#include "tests/support/redis.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using internal::RedisConnection;
using test::RedisServer;
using test::ValueOf;

const OnlineTable kTable{
    .project = "p", .view = "v", .schema = arrow::schema({{"x", arrow::int64()}})};

RepositoryConfig::OnlineStore ConfigOf(const RedisServer& server, const std::string& layout = "") {
  return {.type = "redis", .layout = layout, .host = server.host(), .port = server.port()};
}

std::unique_ptr<OnlineStore> Open(const RepositoryConfig::OnlineStore& config) {
  return ValueOf(OpenOnlineStore(config));
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

std::unique_ptr<RedisConnection> Connect(const RedisServer& server) {
  return ValueOf(RedisConnection::Connect({}, {.host = server.host(), .port = server.port()}));
}

/// The key of kTable's one packed row.
std::string PackedKey(RedisConnection& redis) {
  const auto keys = ValueOf(redis.Run({}, {"KEYS", "gnomon:p:*"}));
  REQUIRE(keys.size() == 1);
  return std::string(keys.At(0).Text());
}

TEST_CASE("the Redis store does what every online store must do, packed") {
  RedisServer& server = RedisServer::Shared();
  server.FlushAll();
  CheckOnlineStore([&] { return Open(ConfigOf(server)); });
}

TEST_CASE("the Redis store does what every online store must do, in Feast's layout") {
  RedisServer& server = RedisServer::Shared();
  server.FlushAll();
  CheckOnlineStore([&] { return Open(ConfigOf(server, "feast")); },
                   {.feast = true, .keeps_created_times = false, .commits_at_once = false});
}

TEST_CASE("keys that Feast made select its layout") {
  RedisServer& server = RedisServer::Shared();
  server.FlushAll();
  const auto redis = Connect(server);
  const std::string key = std::string(SuiteKey("k")) + "p";
  const std::string field = internal::FeastFieldName("v", "x");
  test::RequireOk(redis
                      ->Run({}, {"HSET", key, "_ts:v", internal::TimestampBytes(kMicrosPerSecond),
                                 field, std::string_view("\x20\x07", 2)})
                      .status());
  const auto store = Open(ConfigOf(server));
  CHECK_ERROR(ReadOne(*store), ErrorKind::kNotFound, "run: gnomon apply");
  CHECK_ERROR(Open(ConfigOf(server, "packed"))->Prepare({}, {{kTable}}), ErrorKind::kConflict,
              "lies in layout feast");
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK(ValueOf(ReadOne(*store)) == 7);
  CHECK_OK(WriteOne(*store, 0, 6));
  CHECK(ValueOf(ReadOne(*store)) == 7);
  CHECK_OK(WriteOne(*store, 2, 8));
  CHECK(ValueOf(redis->Run({}, {"HGET", key, field})).Text() == std::string_view("\x20\x08", 2));
  CHECK_ERROR(Open(ConfigOf(server, "packed"))->Prepare({}, {{kTable}}), ErrorKind::kConflict,
              "lies in layout feast");
  // A view of the same name in a project whose name ends alike is another one.
  OnlineTable other = kTable;
  other.project = "xp";
  CHECK_OK(Open(ConfigOf(server, "feast"))->Prepare({}, {{other}}));
  CHECK_OK(store->Teardown({}, "xp"));
  CHECK(ValueOf(ReadOne(*store)) == 8);
  CHECK_OK(store->Teardown({}, "p"));
  CHECK(ValueOf(redis->Run({}, {"DBSIZE"})).Integer() == 0);
}

TEST_CASE("values that are none of ours or of Feast's are named, not read") {
  RedisServer& server = RedisServer::Shared();
  server.FlushAll();
  const auto redis = Connect(server);
  SUBCASE("packed") {
    const auto store = Open(ConfigOf(server));
    CHECK_OK(store->Prepare({}, {{kTable}}));
    CHECK_OK(WriteOne(*store, 1, 5));
    const std::string key = PackedKey(*redis);
    test::RequireOk(redis->Run({}, {"SETRANGE", key, "24", "\x09"}).status());
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "view 'v'");
    test::RequireOk(redis->Run({}, {"SET", key, "short"}).status());
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "truncated");
    CHECK_OK(WriteOne(*store, 1, 6));
    CHECK(ValueOf(ReadOne(*store)) == 6);
    test::RequireOk(redis->Run({}, {"DEL", key}).status());
    test::RequireOk(redis->Run({}, {"RPUSH", key, "x"}).status());
    CHECK_ERROR(WriteOne(*store, 1, 6), ErrorKind::kDataLoss, "WRONGTYPE");
    test::RequireOk(redis->Run({}, {"HSET", "gnomon:online:p", "format", "2"}).status());
    CHECK_ERROR(ReadOne(*store), ErrorKind::kUnsupported, "format version 2");
  }
  SUBCASE("feast") {
    const auto store = Open(ConfigOf(server, "feast"));
    CHECK_OK(store->Prepare({}, {{kTable}}));
    CHECK_OK(WriteOne(*store, 1, 5));
    const std::string key = std::string(SuiteKey("k")) + "p";
    const std::string field = internal::FeastFieldName("v", "x");
    test::RequireOk(redis->Run({}, {"HSET", key, field, "\x20"}).status());
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "feature 'x'");
    test::RequireOk(redis->Run({}, {"HSET", key, field, "\x12\x01x"}).status());
    CHECK(ValueOf(ReadOne(*store)) == -1);  // a text: read as null, with a warning
    test::RequireOk(redis->Run({}, {"HSET", key, "_ts:v", "\x08"}).status());
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "event time is damaged");
    CHECK_ERROR(WriteOne(*store, 2, 6), ErrorKind::kDataLoss, "event time is damaged");
    test::RequireOk(redis->Run({}, {"SET", key, "x"}).status());
    CHECK_ERROR(ReadOne(*store), ErrorKind::kDataLoss, "WRONGTYPE");
  }
}

TEST_CASE("the guard in Feast's layout reads times before 1970 and to the microsecond") {
  RedisServer& server = RedisServer::Shared();
  server.FlushAll();
  const auto store = Open(ConfigOf(server, "feast"));
  CHECK_OK(store->Prepare({}, {{kTable}}));
  const auto write = [&](int64_t micros, int64_t value) {
    const auto values = ValueOf(
        test::TableOfSchema(kTable.schema, Concat("[[", value, "]]"))->CombineChunksToBatch());
    auto writer = ValueOf(store->BeginWrite({}, kTable));
    test::RequireOk(writer->Write({}, {{SuiteKey("k")}, {&micros, 1}, {&micros, 1}, values}));
    test::RequireOk(writer->Commit({}));
    return ValueOf(ReadOne(*store));
  };
  CHECK(write(-62'135'596'800'000'000, 1) == 1);
  CHECK(write(-5'000'001, 2) == 2);
  CHECK(write(-5'000'002, 3) == 2);
  CHECK(write(-5'000'000, 4) == 4);
  CHECK(write(0, 5) == 5);
  CHECK(write(-1, 6) == 5);
  CHECK(write(1'767'272'400'000'002, 7) == 7);
  CHECK(write(1'767'272'400'000'001, 8) == 7);
  CHECK(write(1'767'272'400'000'002, 9) == 9);
}

TEST_CASE("keys expire when the configuration says so") {
  RedisServer& server = RedisServer::Shared();
  const auto redis = Connect(server);
  for (const std::string layout : {"packed", "feast"}) {
    CAPTURE(layout);
    server.FlushAll();
    auto config = ConfigOf(server, layout);
    config.key_ttl_seconds = 1000;
    const auto store = Open(config);
    CHECK_OK(store->Prepare({}, {{kTable}}));
    CHECK_OK(WriteOne(*store, 1, 5));
    const std::string key =
        layout == "feast" ? std::string(SuiteKey("k")) + "p" : PackedKey(*redis);
    const int64_t left = ValueOf(redis->Run({}, {"TTL", key})).Integer();
    CHECK(left > 900);
    CHECK(left <= 1000);
  }
}

TEST_CASE("a password, a database and a unix socket are used; what is wrong is named") {
  RedisServer server = RedisServer::Start({.password = "open \"sesame\"", .persistent = false});
  auto config = ConfigOf(server);
  CHECK_ERROR(Open(config)->Prepare({}, {{kTable}}), ErrorKind::kUnauthenticated, "NOAUTH");
  config.password = Secret("wrong");
  CHECK_ERROR(Open(config)->Prepare({}, {{kTable}}), ErrorKind::kUnauthenticated, server.address());
  config.password = Secret("open \"sesame\"");
  CHECK_OK(Open(config)->Prepare({}, {{kTable}}));
  config.database = "3";
  CHECK_ERROR(ReadOne(*Open(config)), ErrorKind::kNotFound, "run: gnomon apply");
  config.database = "";
  config.host = server.socket_path();
  CHECK(ValueOf(ReadOne(*Open(config))) == -1);
}

TEST_CASE("a restarted server is found again, a stopped one is a clear error") {
  RedisServer server = RedisServer::Start({.password = {}, .persistent = true});
  const auto store = Open(ConfigOf(server));
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteOne(*store, 1, 5));
  server.Restart();
  CHECK(ValueOf(ReadOne(*store)) == 5);
  CHECK_OK(WriteOne(*store, 2, 6));
  server.Stop();
  CHECK_ERROR(ReadOne(*store, Context{}.WithTimeout(2 * test::TimeScale())),
              ErrorKind::kUnavailable, server.address());
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
