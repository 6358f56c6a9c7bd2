#include "feature/store/feature_store.h"

#include <algorithm>
#include <map>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kDay = kMicrosPerDay;
constexpr int64_t kStart = 1'700'006'400'000'000;  // a midnight
constexpr int64_t kEnd = kStart + 60 * kDay;
constexpr int kEntities = 40;

constexpr const char* kFeatures = R"yaml(
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
on_demand_feature_views:
  - name: derived
    sources: [latest, history]
    features:
      - {name: ratio, dtype: Float64, expression: "amount / mean_30d"}
      - {name: lag_2, dtype: Float64, expression: "recent[1]"}
feature_services:
  - {name: everything, features: [latest, history, derived]}
)yaml";

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

uint64_t Seed() {
  const char* text = std::getenv("GNOMON_TEST_SEED");
  return text == nullptr ? 42 : std::strtoull(text, nullptr, 10);
}

struct Event {
  int64_t shop;
  int64_t ts;
  int64_t created;
  std::optional<double> amount;
  std::string note;
};

/// A repository in a temporary folder with random events: gaps, nulls, duplicate times, rows
/// created late.
struct Fixture {
  TemporaryFolder folder = TemporaryFolder::Make().ValueOrDie();
  FakeClock clock{kEnd};
  Context context;
  std::vector<Event> events;
  std::unique_ptr<FeatureStore> store;

  explicit Fixture(uint64_t seed = Seed()) {
    INFO("seed " << seed);
    context.clock = &clock;
    std::mt19937_64 random(seed);
    for (int i = 0; i < 2000; ++i) {
      Event event;
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
    for (const Event& event : events) {
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

TEST_CASE("historical features are the newest row known at each time, within the ttl") {
  Fixture fixture;
  for (int64_t time : {kStart, kStart + 10 * kDay + 1, kStart + 33 * kDay, kEnd + 4 * kDay}) {
    auto table = fixture.Historical(time);
    REQUIRE(table->num_rows() == kEntities + 2);
    const auto amounts = table::SingleChunk(*table->GetColumnByName("amount")).ValueOrDie();
    const auto counts = table::SingleChunk(*table->GetColumnByName("count_7d")).ValueOrDie();
    for (int64_t shop = 0; shop < table->num_rows(); ++shop) {
      const Event* best = nullptr;
      int64_t count = 0;
      for (const Event& event : fixture.events) {
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
  REQUIRE(statuses.size() == 2);
  CHECK(statuses[0].rows == kEntities);
  CHECK(statuses[0].watermark == kEnd);
}

TEST_CASE("pushed rows are served at once and older ones change nothing") {
  Fixture fixture;
  fixture.Materialize(kEnd);
  auto pushed =
      test::TableOf({{"shop", arrow::int64()},
                     {"ts", Instant()},
                     {"created", Instant()},
                     {"amount", arrow::float64()},
                     {"note", arrow::utf8()}},
                    Concat("[[1, ", kEnd + kDay, ", ", kEnd + kDay, ", 12.5, \"new\"], [2, ",
                           kStart, ", ", kStart, ", 99.0, \"old\"]]"));
  auto batch = table::SingleBatch(*pushed).ValueOrDie();
  const OnlineResponse before = fixture.Online(kEnd + kDay);
  for (const char* view : {"latest", "history"}) {
    auto rows = fixture.store->Push(fixture.context, view, *batch);
    REQUIRE_MESSAGE(rows.ok(), rows.status().ToString());
    CHECK(*rows == 2);
  }
  const OnlineResponse after = fixture.Online(kEnd + kDay);
  const auto& amount = static_cast<const arrow::DoubleArray&>(*after.features[0].values);
  CHECK(amount.Value(1) == 12.5);
  const auto value = [](const OnlineResponse& response, size_t column, int64_t row) {
    return response.features[column].values->GetScalar(row).ValueOrDie();
  };
  for (size_t column = 0; column < after.features.size(); ++column) {
    CAPTURE(after.features[column].name);
    CHECK(value(after, column, 2)->Equals(*value(before, column, 2)));
  }
  const auto& counts = static_cast<const arrow::Int64Array&>(*after.features[4].values);
  const auto& counts_before = static_cast<const arrow::Int64Array&>(*before.features[4].values);
  CHECK(after.features[4].name == "count_7d");
  CHECK(counts.Value(1) == counts_before.Value(1) + 1);
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
  for (const Event& event : fixture.events) ++distinct[{event.ts, event.shop}];
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
