// The read cache before every kind of store: the stores' suite, random work compared with a store
// that has no cache, and many readers beside a writer.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/online/cached_store.h"
#include "feature/online/cached_store_fixture_internal.h"
#include "sql/postgres.h"
#include "tests/support/postgres.h"
#include "tests/support/redis.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using internal::kTable;
using internal::TimedRows;
using internal::TimesOf;
using internal::WatchedStore;
using internal::WriteAt;
using test::ValueOf;

constexpr OnlineCacheOptions kLarge{.size_bytes = int64_t{64} << 20, .ttl = 3'600'000'000};
/// A few rows for each shard: most of what is read leaves soon.
constexpr OnlineCacheOptions kSmall{.size_bytes = 64 * 1024, .ttl = 3'600'000'000};

struct Storage {
  std::string name;
  RepositoryConfig::OnlineStore config;
  OnlineStoreTraits traits = {};

  std::unique_ptr<OnlineStore> Open() const { return ValueOf(OpenOnlineStore(config)); }
};

/// Empty storage of a schema of its own.
RepositoryConfig::OnlineStore FreshPostgres(const std::string& layout) {
  static int number = 0;
  const auto& server = test::PostgresServer::Shared();
  sql::PostgresOptions options{.host = server.host(),
                               .port = server.port(),
                               .database = server.database(),
                               .user = server.user(),
                               .password = Secret(server.password())};
  const std::string schema = Concat("cached_", ++number);
  auto connection = ValueOf(sql::Postgres::Connect({}, options));
  test::RequireOk(connection.Execute({}, Concat("CREATE SCHEMA ", schema)));
  return {.type = "postgres",
          .layout = layout,
          .host = options.host,
          .port = options.port,
          .database = options.database,
          .user = options.user,
          .password = options.password,
          .db_schema = schema};
}

RepositoryConfig::OnlineStore FreshRedis(const std::string& layout) {
  auto& server = test::RedisServer::Shared();
  server.FlushAll();
  return {.type = "redis", .layout = layout, .host = server.host(), .port = server.port()};
}

/// Runs a check on one storage of each kind and layout.
void ForEachStorage(const TemporaryFolder& folder,
                    const std::function<void(const Storage&)>& check) {
  const auto run = [&](const Storage& storage) {
    CAPTURE(storage.name);
    check(storage);
  };
  for (const std::string layout : {"packed", "feast"}) {
    const bool feast = layout == "feast";
    run({Concat("sqlite ", layout),
         {.type = "sqlite", .path = Concat(folder.path(), "/", layout, ".db"), .layout = layout}});
    run({Concat("postgres ", layout), FreshPostgres(layout)});
    run({Concat("redis ", layout), FreshRedis(layout), {.commits_at_once = !feast}});
  }
}

/// One cache before all that the suite writes: nothing that it asks may differ.
void CheckSuite(const RepositoryConfig::OnlineStore& config, const OnlineStoreTraits& traits) {
  const std::shared_ptr<OnlineStore> cached =
      CacheOnlineStore(ValueOf(OpenOnlineStore(config)), kLarge);
  CheckOnlineStore([&] { return std::make_unique<WatchedStore>(cached); }, traits);
}

TEST_CASE("a cache before PostgreSQL does what every online store must do, packed") {
  CheckSuite(FreshPostgres("packed"), {});
}

TEST_CASE("a cache before PostgreSQL does what every online store must do, in Feast's layout") {
  CheckSuite(FreshPostgres("feast"), {.feast = true, .distinct_tables = false});
}

TEST_CASE("a cache before Redis does what every online store must do, packed") {
  CheckSuite(FreshRedis("packed"), {});
}

TEST_CASE("a cache before Redis does what every online store must do, in Feast's layout") {
  CheckSuite(FreshRedis("feast"),
             {.feast = true, .keeps_created_times = false, .commits_at_once = false});
}

class Randomness {
 public:
  explicit Randomness(uint64_t seed) : generator_(seed) {}
  int64_t Below(int64_t end) {
    return std::uniform_int_distribution<int64_t>(0, end - 1)(generator_);
  }
  std::vector<std::string> Names(int64_t most, int64_t of) {
    std::vector<std::string> names(static_cast<size_t>(1 + Below(most)));
    for (std::string& name : names) name = Concat("key ", Below(of));
    return names;
  }
  std::vector<std::string> DistinctNames(int64_t most, int64_t of) {
    auto names = Names(most, of);
    std::ranges::sort(names);
    names.erase(std::ranges::unique(names).begin(), names.end());
    return names;
  }

 private:
  std::mt19937_64 generator_;
};

/// The same rows as a store without a cache has: found, times and values of some fields.
void CheckSameRead(OnlineStore& cached, OnlineStore& plain, const std::vector<std::string>& names,
                   std::vector<int> fields) {
  OnlineRead read{.table = &kTable, .keys = {}, .fields = std::move(fields)};
  for (const std::string& name : names) read.keys.push_back(SuiteKey(name));
  const auto expected = ValueOf(plain.Read({}, {&read, 1}));
  const auto values = ValueOf(cached.Read({}, {&read, 1}));
  CHECK(values[0].found == expected[0].found);
  for (size_t i = 0; i < names.size(); ++i) {
    if (expected[0].found[i]) CHECK(values[0].event_times[i] == expected[0].event_times[i]);
  }
  REQUIRE(values[0].columns.size() == expected[0].columns.size());
  for (size_t i = 0; i < values[0].columns.size(); ++i)
    CHECK(values[0].columns[i]->Equals(*expected[0].columns[i]));
}

void DoRandomWork(const Storage& storage, const OnlineCacheOptions& options, uint64_t seed,
                  int steps) {
  CAPTURE(seed);
  const auto cached = CacheOnlineStore(storage.Open(), options);
  const auto plain = storage.Open();
  test::RequireOk(cached->Teardown({}, kTable.project));
  test::RequireOk(cached->Prepare({}, {{kTable}}));
  Randomness random(seed);
  for (int step = 0; step < steps; ++step) {
    CAPTURE(step);
    const int64_t dice = random.Below(20);
    const int64_t time = 1 + random.Below(1000);  // often older than what is there
    if (dice < 5) {
      CHECK_OK(WriteAt(*cached, random.DistinctNames(8, 60), time));
    } else if (dice < 7) {
      const auto names = random.DistinctNames(3, 60);
      const TimedRows rows(names, time);
      const OnlineRead read{.table = &kTable, .keys = rows.keys, .fields = {0}};
      CHECK_OK(cached->Update(
          {}, read, [&](const OnlineValues&) -> Result<OnlineRows> { return rows.view(); }));
    } else if (dice == 7 && random.Below(10) == 0) {
      CHECK_OK(cached->Prepare({}, {{kTable}}));
    } else {
      const std::vector<std::vector<int>> fields = {{0}, {1}, {0, 1}, {1, 0}};
      CheckSameRead(*cached, *plain, random.Names(20, 80), fields[random.Below(4)]);
    }
  }
}

TEST_CASE("random work through a cache shows what the store has") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const char* replay = std::getenv("GNOMON_SEED");
  const uint64_t seed =
      replay != nullptr ? std::strtoull(replay, nullptr, 10) : uint64_t{std::random_device{}()};
  ForEachStorage(folder, [&](const Storage& storage) {
    DoRandomWork(storage, kLarge, seed, 150);
    DoRandomWork(storage, kSmall, seed + 1, 150);
  });
}

/// What readers beside a writer saw that they must not.
struct Wrong {
  std::atomic<int> failed = 0;
  std::atomic<int> older = 0;
  std::atomic<int> torn = 0;
};

/// Reads a group of keys, which is always written by one commit, again and again. `at_once`: a
/// commit is seen whole, so that time never goes back from one key to another either.
void Watch(OnlineStore& store, const std::vector<std::string>& names, uint64_t seed, bool at_once,
           const std::atomic<int64_t>& written, const std::atomic<bool>& done, Wrong* wrong) {
  Randomness random(seed);
  int64_t seen = 0;
  while (!done) {
    std::vector<std::string> some;
    for (int64_t i = 0; i <= random.Below(4); ++i)
      some.push_back(names[static_cast<size_t>(random.Below(std::ssize(names)))]);
    const int64_t least = std::max(seen, written.load());
    const auto times = TimesOf(store, some);
    if (!times.ok()) {
      ++wrong->failed;
      return;
    }
    const auto [oldest, newest] = std::ranges::minmax(*times);
    wrong->older += oldest < least;
    wrong->torn += at_once && oldest != newest;
    if (at_once) seen = oldest;
  }
}

TEST_CASE("many readers through a cache see every finished write, beside a writer") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  ForEachStorage(folder, [](const Storage& storage) {
    const auto cached = CacheOnlineStore(storage.Open(), kLarge);
    const auto plain = storage.Open();
    test::RequireOk(cached->Teardown({}, kTable.project));
    test::RequireOk(cached->Prepare({}, {{kTable}}));
    std::vector<std::string> names;
    for (int i = 0; i < 12; ++i) names.push_back(Concat("key ", i));
    CHECK_OK(WriteAt(*cached, names, 0));
    std::atomic<int64_t> written = 0;
    std::atomic<bool> done = false;
    Wrong wrong;
    {
      std::vector<std::jthread> readers;
      for (uint64_t seed = 0; seed < 6; ++seed)
        readers.emplace_back([&, seed] {
          Watch(*cached, names, seed, storage.traits.commits_at_once, written, done, &wrong);
        });
      for (int64_t time = 1; time <= 40; ++time) {
        wrong.failed += !WriteAt(*cached, names, time).ok();
        written = time;
      }
      done = true;
    }
    CHECK(wrong.failed == 0);
    CHECK(wrong.older == 0);
    CHECK(wrong.torn == 0);
    CheckSameRead(*cached, *plain, names, {0, 1});
  });
}

}  // namespace
}  // namespace gnomon::feature
