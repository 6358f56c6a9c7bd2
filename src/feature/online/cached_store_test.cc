#include "feature/online/cached_store.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <arrow/array.h>
#include <doctest/doctest.h>

#include "base/metrics.h"
#include "base/text.h"
#include "feature/online/cached_store_fixture_internal.h"
#include "feature/online/online_store_suite_internal.h"
#include "feature/online/row_cache_internal.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using internal::CachedRow;
using internal::kTable;
using internal::RowCache;
using internal::TimedRows;
using internal::TimesOf;
using internal::WatchedStore;
using internal::WriteAt;
using test::ValueOf;

constexpr OnlineCacheOptions kLarge{.size_bytes = int64_t{64} << 20, .ttl = 3'600'000'000};

std::unique_ptr<OnlineStore> OpenAt(const std::string& path, const std::string& layout = "") {
  return ValueOf(OpenOnlineStore({.type = "sqlite", .path = path, .layout = layout}));
}

/// A cached store over a new file, and what lies under it.
struct Stores {
  explicit Stores(const OnlineCacheOptions& options = kLarge) {
    auto watched = std::make_unique<WatchedStore>(OpenAt(path()));
    store = watched.get();
    cached = CacheOnlineStore(std::move(watched), options);
    test::RequireOk(cached->Prepare({}, {{kTable}}));
  }
  std::string path() const { return folder.path() + "/online.db"; }

  TemporaryFolder folder = test::MakeTemporaryFolder();
  WatchedStore* store = nullptr;
  std::unique_ptr<OnlineStore> cached;
};

using Times = std::vector<int64_t>;

TEST_CASE("a cached store does what every online store must do") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  // One cache before all writes: nothing that the suite asks may differ.
  const std::shared_ptr<OnlineStore> cached =
      CacheOnlineStore(OpenAt(folder.path() + "/online.db"), kLarge);
  CheckOnlineStore([&] { return std::make_unique<WatchedStore>(cached); });
}

TEST_CASE("a cached store does what every online store must do, in Feast's layout") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::shared_ptr<OnlineStore> cached =
      CacheOnlineStore(OpenAt(folder.path() + "/online.db", "feast"), kLarge);
  CheckOnlineStore([&] { return std::make_unique<WatchedStore>(cached); },
                   {.feast = true, .tick = kMicrosPerSecond, .distinct_tables = false});
}

TEST_CASE("a cached store beside others does what every online store must do, row by row") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  CheckOnlineStore(
      [&] {
        return CacheOnlineStore(OpenAt(folder.path() + "/online.db"),
                                {.size_bytes = 1 << 20, .ttl = 1});
      },
      {.commits_at_once = false});
}

TEST_CASE("rows that were read are not read again, missing ones neither") {
  const Stores stores;
  Metrics metrics;
  Context context;
  context.metrics = &metrics;
  CHECK_OK(WriteAt(*stores.cached, {"a", "b"}, 5));
  CHECK(ValueOf(TimesOf(*stores.cached, {"a", "x"}, context)) == Times{5, -1});
  CHECK(stores.store->rows_read == 2);
  CHECK(ValueOf(TimesOf(*stores.cached, {"x", "a", "a"}, context)) == Times{-1, 5, 5});
  CHECK(stores.store->rows_read == 2);
  CHECK(ValueOf(TimesOf(*stores.cached, {"a", "b", "x"}, context)) == Times{5, 5, -1});
  CHECK(stores.store->rows_read == 3);
  // Other fields of the same row.
  const OnlineRead read{.table = &kTable, .keys = {SuiteKey("b"), ""}, .fields = {1, 0}};
  const auto values = ValueOf(stores.cached->Read(context, {&read, 1}));
  CHECK(values[0].found == std::vector<bool>{true, false});
  CHECK(static_cast<const arrow::StringArray&>(*values[0].columns[0]).GetView(0) == "5");
  CHECK(values[0].columns[0]->IsNull(1));
  CHECK(stores.store->rows_read == 3);
  const std::string exposed = metrics.Expose();
  CHECK(exposed.find("gnomon_feature_online_cache_hits_total 6") != std::string::npos);
  CHECK(exposed.find("gnomon_feature_online_cache_misses_total 3") != std::string::npos);
}

TEST_CASE("a write drops the rows that it names, and only those") {
  const Stores stores;
  CHECK_OK(WriteAt(*stores.cached, {"a", "b"}, 1));
  CHECK(ValueOf(TimesOf(*stores.cached, {"a", "b", "n"})) == Times{1, 1, -1});
  SUBCASE("of a commit") {
    CHECK_OK(WriteAt(*stores.cached, {"a", "n"}, 2));
    stores.store->rows_read = 0;
    CHECK(ValueOf(TimesOf(*stores.cached, {"a", "b", "n"})) == Times{2, 1, 2});
    CHECK(stores.store->rows_read == 2);
  }
  SUBCASE("of an update") {
    const OnlineRead read{.table = &kTable, .keys = {SuiteKey("a")}, .fields = {0}};
    const TimedRows rows({"a"}, 3);
    CHECK_OK(stores.cached->Update(
        {}, read, [&](const OnlineValues&) -> Result<OnlineRows> { return rows.view(); }));
    stores.store->rows_read = 0;
    CHECK(ValueOf(TimesOf(*stores.cached, {"a", "b"})) == Times{3, 1});
    CHECK(stores.store->rows_read == 1);
  }
  SUBCASE("of a write that is too long to name them: the view's") {
    std::vector<std::string> names{"a", "b"};
    for (int i = 0; i < 20'000; ++i) names.push_back(Concat("k", i));
    CHECK_OK(WriteAt(*stores.cached, names, 4));
    CHECK(ValueOf(TimesOf(*stores.cached, {"a", "b", "n", "k7"})) == Times{4, 4, -1, 4});
  }
}

TEST_CASE("a read that began before a write does not bring the old row back") {
  const Stores stores;
  CHECK_OK(WriteAt(*stores.cached, {"a", "b"}, 1));
  stores.store->after = [&] { CHECK_OK(WriteAt(*stores.cached, {"a", "b"}, 2)); };
  CHECK(ValueOf(TimesOf(*stores.cached, {"a"})) == Times{1});
  CHECK(ValueOf(TimesOf(*stores.cached, {"a"})) == Times{2});
}

TEST_CASE("what was kept and what is read show the same writes") {
  const Stores stores;
  CHECK_OK(WriteAt(*stores.cached, {"a", "b"}, 1));
  CHECK(ValueOf(TimesOf(*stores.cached, {"a"})) == Times{1});
  SUBCASE("a write that ended meanwhile") {
    stores.store->after = [&] { CHECK_OK(WriteAt(*stores.cached, {"a", "b"}, 2)); };
    CHECK(ValueOf(TimesOf(*stores.cached, {"a", "b"})) == Times{2, 2});
  }
  SUBCASE("a longer write that ended meanwhile") {
    std::vector<std::string> names{"a", "b"};
    for (int i = 0; i < 20'000; ++i) names.push_back(Concat("k", i));
    stores.store->after = [&] { CHECK_OK(WriteAt(*stores.cached, names, 2)); };
    CHECK(ValueOf(TimesOf(*stores.cached, {"a", "b"})) == Times{2, 2});
  }
}

TEST_CASE("writes of others are seen when the ttl is over, by the context's clock") {
  const Stores stores({.size_bytes = 1 << 20, .ttl = 10'000'000});
  const auto other = OpenAt(stores.path());
  FakeClock clock(1'000'000'000);
  Context context;
  context.clock = &clock;
  CHECK_OK(WriteAt(*other, {"a"}, 1));
  CHECK(ValueOf(TimesOf(*stores.cached, {"a", "n"}, context)) == Times{1, -1});
  CHECK_OK(WriteAt(*other, {"a", "n"}, 2));
  clock.Advance(9'999'999);
  CHECK(ValueOf(TimesOf(*stores.cached, {"a", "n"}, context)) == Times{1, -1});
  clock.Advance(1);
  CHECK(ValueOf(TimesOf(*stores.cached, {"a", "n"}, context)) == Times{2, 2});
  CHECK_OK(WriteAt(*other, {"a"}, 3));
  clock.Advance(-1);  // set back
  CHECK(ValueOf(TimesOf(*stores.cached, {"a"}, context)) == Times{3});
}

TEST_CASE("a reader never sees a row older than what a finished write left") {
  const Stores stores({.size_bytes = 1 << 20, .ttl = 3'600'000'000});
  const std::vector<std::string> names{"a", "b"};
  CHECK_OK(WriteAt(*stores.cached, names, 0));
  std::atomic<int64_t> written = 0;
  std::atomic<bool> done = false;
  std::atomic<int> failed = 0;
  std::atomic<int> older = 0;
  std::atomic<int> torn = 0;
  const auto watch = [&](const std::vector<std::string>& own) {
    int64_t seen = 0;
    while (!done) {
      const int64_t least = std::max(seen, written.load());
      const auto times = TimesOf(*stores.cached, own);
      if (!times.ok()) {
        ++failed;
        return;
      }
      older += times->front() < least;
      torn += times->front() != times->back();
      seen = std::max(seen, times->front());
    }
  };
  {
    const std::jthread both([&] { watch(names); });
    const std::jthread one([&] { watch({"a"}); });
    const std::jthread other([&] { watch({"b"}); });
    for (int64_t time = 1; time <= 300; ++time) {
      failed += !WriteAt(*stores.cached, names, time).ok();
      written = time;
    }
    done = true;
  }
  CHECK(failed == 0);
  CHECK(older == 0);
  CHECK(torn == 0);
}

std::shared_ptr<const CachedRow> RowOf(int64_t time, size_t bytes = 100) {
  return std::make_shared<CachedRow>(
      CachedRow{.found = true, .event_time = time, .bytes = std::string(bytes, 'x')});
}

TEST_CASE("a cache stays within its bytes and keeps what is used") {
  constexpr size_t kBytes = 256 * 1024;
  RowCache cache(kBytes, 1000);
  const auto fill = [&](const std::string& key, size_t bytes) {
    cache.Fill(key, 1, RowOf(1, bytes), 0, cache.Find(key, 1, 0).version);
  };
  fill("used", 100);
  for (int i = 0; i < 20'000; ++i) {
    fill(Concat("k", i), static_cast<size_t>(i % 700));
    REQUIRE(cache.Find("used", 1, 0).row != nullptr);
    REQUIRE(cache.NumBytes() <= kBytes);
  }
  CHECK(cache.NumBytes() > kBytes / 2);
  CHECK(cache.Find("k0", 1, 0).row == nullptr);
  CHECK(cache.Find("k19999", 1, 0).row != nullptr);
  fill("large", kBytes / RowCache::kNumShards);
  CHECK(cache.Find("large", 1, 0).row == nullptr);
  CHECK(cache.Find("used", 1, 0).row != nullptr);
  cache.Clear();
  CHECK(cache.NumBytes() == 0);
}

TEST_CASE("of two rows that are read at once the one of the newer event time is kept") {
  RowCache cache(1 << 20, 1000);
  const uint64_t version = cache.Find("k", 1, 0).version;
  cache.Fill("k", 1, RowOf(20), 5, version);
  cache.Fill("k", 1, RowOf(10), 6, version);
  cache.Fill("k", 1, std::make_shared<CachedRow>(), 7, version);
  CHECK(cache.Find("k", 1, 8).row->event_time == 20);
  cache.Fill("k", 1, RowOf(30), 4, version);
  CHECK(cache.Find("k", 1, 8).row->event_time == 30);
  // A row whose time is over gives way, and so does one of another schema.
  cache.Fill("k", 1, RowOf(10), 1004, version);
  CHECK(cache.Find("k", 1, 1004).row->event_time == 10);
  cache.Fill("k", 2, RowOf(5), 1004, version);
  CHECK(cache.Find("k", 1, 1004).row == nullptr);
  CHECK(cache.Find("k", 2, 1004).row->event_time == 5);
}

TEST_CASE("the configuration puts a cache before the store") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto cached =
      ValueOf(OpenOnlineStore({.type = "sqlite", .path = path, .cache_size_mb = 1}));
  const auto other = OpenAt(path);
  CHECK_OK(cached->Prepare({}, {{kTable}}));
  FakeClock clock(0);
  Context context;
  context.clock = &clock;
  CHECK_OK(WriteAt(*other, {"a"}, 1));
  CHECK(ValueOf(TimesOf(*cached, {"a"}, context)) == Times{1});
  CHECK_OK(WriteAt(*other, {"a"}, 2));
  CHECK(ValueOf(TimesOf(*cached, {"a"}, context)) == Times{1});
  CHECK(ValueOf(TimesOf(*other, {"a"}, context)) == Times{2});
}

}  // namespace
}  // namespace gnomon::feature
