#include <algorithm>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_reader.h"
#include "feature/online/online_store.h"
#include "feature/store/feature_store.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr int64_t kHour = 3600 * kMicrosPerSecond;
constexpr int64_t kStart = 1'700'006'400'000'000;
constexpr int64_t kEnd = kStart + 2000 * kHour;
constexpr int64_t kShops = 4;  // the last has no events

constexpr const char* kFeatures = R"yaml(
entities:
  - {name: shop, join_keys: [shop], value_type: INT64}
data_sources:
  - {name: events, type: file, path: events.parquet, timestamp_field: ts, created_timestamp_column: created}
feature_views:
  - name: totals
    entities: [shop]
    source: events
    aggregations:
      - {column: amount, function: count, name: n}
      - {column: amount, function: sum, name: total}
      - {column: amount, function: mean, name: average}
      - {column: amount, function: std, name: spread}
      - {column: amount, function: min, name: lowest}
      - {column: amount, function: max, name: highest}
      - {column: amount, function: median, name: middle}
      - {column: amount, function: last_k, k: 5, name: recent}
      - {column: note, function: first, name: first_note}
      - {column: note, function: last, name: last_note}
      - {column: note, function: most_frequent, name: usual_note}
      - {column: note, function: count_distinct, name: notes}
      - {column: amount, function: sum, time_window: 10d, name: total_10d}
)yaml";

struct Event {
  int64_t shop;
  int64_t ts;
  std::optional<double> amount;
  std::string note;
};

struct Fixture {
  TemporaryFolder folder = TemporaryFolder::Make().ValueOrDie();
  Context context;
  std::mt19937_64 random{20240602};
  std::vector<Event> events;
  std::unique_ptr<FeatureStore> store;

  Fixture() {
    events = MakeEvents(1800, kStart, kEnd);
    CHECK_OK(WriteFileAtomic(folder.path() + "/feature_store.yaml", "project: test\n"));
    CHECK_OK(WriteFileAtomic(folder.path() + "/features.yaml", kFeatures));
    WriteSource();
    store = ValueOf(FeatureStore::Open(context, folder.path()));
    CHECK_OK(store->Apply(context, ValueOf(store->LoadRepository())));
  }

  std::vector<Event> MakeEvents(int count, int64_t from, int64_t to) {
    std::vector<Event> made;
    const auto hours = static_cast<uint64_t>((to - from) / kHour);
    for (int i = 0; i < count; ++i) {
      Event event{.shop = static_cast<int64_t>(random() % (kShops - 1)),
                  .ts = from + static_cast<int64_t>(random() % hours) * kHour,
                  .amount = {},
                  .note = std::string(1, static_cast<char>('a' + random() % 5))};
      if (random() % 9 != 0) event.amount = static_cast<double>(random() % 700) / 7 - 20;
      made.push_back(std::move(event));
    }
    return made;
  }

  static std::shared_ptr<arrow::Table> TableOf(const std::vector<Event>& rows) {
    const auto instant = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
    arrow::Int64Builder shop;
    arrow::TimestampBuilder ts(instant, arrow::default_memory_pool());
    arrow::DoubleBuilder amount;
    arrow::StringBuilder note;
    for (const Event& row : rows) {
      CHECK_OK(shop.Append(row.shop));
      CHECK_OK(ts.Append(row.ts));
      CHECK_OK(row.amount ? amount.Append(*row.amount) : amount.AppendNull());
      CHECK_OK(note.Append(row.note));
    }
    const auto times = ValueOf(ts.Finish());
    return arrow::Table::Make(
        arrow::schema({arrow::field("shop", arrow::int64()), arrow::field("ts", instant),
                       arrow::field("created", instant), arrow::field("amount", arrow::float64()),
                       arrow::field("note", arrow::utf8())}),
        arrow::ArrayVector{ValueOf(shop.Finish()), times, times, ValueOf(amount.Finish()),
                           ValueOf(note.Finish())});
  }

  void WriteSource() const {
    CHECK_OK(table::WriteTable(context, *TableOf(events), folder.path() + "/events.parquet"));
  }

  void Materialize(int64_t end) const {
    CHECK_OK(store->Materialize(context, {.start = kStart, .end = end}));
  }

  /// To the online store, and to the source behind what it has.
  void Push(const std::vector<Event>& rows) {
    CHECK_OK(store->Push(context, "totals", *ValueOf(table::SingleBatch(*TableOf(rows))),
                         PushMode::kOnline));
    events.insert(events.end(), rows.begin(), rows.end());
    WriteSource();
  }

  static std::shared_ptr<arrow::Table> EntityRows(int64_t time) {
    arrow::Int64Builder shop;
    arrow::TimestampBuilder times(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"),
                                  arrow::default_memory_pool());
    for (int64_t i = 0; i < kShops; ++i) {
      CHECK_OK(shop.Append(i));
      CHECK_OK(times.Append(time));
    }
    return arrow::Table::Make(arrow::schema({arrow::field("shop", arrow::int64()),
                                             arrow::field("event_timestamp", times.type())}),
                              arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(times.Finish())});
  }

  Result<OnlineResponse> Online(int64_t as_of) const {
    return store->GetOnlineFeatures(context, {.features = {"totals:*"}, .feature_service = {}},
                                    *ValueOf(table::SingleBatch(*EntityRows(as_of))), as_of);
  }

  void CheckOnlineEqualsOffline(int64_t time) const {
    CAPTURE(FormatTimestamp(time));
    auto job = ValueOf(store->GetHistoricalFeatures(
        {.features = {"totals:*"}, .feature_service = {}}, EntityRows(time)));
    const auto offline = ValueOf(job->ToTable(context));
    const OnlineResponse online = ValueOf(Online(time));
    REQUIRE(online.features.size() == 13);
    for (const OnlineColumn& column : online.features) {
      CAPTURE(column.name);
      const auto expected = ValueOf(table::SingleChunk(*offline->GetColumnByName(column.name)));
      CHECK_MESSAGE(column.values->Equals(*expected),
                    "online " << column.values->ToString() << "\noffline " << expected->ToString());
    }
  }

  void CheckFrom(int64_t time) const {
    for (const int64_t hours : {0, 1, 100, 240, 100'000})
      CheckOnlineEqualsOffline(time + hours * kHour);
  }

  /// How many events of a shop the online store has.
  int64_t StoredEvents(int64_t shop_id) const {
    const auto definitions = store->definitions();
    const OnlineTable table =
        ValueOf(OnlineTableOf("test", *definitions->FindFeatureView("totals")));
    const auto online = ValueOf(
        OpenOnlineStore({.type = "sqlite", .path = folder.path() + "/data/online_store.db"}));
    arrow::Int64Builder shop;
    CHECK_OK(shop.Append(shop_id));
    std::string key;
    const auto encoder = ValueOf(EntityKeyEncoder::Make({"shop"}, {{ValueType::kInt64}}));
    CHECK(ValueOf(encoder.Encode({ValueOf(shop.Finish())}, 0, &key)));
    const OnlineRead read{.table = &table, .keys = {key}, .fields = {0}};
    const auto values = ValueOf(online->Read(context, {&read, 1}));
    return static_cast<const arrow::ListArray&>(*values[0].columns[0]).value_length(0);
  }
};

TEST_CASE("lifetime windows are served from partials with the bits of the offline side") {
  Fixture fixture;
  fixture.Materialize(kEnd);
  fixture.CheckFrom(kEnd);
  SUBCASE("repeated, also over another interval: nothing counts twice") {
    fixture.Materialize(kEnd);
    CHECK_OK(fixture.store->Materialize(fixture.context, {.start = kEnd - kHour, .end = kEnd}));
    fixture.CheckFrom(kEnd);
  }
  SUBCASE("after pushes of new and of late rows, and a materialization that has them too") {
    for (int batch = 0; batch < 4; ++batch) {
      fixture.Push(
          fixture.MakeEvents(40, kEnd + batch * 50 * kHour, kEnd + (batch + 1) * 50 * kHour));
      fixture.Push(fixture.MakeEvents(15, kStart, kEnd));
    }
    fixture.CheckFrom(kEnd + 200 * kHour);
    fixture.Materialize(kEnd + 200 * kHour);
    fixture.CheckFrom(kEnd + 200 * kHour);
  }
}

TEST_CASE("incremental materializations of lifetime windows give what one gives") {
  Fixture fixture;
  for (const int64_t hours : {500, 501, 1200, 2000}) {
    CHECK_OK(fixture.store->MaterializeIncremental(fixture.context, kStart + hours * kHour));
    fixture.CheckOnlineEqualsOffline(kStart + hours * kHour);
  }
  fixture.CheckFrom(kEnd);
}

TEST_CASE("a key keeps the newest events only, and the far past is refused by name") {
  Fixture fixture;
  fixture.Materialize(kEnd);
  for (int64_t shop = 0; shop + 1 < kShops; ++shop) {
    const auto all = std::ranges::count(fixture.events, shop, &Event::shop);
    const auto recent = std::ranges::count_if(fixture.events, [&](const Event& event) {
      return event.shop == shop && event.ts > kEnd - 250 * kHour;
    });
    CHECK(all > 500);
    // Those of 10 days or the newest 64, and what min, max, first and last_k need.
    CHECK(fixture.StoredEvents(shop) < std::max<int64_t>(recent, 64) + 12);
  }
  CHECK_ERROR(fixture.Online(kStart + 600 * kHour), ErrorKind::kUser, "feature view 'totals'");
  fixture.CheckOnlineEqualsOffline(kStart - kHour);
}

TEST_CASE("what counted values may take is an option") {
  Fixture fixture;
  CHECK_OK(WriteFileAtomic(fixture.folder.path() + "/feature_store.yaml",
                           "project: test\nonline_store: {type: sqlite, value_counts_mb: 1}\n"));
  fixture.store = ValueOf(FeatureStore::Open(fixture.context, fixture.folder.path()));
  fixture.Materialize(kEnd);
  std::vector<Event> many;
  for (int64_t i = 0; i < 70'000; ++i)
    many.push_back({.shop = 0, .ts = kStart, .amount = static_cast<double>(i), .note = "a"});
  CHECK_ERROR(
      fixture.store->Push(fixture.context, "totals",
                          *ValueOf(table::SingleBatch(*Fixture::TableOf(many))), PushMode::kOnline),
      ErrorKind::kExhausted, "feature view 'totals', column 'amount'");
  fixture.CheckOnlineEqualsOffline(kEnd);
  fixture.events.insert(fixture.events.end(), many.begin(), many.end());
  fixture.WriteSource();
  CHECK_ERROR(fixture.store->Materialize(fixture.context, {.start = kStart, .end = kEnd}),
              ErrorKind::kExhausted, "feature view 'totals', column 'amount'");
}

}  // namespace
}  // namespace gnomon::feature
