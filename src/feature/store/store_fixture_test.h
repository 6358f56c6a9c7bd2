#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/store/feature_store.h"
#include "table/column.h"
#include "table/file.h"

namespace gnomon::feature {

inline constexpr int64_t kDay = kMicrosPerDay;
inline constexpr int64_t kStart = 1'700'006'400'000'000;  // a midnight
inline constexpr int64_t kEnd = kStart + 60 * kDay;
inline constexpr int kEntities = 40;

inline constexpr const char* kFeatures = R"yaml(
entities:
  - {name: shop, join_keys: [shop], value_type: INT64}
data_sources:
  - {name: events, type: file, path: events.parquet, timestamp_field: ts, created_timestamp_column: created}
feature_views:
  - name: latest
    entities: [shop]
    source: events
    ttl: 5d
    schema: [{name: amount, dtype: Float64}, {name: note, dtype: String}]
  - name: history
    entities: [shop]
    source: events
    aggregations:
      - {column: amount, function: sum, time_window: 7d, name: sum_7d}
      - {column: amount, function: mean, time_window: 30d, name: mean_30d}
      - {column: amount, function: count, time_window: 7d, name: count_7d}
      - {column: amount, function: last_k, k: 3, time_window: 30d, name: recent}
      - {column: amount, function: std, time_window: 30d, name: std_30d}
      - {column: note, function: most_frequent, time_window: 30d, name: note_30d}
  - name: big
    entities: [shop]
    source_views: [latest]
    transformations: {doubled: amount * 2}
    filter: amount > 5000
    schema: [{name: doubled, dtype: Float64}]
  - name: trend
    entities: [shop]
    source_views: [latest, history]
    transformations: {excess: amount - mean_30d}
    schema: [{name: excess}]
  - name: peaks
    entities: [shop]
    source_views: [trend]
    aggregations: [{column: excess, function: max, time_window: 14d, name: excess_max_14d}]
on_demand_feature_views:
  - name: derived
    sources: [latest, history]
    features:
      - {name: ratio, dtype: Float64, expression: "amount / mean_30d"}
      - {name: lag_2, dtype: Float64, expression: "recent[1]"}
feature_services:
  - {name: everything, features: [latest, history, big, trend, peaks, derived]}
)yaml";

inline std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

inline uint64_t Seed() {
  const char* text = std::getenv("GNOMON_TEST_SEED");
  return text == nullptr ? 42 : std::strtoull(text, nullptr, 10);
}

struct StoreEvent {
  int64_t shop;
  int64_t ts;
  int64_t created;
  std::optional<double> amount;
  std::string note;
};

/// A repository in a temporary folder with random events: gaps, nulls, duplicate times, rows
/// created late.
struct StoreFixture {
  TemporaryFolder folder = TemporaryFolder::Make().ValueOrDie();
  FakeClock clock{kEnd};
  Context context;
  std::vector<StoreEvent> events;
  std::unique_ptr<FeatureStore> store;

  explicit StoreFixture(uint64_t seed = Seed()) {
    INFO("seed " << seed);
    context.clock = &clock;
    std::mt19937_64 random(seed);
    for (int i = 0; i < 2000; ++i) {
      StoreEvent event;
      event.shop = static_cast<int64_t>(random() % kEntities);
      event.ts = kStart + static_cast<int64_t>(random() % 240) * (kDay / 4);
      event.created = event.ts + static_cast<int64_t>(random() % 3) * kMicrosPerSecond;
      if (random() % 10 != 0) event.amount = static_cast<double>(random() % 100'000) / 7;
      event.note = std::string(1, static_cast<char>('a' + random() % 3));
      events.push_back(event);
    }
    REQUIRE(WriteFileAtomic(folder.path() + "/feature_store.yaml", "project: test\n").ok());
    REQUIRE(WriteFileAtomic(folder.path() + "/features.yaml", kFeatures).ok());
    REQUIRE(table::WriteTable(context, *Table(), folder.path() + "/events.parquet").ok());
    Open();
    auto definitions = store->LoadRepository();
    REQUIRE_MESSAGE(definitions.ok(), definitions.status().ToString());
    auto applied = store->Apply(context, *definitions);
    REQUIRE_MESSAGE(applied.ok(), applied.status().ToString());
  }

  void Open() {
    auto opened = FeatureStore::Open(context, folder.path());
    REQUIRE_MESSAGE(opened.ok(), opened.status().ToString());
    store = *std::move(opened);
  }

  std::shared_ptr<arrow::Table> Table() const {
    arrow::Int64Builder shop;
    arrow::TimestampBuilder ts(Instant(), arrow::default_memory_pool());
    arrow::TimestampBuilder created(Instant(), arrow::default_memory_pool());
    arrow::DoubleBuilder amount;
    arrow::StringBuilder note;
    for (const StoreEvent& event : events) {
      REQUIRE(shop.Append(event.shop).ok());
      REQUIRE(ts.Append(event.ts).ok());
      REQUIRE(created.Append(event.created).ok());
      REQUIRE((event.amount ? amount.Append(*event.amount) : amount.AppendNull()).ok());
      REQUIRE(note.Append(event.note).ok());
    }
    return arrow::Table::Make(
        arrow::schema({arrow::field("shop", arrow::int64()), arrow::field("ts", Instant()),
                       arrow::field("created", Instant()), arrow::field("amount", arrow::float64()),
                       arrow::field("note", arrow::utf8())}),
        arrow::ArrayVector{*shop.Finish(), *ts.Finish(), *created.Finish(), *amount.Finish(),
                           *note.Finish()});
  }

  /// Shops 0 to kEntities + 1 (two that have no events) at one time.
  static std::shared_ptr<arrow::Table> EntityRows(int64_t time) {
    arrow::Int64Builder shop;
    arrow::TimestampBuilder times(Instant(), arrow::default_memory_pool());
    for (int64_t i = 0; i < kEntities + 2; ++i) {
      REQUIRE(shop.Append(i).ok());
      REQUIRE(times.Append(time).ok());
    }
    return arrow::Table::Make(arrow::schema({arrow::field("shop", arrow::int64()),
                                             arrow::field("event_timestamp", Instant())}),
                              arrow::ArrayVector{*shop.Finish(), *times.Finish()});
  }

  std::shared_ptr<arrow::Table> Historical(int64_t time) const {
    auto job = store->GetHistoricalFeatures({.features = {}, .feature_service = "everything"},
                                            EntityRows(time));
    REQUIRE_MESSAGE(job.ok(), job.status().ToString());
    auto result = (*job)->ToTable(context);
    REQUIRE_MESSAGE(result.ok(), result.status().ToString());
    return *result;
  }

  OnlineResponse Online(int64_t as_of) const {
    auto rows = table::SingleBatch(*EntityRows(as_of)).ValueOrDie();
    auto response = store->GetOnlineFeatures(
        context, {.features = {}, .feature_service = "everything"}, *rows, as_of);
    REQUIRE_MESSAGE(response.ok(), response.status().ToString());
    return *std::move(response);
  }

  void Materialize(int64_t end) const {
    auto job = store->Materialize(context, {.start = kStart, .end = end});
    REQUIRE_MESSAGE(job.ok(), job.status().ToString());
  }

  void CheckOnlineEqualsOffline(int64_t time) const {
    CAPTURE(FormatTimestamp(time));
    auto offline = Historical(time);
    const OnlineResponse online = Online(time);
    for (const OnlineColumn& column : online.features) {
      CAPTURE(column.name);
      auto expected = offline->GetColumnByName(column.name);
      REQUIRE(expected != nullptr);
      auto array = table::SingleChunk(*expected).ValueOrDie();
      CHECK_MESSAGE(column.values->Equals(*array),
                    "online " << column.values->ToString() << "\noffline " << array->ToString());
    }
  }
};

inline int64_t NumFiles(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

}  // namespace gnomon::feature
