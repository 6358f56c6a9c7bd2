#include "feature/store/feature_store.h"

#include <algorithm>
#include <map>
#include <set>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/store/store_fixture_test.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using Fixture = StoreFixture;

TEST_CASE("historical features are the newest row known at each time, within the ttl") {
  Fixture fixture;
  for (int64_t time : {kStart, kStart + 10 * kDay + 1, kStart + 33 * kDay, kEnd + 4 * kDay}) {
    auto table = fixture.Historical(time);
    REQUIRE(table->num_rows() == kEntities + 2);
    const auto amounts = table::SingleChunk(*table->GetColumnByName("amount")).ValueOrDie();
    const auto counts = table::SingleChunk(*table->GetColumnByName("count_7d")).ValueOrDie();
    for (int64_t shop = 0; shop < table->num_rows(); ++shop) {
      const StoreEvent* best = nullptr;
      int64_t count = 0;
      for (const StoreEvent& event : fixture.events) {
        if (event.shop != shop || event.ts > time) continue;
        if (event.ts > time - 7 * kDay && event.amount) ++count;
        if (best == nullptr ||
            std::pair(event.ts, event.created) >= std::pair(best->ts, best->created))
          best = &event;
      }
      if (best != nullptr && best->ts < time - 5 * kDay) best = nullptr;
      CHECK(static_cast<const arrow::Int64Array&>(*counts).Value(shop) == count);
      CHECK(amounts->IsNull(shop) == (best == nullptr || !best->amount));
      if (amounts->IsValid(shop)) {
        CHECK(static_cast<const arrow::DoubleArray&>(*amounts).Value(shop) == *best->amount);
      }
    }
  }
}

TEST_CASE("a view over views has the rows of its source views") {
  Fixture fixture;
  // (shop, time) -> amount - mean_30d as of that time, of every event's time.
  std::map<std::pair<int64_t, int64_t>, std::optional<double>> excess;
  std::map<int64_t, std::vector<int64_t>> shops_at;
  for (const StoreEvent& event : fixture.events) shops_at[event.ts].push_back(event.shop);
  for (const auto& [time, shops] : shops_at) {
    const auto table = fixture.Historical(time);
    const auto amounts = table::SingleChunk(*table->GetColumnByName("amount")).ValueOrDie();
    const auto means = table::SingleChunk(*table->GetColumnByName("mean_30d")).ValueOrDie();
    for (const int64_t shop : shops) {
      auto& value = excess[{shop, time}];
      if (amounts->IsNull(shop) || means->IsNull(shop)) continue;
      value = static_cast<const arrow::DoubleArray&>(*amounts).Value(shop) -
              static_cast<const arrow::DoubleArray&>(*means).Value(shop);
    }
  }
  const auto value_of = [](const arrow::Table& table, const char* name, int64_t shop) {
    const auto column = table::SingleChunk(*table.GetColumnByName(name)).ValueOrDie();
    std::optional<double> value;
    if (column->IsValid(shop)) value = static_cast<const arrow::DoubleArray&>(*column).Value(shop);
    return value;
  };
  int64_t checked = 0;
  for (const int64_t time : {kStart + 10 * kDay + 1, kStart + 33 * kDay, kEnd + 4 * kDay}) {
    const auto table = fixture.Historical(time);
    for (int64_t shop = 0; shop < kEntities; ++shop) {
      const StoreEvent* big = nullptr;
      for (const StoreEvent& event : fixture.events) {
        if (event.shop != shop || event.ts > time || event.amount.value_or(0) <= 5000) continue;
        if (big == nullptr ||
            std::pair(event.ts, event.created) >= std::pair(big->ts, big->created))
          big = &event;
      }
      CHECK(value_of(*table, "doubled", shop) ==
            (big == nullptr ? std::nullopt : std::optional(*big->amount * 2)));
      std::optional<double> last;
      std::optional<double> peak;
      for (auto each = excess.lower_bound({shop, INT64_MIN});
           each != excess.end() && each->first <= std::pair(shop, time); ++each) {
        last = each->second;
        if (each->first.second > time - 14 * kDay && each->second) {
          peak = std::max(peak.value_or(*each->second), *each->second);
        }
      }
      CHECK(value_of(*table, "excess", shop) == last);
      CHECK(value_of(*table, "excess_max_14d", shop) == peak);
      if (big != nullptr && last && peak) ++checked;
    }
  }
  CHECK(checked > kEntities);
}

TEST_CASE("an online read equals the offline value at any time from the materialization on") {
  Fixture fixture;
  fixture.Materialize(kEnd);
  for (int64_t days : {0, 1, 3, 10, 29, 100}) fixture.CheckOnlineEqualsOffline(kEnd + days * kDay);
  SUBCASE("and after a second, identical run") {
    fixture.Materialize(kEnd);
    fixture.CheckOnlineEqualsOffline(kEnd);
  }
  SUBCASE("and for another process that opens the store") {
    fixture.Open();
    fixture.CheckOnlineEqualsOffline(kEnd + 2 * kDay);
  }
}

TEST_CASE("a materialization never sees rows after its end") {
  Fixture fixture;
  const int64_t end = kStart + 20 * kDay;
  fixture.Materialize(end);
  fixture.CheckOnlineEqualsOffline(end);
}

TEST_CASE("incremental runs continue at the watermark and give what one run gives") {
  Fixture fixture;
  fixture.Materialize(kStart + 20 * kDay);
  auto job = fixture.store->MaterializeIncremental(fixture.context, kEnd);
  REQUIRE_MESSAGE(job.ok(), job.status().ToString());
  CHECK(job->state == JobState::kSucceeded);
  fixture.CheckOnlineEqualsOffline(kEnd);
  CHECK(fixture.store->registry().StateOf("latest").Watermark() == kEnd);
  auto statuses = fixture.store->ViewStatuses(fixture.context).ValueOrDie();
  REQUIRE(statuses.size() == 5);
  CHECK(statuses[0].rows == kEntities);
  CHECK(statuses[0].watermark == kEnd);
}

TEST_CASE(
    "retrieval without entity rows gives a view's own rows, or the distinct keys and times of "
    "several") {
  Fixture fixture;
  auto job = fixture.store->GetHistoricalFeatures(
      {.features = {"latest:amount"}, .feature_service = ""}, kStart, kEnd);
  REQUIRE(job.ok());
  CHECK((*job)->ToTable(fixture.context).ValueOrDie()->num_rows() ==
        static_cast<int64_t>(fixture.events.size()));
  auto both = fixture.store->GetHistoricalFeatures(
      {.features = {"latest:amount", "history:count_7d"}, .feature_service = ""}, kStart, kEnd);
  REQUIRE(both.ok());
  std::map<std::pair<int64_t, int64_t>, int> distinct;
  for (const StoreEvent& event : fixture.events) ++distinct[{event.ts, event.shop}];
  CHECK((*both)->ToTable(fixture.context).ValueOrDie()->num_rows() ==
        static_cast<int64_t>(distinct.size()));
  CHECK((*both)->Explain().find("without entity rows") != std::string::npos);
}

TEST_CASE("wrong requests say what is wrong") {
  Fixture fixture;
  auto error = [&](const FeatureRequest& request) {
    return fixture.store->GetHistoricalFeatures(request, Fixture::EntityRows(kEnd)).status();
  };
  CHECK(KindOf(error({.features = {"latest:amuont"}, .feature_service = ""})) ==
        ErrorKind::kNotFound);
  CHECK(HintOf(error({.features = {"latest:amuont"}, .feature_service = ""})).find("amount") !=
        std::string::npos);
  CHECK(KindOf(error({.features = {"lastest:amount"}, .feature_service = ""})) ==
        ErrorKind::kNotFound);
  CHECK(KindOf(error({.features = {}, .feature_service = ""})) == ErrorKind::kUser);
  auto no_time = test::TableOf({{"shop", arrow::int64()}}, "[[1]]");
  auto job = fixture.store->GetHistoricalFeatures(
      {.features = {"latest:amount"}, .feature_service = ""}, no_time);
  REQUIRE(job.ok());
  const Status status = (*job)->ToTable(fixture.context).status();
  CHECK(KindOf(status) == ErrorKind::kUser);
  CHECK(status.message().find("timestamp") != std::string::npos);
}

TEST_CASE("a saved dataset knows what it holds and notices when the file changes") {
  Fixture fixture;
  const std::string path = fixture.folder.path() + "/kept.parquet";
  auto job = fixture.store->GetHistoricalFeatures(
      {.features = {"latest:amount", "latest:note"}, .feature_service = {}},
      Fixture::EntityRows(kEnd));
  REQUIRE(job.ok());
  auto saved = fixture.store->SaveDataset(fixture.context, **job, "kept", path);
  REQUIRE_MESSAGE(saved.ok(), saved.status().ToString());
  const auto rows = (*job)->ToTable(fixture.context).ValueOrDie();
  CHECK(saved->path == "kept.parquet");
  CHECK(saved->rows == kEntities + 2);
  CHECK(saved->features == std::vector<std::string>{"latest:amount", "latest:note"});
  CHECK(saved->join_keys == std::vector<std::string>{"shop"});
  CHECK(saved->min_event == kEnd);
  CHECK(saved->max_event == kEnd);
  REQUIRE(saved->columns.size() == 4);
  CHECK(saved->columns[0].distinct == kEntities + 2);
  CHECK(saved->columns[0].min == "0");
  CHECK(saved->columns[0].max == std::to_string(kEntities + 1));
  CHECK(saved->columns[0].mean == (kEntities + 1) / 2.0);
  CHECK(saved->columns[2].nulls == rows->column(2)->null_count());
  CHECK(saved->columns[3].max <= "c");

  SUBCASE("it is there for another process, value for value") {
    fixture.Open();
    CHECK(fixture.store->GetSavedDataset("kept").ValueOrDie() == *saved);
    CHECK_TABLE_EQ(fixture.store->ReadSavedDataset(fixture.context, "kept"), rows);
  }
  SUBCASE("a name is taken once") {
    auto again = fixture.store->SaveDataset(fixture.context, **job, "kept", path);
    CHECK(KindOf(again.status()) == ErrorKind::kConflict);
    CHECK(fixture.store->SaveDataset(fixture.context, **job, "kept", path, true).ok());
    CHECK(fixture.store->registry().SavedDatasets().size() == 1);
  }
  SUBCASE("changed values are found out") {
    REQUIRE(table::WriteTable(fixture.context, *rows->Slice(1), path).ok());
    auto read = fixture.store->ReadSavedDataset(fixture.context, "kept");
    CHECK(KindOf(read.status()) == ErrorKind::kDataLoss);
  }
  SUBCASE("it survives an apply, and is forgotten on request") {
    auto definitions = fixture.store->LoadRepository().ValueOrDie();
    definitions.feature_services.clear();
    REQUIRE(fixture.store->Apply(fixture.context, definitions).ok());
    CHECK(fixture.store->GetSavedDataset("kept").ok());
    CHECK(fixture.store->DeleteSavedDataset(fixture.context, "kept").ok());
    CHECK(KindOf(fixture.store->GetSavedDataset("kept").status()) == ErrorKind::kNotFound);
  }
}

TEST_CASE("every setting of the batch engine shows in the plan and changes no value") {
  Fixture fixture;
  const auto retrieve = [&](const std::string& engine, std::string* plan) {
    REQUIRE(WriteFileAtomic(fixture.folder.path() + "/feature_store.yaml",
                            Concat("project: test\nbatch_engine: {type: local", engine, "}\n"))
                .ok());
    fixture.Open();
    auto job = fixture.store->GetHistoricalFeatures(
        {.features = {"latest:amount", "latest:note"}, .feature_service = {}},
        Fixture::EntityRows(kEnd));
    REQUIRE(job.ok());
    *plan = (*job)->Explain();
    auto rows = (*job)->ToTable(fixture.context).ValueOrDie();
    REQUIRE((*job)->Stats().joins.size() == 1);
    *plan += (*job)->Stats().joins[0].second;
    return rows;
  };
  std::string usual;
  const auto expected = retrieve("", &usual);
  std::set<std::string> plans = {usual};
  CHECK(usual.find("join latest: broadcast, label-side kernel") != std::string::npos);
  CHECK(usual.find("because keys and times of the labels") != std::string::npos);
  for (const char* setting : {", max_workers: 3", ", enable_optimization: false",
                              ", broadcast_join_threshold_mb: 0", ", max_parallelism_multiplier: 5",
                              ", target_partition_size_mb: 1", ", window_size_for_joins: 30min"}) {
    CAPTURE(setting);
    std::string plan;
    CHECK_TABLE_EQ(retrieve(setting, &plan), expected);
    CHECK_MESSAGE(plans.insert(plan).second, plan);
  }
}

TEST_CASE("events that do not fit into the memory limit are spilled; what is too much is named") {
  Fixture fixture;
  const auto retrieve = [&](int64_t limit, RetrievalStats* stats) {
    MemoryBudget memory("test", limit);
    Context context = fixture.context;
    context.memory = &memory;
    auto job = fixture.store->GetHistoricalFeatures(
        {.features = {"history:*"}, .feature_service = {}}, Fixture::EntityRows(kEnd));
    auto result = (*job)->ToTable(context);
    *stats = (*job)->Stats();
    CHECK(memory.used() == 0);
    return result;
  };
  RetrievalStats stats;
  const auto expected = retrieve(0, &stats).ValueOrDie();
  CHECK(stats.spilled_bytes == 0);
  auto limited = retrieve(10'000, &stats);
  for (int64_t limit = 12'000; !limited.ok() && limit < 1'000'000; limit += limit / 8) {
    CHECK(KindOf(limited.status()) == ErrorKind::kExhausted);
    limited = retrieve(limit, &stats);
  }
  CHECK_TABLE_EQ(limited, expected);
  CHECK(stats.spilled_bytes > 0);
  const auto refused = retrieve(500, &stats);
  REQUIRE_FALSE(refused.ok());
  CHECK(KindOf(refused.status()) == ErrorKind::kExhausted);
  CHECK(HintOf(refused.status()).find("memory_limit") != std::string::npos);
}

TEST_CASE("teardown leaves nothing to read") {
  Fixture fixture;
  fixture.Materialize(kEnd);
  REQUIRE(fixture.store->Teardown(fixture.context).ok());
  CHECK(fixture.store->definitions()->feature_views.empty());
  auto rows = table::SingleBatch(*Fixture::EntityRows(kEnd)).ValueOrDie();
  CHECK_FALSE(fixture.store
                  ->GetOnlineFeatures(fixture.context,
                                      {.features = {}, .feature_service = "everything"}, *rows)
                  .ok());
}

}  // namespace
}  // namespace gnomon::feature
