#include "tests/support/redis_cluster.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

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
#include "feature/online/redis_slots_internal.h"
#include "tests/support/certificates.h"
#include "tests/support/process.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using internal::RedisConnection;
using internal::RedisSlotOf;
using test::RedisCluster;
using test::RedisServer;
using test::ValueOf;

const OnlineTable kTable{
    .project = "p", .view = "v", .schema = arrow::schema({{"x", arrow::int64()}})};

RepositoryConfig::OnlineStore ConfigOf(const RedisCluster& cluster,
                                       const std::string& layout = "packed") {
  return {.type = "redis",
          .layout = layout,
          .redis_type = "redis_cluster",
          .servers = cluster.addresses()};
}

std::unique_ptr<OnlineStore> Open(const RepositoryConfig::OnlineStore& config) {
  return ValueOf(OpenOnlineStore(config));
}

std::vector<std::string_view> Keys(int count) {
  std::vector<std::string_view> keys;
  for (int i = 0; i < count; ++i) keys.push_back(SuiteKey(Concat("k", i)));
  return keys;
}

/// Every key gets `value` with an event time of `value` seconds.
Status WriteAll(OnlineStore& store, const std::vector<std::string_view>& keys, int64_t value) {
  const std::vector<int64_t> times(keys.size(), value * kMicrosPerSecond);
  std::string rows;
  for (size_t i = 0; i < keys.size(); ++i) rows += Concat(i == 0 ? "" : ",", "[", value, "]");
  const auto values =
      ValueOf(test::TableOfSchema(kTable.schema, Concat("[", rows, "]"))->CombineChunksToBatch());
  GNOMON_ASSIGN_OR_RETURN(auto writer, store.BeginWrite({}, kTable));
  GNOMON_RETURN_NOT_OK(writer->Write({}, {keys, times, times, values}));
  return writer->Commit({});
}

/// -1 for a key that is not there.
Result<std::vector<int64_t>> ReadAll(OnlineStore& store, const std::vector<std::string_view>& keys,
                                     const Context& context = {}) {
  const OnlineRead read{.table = &kTable, .keys = keys, .fields = {0}};
  GNOMON_ASSIGN_OR_RETURN(const auto values, store.Read(context, {&read, 1}));
  const auto& column = static_cast<const arrow::Int64Array&>(*values[0].columns[0]);
  std::vector<int64_t> read_values;
  for (size_t i = 0; i < keys.size(); ++i)
    read_values.push_back(values[0].found[i] ? column.Value(static_cast<int64_t>(i)) : -1);
  return read_values;
}

std::unique_ptr<RedisConnection> Connect(const RedisServer& server) {
  return ValueOf(RedisConnection::Connect({}, {.host = server.host(), .port = server.port()}));
}

/// A slot on its way from one server to another.
class Move {
 public:
  Move(RedisCluster& cluster, int slot, size_t from, size_t to) : slot_(Concat(slot)) {
    for (const RedisServer& server : cluster.servers()) {
      connections_.push_back(Connect(server));
      ids_.emplace_back(ValueOf(connections_.back()->Run({}, {"CLUSTER", "MYID"})).Text());
    }
    from_ = from;
    to_ = to;
    port_ = Concat(cluster.servers()[to].port());
    Tell(to, {"CLUSTER", "SETSLOT", slot_, "IMPORTING", ids_[from]});
    Tell(from, {"CLUSTER", "SETSLOT", slot_, "MIGRATING", ids_[to]});
  }
  /// Moves up to `count` keys; returns how many there were.
  size_t MoveKeys(int count) {
    const auto keys =
        ValueOf(connections_[from_]->Run({}, {"CLUSTER", "GETKEYSINSLOT", slot_, Concat(count)}));
    for (size_t i = 0; i < keys.size(); ++i)
      Tell(from_, {"MIGRATE", "127.0.0.1", port_, keys.At(i).Text(), "0", "5000"});
    return keys.size();
  }
  /// Until all servers know it: a slot that moves on before they do may be claimed by two.
  void End() {
    while (MoveKeys(100) > 0) {
    }
    for (const size_t server : {to_, from_, 3 - to_ - from_})
      Tell(server, {"CLUSTER", "SETSLOT", slot_, "NODE", ids_[to_]});
    const double end = MonotonicSeconds() + 60 * test::TimeScale();
    while (What(0) != What(1) || What(0) != What(2)) {
      if (MonotonicSeconds() > end) FAIL("the servers of the cluster do not agree");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

 private:
  /// What a server knows of the cluster: of each server its id, epoch and slots.
  std::vector<std::string> What(size_t server) {
    const auto nodes = ValueOf(connections_[server]->Run({}, {"CLUSTER", "NODES"}));
    std::vector<std::string> known;
    for (const std::string& line : Split(nodes.Text(), '\n')) {
      std::vector<std::string> words = Split(line, ' ');
      if (words.size() < 8) continue;
      words.erase(words.begin() + 7);
      words.erase(words.begin() + 1, words.begin() + 6);
      known.push_back(Join(words, " "));
    }
    std::ranges::sort(known);
    return known;
  }
  void Tell(size_t server, std::initializer_list<std::string_view> words) {
    test::RequireOk(connections_[server]->Run({}, words).status());
  }
  std::string slot_;
  size_t from_ = 0;
  size_t to_ = 0;
  std::string port_;
  std::vector<std::unique_ptr<RedisConnection>> connections_;
  std::vector<std::string> ids_;
};

TEST_CASE("the slot of a key is the one that Redis says") {
  CHECK(RedisSlotOf("123456789") == 0x31c3);
  CHECK(RedisSlotOf("") == 0);
  CHECK(RedisSlotOf("{user1000}.following") == RedisSlotOf("user1000"));
  CHECK(RedisSlotOf("foo{{bar}}zap") == RedisSlotOf("{bar"));
  CHECK(RedisSlotOf("foo{bar}{zap}") == RedisSlotOf("bar"));
  const auto redis = Connect(RedisCluster::Shared().servers()[0]);
  std::vector<std::string> keys = {"foo{}{bar}", "{", "}{", "{}", "a{b", "\xff{\x80}"};
  for (int i = 0; i < 100; ++i) keys.push_back(std::string(SuiteKey(Concat("k", i))) + "p");
  for (const std::string& key : keys) {
    CAPTURE(key);
    CHECK(ValueOf(redis->Run({}, {"CLUSTER", "KEYSLOT", key})).Integer() == RedisSlotOf(key));
  }
}

TEST_CASE("the Redis store does in a cluster what every online store must do, packed") {
  RedisCluster& cluster = RedisCluster::Shared();
  cluster.FlushAll();
  CheckOnlineStore([&] { return Open(ConfigOf(cluster)); }, {.commits_at_once = false});
}

TEST_CASE("the Redis store does in a cluster what every online store must do, in Feast's layout") {
  RedisCluster& cluster = RedisCluster::Shared();
  cluster.FlushAll();
  CheckOnlineStore([&] { return Open(ConfigOf(cluster, "feast")); },
                   {.feast = true, .keeps_created_times = false, .commits_at_once = false});
}

TEST_CASE("rows lie on all servers of a cluster, and teardown removes them from all") {
  RedisCluster& cluster = RedisCluster::Shared();
  for (const std::string layout : {"packed", "feast"}) {
    CAPTURE(layout);
    cluster.FlushAll();
    auto config = ConfigOf(cluster, layout);
    config.servers.resize(1);  // the others are found
    const auto store = Open(config);
    CHECK_OK(store->Prepare({}, {{kTable}}));
    CHECK_OK(WriteAll(*store, Keys(300), 5));
    CHECK(ValueOf(ReadAll(*Open(config), Keys(300))) == std::vector<int64_t>(300, 5));
    CHECK(ValueOf(store->CountRows({}, kTable)) == 300);
    const auto stored = [&](const RedisServer& server) {
      return ValueOf(Connect(server)->Run({}, {"DBSIZE"})).Integer();
    };
    for (const RedisServer& server : cluster.servers()) CHECK(stored(server) > 50);
    CHECK_OK(store->Teardown({}, "p"));
    for (const RedisServer& server : cluster.servers()) CHECK(stored(server) == 0);
  }
}

/// Which of the test's servers has a slot at first.
size_t OwnerOf(int slot) {
  for (size_t server = 2; server > 0; --server) {
    if (slot >= internal::kRedisSlots * static_cast<int>(server) / 3) return server;
  }
  return 0;
}

TEST_CASE("reads and writes follow a slot from server to server") {
  RedisCluster& cluster = RedisCluster::Shared();
  // One slot with rows of three keys, the third of which is new; and the one with the catalogue.
  const std::vector<std::string_view> keys = {SuiteKey("{t}1"), SuiteKey("{t}2"), SuiteKey("{t}3")};
  for (const std::string layout : {"packed", "feast"}) {
    for (const int slot : {RedisSlotOf("t"), RedisSlotOf("gnomon:online:p")}) {
      CAPTURE(layout);
      CAPTURE(slot);
      cluster.FlushAll();
      const auto store = Open(ConfigOf(cluster, layout));
      CHECK_OK(store->Prepare({}, {{kTable}}));
      CHECK_OK(WriteAll(*store, {keys[0], keys[1]}, 1));
      const size_t from = OwnerOf(slot);
      const size_t to = (from + 1) % 3;
      Move move(cluster, slot, from, to);
      CHECK(ValueOf(ReadAll(*store, keys)) == std::vector<int64_t>{1, 1, -1});
      CHECK(move.MoveKeys(1) == 1);
      CHECK(ValueOf(ReadAll(*store, keys)) == std::vector<int64_t>{1, 1, -1});  // ASK
      CHECK_OK(WriteAll(*store, keys, 2));
      CHECK(ValueOf(ReadAll(*store, keys)) == std::vector<int64_t>{2, 2, 2});
      CHECK(ValueOf(ReadAll(*Open(ConfigOf(cluster, layout)), keys)) ==
            std::vector<int64_t>{2, 2, 2});
      move.End();
      CHECK(ValueOf(ReadAll(*store, keys)) == std::vector<int64_t>{2, 2, 2});  // MOVED
      CHECK_OK(WriteAll(*store, keys, 1));
      CHECK(ValueOf(ReadAll(*Open(ConfigOf(cluster, layout)), keys)) ==
            std::vector<int64_t>{2, 2, 2});
      Move(cluster, slot, to, from).End();
      CHECK(ValueOf(ReadAll(*store, keys)) == std::vector<int64_t>{2, 2, 2});
    }
  }
}

TEST_CASE("nothing is lost or seen twice while a slot moves back and forth under load") {
  RedisCluster& cluster = RedisCluster::Shared();
  cluster.FlushAll();
  const auto store = Open(ConfigOf(cluster));
  CHECK_OK(store->Prepare({}, {{kTable}}));
  std::vector<std::string_view> keys = Keys(20);
  for (int i = 0; i < 20; ++i) keys.push_back(SuiteKey(Concat("{t}", i)));
  CHECK_OK(WriteAll(*store, keys, 1));
  std::atomic<bool> stop = false;
  Status written;
  Status read;
  int64_t last = 1;
  {
    std::jthread writer([&] {
      while (!stop && written.ok()) {
        written = WriteAll(*store, keys, last + 1);
        if (written.ok()) ++last;
      }
    });
    std::jthread reader([&] {
      std::vector<int64_t> before(keys.size(), 1);
      while (!stop && read.ok()) {
        const auto now = ReadAll(*store, keys);
        read = now.status();
        for (size_t i = 0; read.ok() && i < keys.size(); ++i) {
          if ((*now)[i] < before[i]) read = Error(ErrorKind::kDataLoss, "an older row came back");
        }
        if (read.ok()) before = *now;
      }
    });
    const int slot = RedisSlotOf("t");
    const size_t home = OwnerOf(slot);
    for (int round = 0; round < 4; ++round) {
      Move(cluster, slot, home, (home + 1) % 3).End();
      Move(cluster, slot, (home + 1) % 3, home).End();
    }
    stop = true;
  }
  CHECK_OK(written);
  CHECK_OK(read);
  CHECK(last > 1);
  CHECK(ValueOf(ReadAll(*store, keys)) == std::vector<int64_t>(keys.size(), last));
}

TEST_CASE("changes of one row by many at once are all made, each once") {
  RedisCluster& cluster = RedisCluster::Shared();
  for (const std::string layout : {"packed", "feast"}) {
    CAPTURE(layout);
    cluster.FlushAll();
    const auto store = Open(ConfigOf(cluster, layout));
    CHECK_OK(store->Prepare({}, {{kTable}}));
    const std::vector<std::string_view> keys = Keys(4);
    CHECK_OK(WriteAll(*store, keys, 1));
    const OnlineRead read{.table = &kTable, .keys = keys, .fields = {0}};
    constexpr int kThreads = 3;
    constexpr int kChanges = 20;
    std::vector<Status> outcomes(kThreads);
    const auto change = [&] {
      std::vector<int64_t> times;
      return store->Update({}, read, [&](const OnlineValues& stored) -> Result<OnlineRows> {
        std::string rows;
        times.clear();
        const auto& column = static_cast<const arrow::Int64Array&>(*stored.columns[0]);
        for (size_t i = 0; i < keys.size(); ++i) {
          const int64_t value = column.Value(static_cast<int64_t>(i)) + 1;
          times.push_back(value * kMicrosPerSecond);
          rows += Concat(i == 0 ? "" : ",", "[", value, "]");
        }
        return OnlineRows{keys, times, times,
                          ValueOf(test::TableOfSchema(kTable.schema, Concat("[", rows, "]"))
                                      ->CombineChunksToBatch())};
      });
    };
    {
      std::vector<std::jthread> threads;
      for (Status& outcome : outcomes) {
        threads.emplace_back([&] {
          for (int i = 0; i < kChanges && outcome.ok(); ++i) outcome = change();
        });
      }
    }
    for (const Status& outcome : outcomes) CHECK_OK(outcome);
    CHECK(ValueOf(ReadAll(*store, keys)) ==
          std::vector<int64_t>(keys.size(), 1 + kThreads * kChanges));
  }
}

TEST_CASE("a server of a cluster that is away is named, and found again") {
  RedisCluster cluster = RedisCluster::Start({.password = "secret", .persistent = true});
  auto config = ConfigOf(cluster);
  CHECK_ERROR(Open(config)->Prepare({}, {{kTable}}), ErrorKind::kUnauthenticated, "NOAUTH");
  config.password = Secret("secret");
  const auto store = Open(config);
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteAll(*store, Keys(30), 1));
  RedisServer& lost = cluster.servers()[1];
  lost.Stop();
  CHECK_ERROR(ReadAll(*store, Keys(30), Context{}.WithTimeout(2 * test::TimeScale())),
              ErrorKind::kUnavailable, "redis");
  lost.StartAgain();
  CHECK(ValueOf(ReadAll(*store, Keys(30))) == std::vector<int64_t>(30, 1));
}

TEST_CASE("a cluster is spoken to over TLS, and a single server is not taken for one") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const test::Authority authority(folder.path());
  authority.SignServer(folder.path(), {.names = "IP:127.0.0.1"});
  RedisCluster cluster =
      RedisCluster::Start({.tls_folder = folder.path(), .arguments = {"--tls-cluster", "yes"}});
  auto config = ConfigOf(cluster);
  config.sslmode = "verify-full";
  config.sslrootcert = authority.certificate();
  const auto store = Open(config);
  CHECK_OK(store->Prepare({}, {{kTable}}));
  CHECK_OK(WriteAll(*store, Keys(30), 1));
  CHECK(ValueOf(ReadAll(*store, Keys(30))) == std::vector<int64_t>(30, 1));

  const RedisServer& single = RedisServer::Shared();
  CHECK_ERROR(Open({.type = "redis",
                    .redis_type = "redis_cluster",
                    .servers = {{single.host(), single.port()}}})
                  ->Prepare({}, {{kTable}}),
              ErrorKind::kUnsupported, "leave redis_type out");
  // And the other way round.
  const RedisServer& member = RedisCluster::Shared().servers()[0];
  const auto wrong =
      Open({.type = "redis", .layout = "packed", .host = member.host(), .port = member.port()});
  OnlineTable table = kTable;
  Status status;
  for (int i = 0; i < 10 && status.ok(); ++i) {
    table.project = Concat("p", i);  // some of their keys are another server's
    status = wrong->Prepare({}, {{table}});
  }
  CHECK_ERROR(status, ErrorKind::kUnsupported, "redis_type: redis_cluster");
}

}  // namespace
}  // namespace gnomon::feature
