#include "feature/store/feature_store.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/memory.h"
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

int64_t NumFiles(const std::string& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), {});
}

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

TEST_CASE("a view over views has the rows of its source views") {
  Fixture fixture;
  // (shop, time) -> amount - mean_30d as of that time, of every event's time.
  std::map<std::pair<int64_t, int64_t>, std::optional<double>> excess;
  std::map<int64_t, std::vector<int64_t>> shops_at;
  for (const Event& event : fixture.events) shops_at[event.ts].push_back(event.shop);
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
      const Event* big = nullptr;
      for (const Event& event : fixture.events) {
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

TEST_CASE("rows pushed offline are there for retrieval, after the rows of the files") {
  Fixture fixture;
  const std::string folder = fixture.folder.path();
  std::filesystem::create_directory(folder + "/events");
  std::filesystem::rename(folder + "/events.parquet", folder + "/events/a.parquet");
  std::string yaml = kFeatures;
  yaml.replace(yaml.find("path: events.parquet"), 20, "path: events");
  REQUIRE(WriteFileAtomic(folder + "/features.yaml", yaml).ok());
  auto definitions = fixture.store->LoadRepository().ValueOrDie();
  REQUIRE(fixture.store->Apply(fixture.context, definitions).ok());

  // Of two pushes of the same time the second wins, as the later row.
  for (const double amount : {1.5, 2.5}) {
    const auto rows = table::SingleBatch(*test::TableOf({{"shop", arrow::int32()},
                                                         {"ts", Instant()},
                                                         {"created", Instant()},
                                                         {"amount", arrow::float64()}},
                                                        Concat("[[3, ", kEnd + 5, ", ", kEnd + 5,
                                                               ", ", amount, "]]")))
                          .ValueOrDie();
    auto pushed = fixture.store->Push(fixture.context, "latest", *rows, PushMode::kOffline);
    REQUIRE_MESSAGE(pushed.ok(), pushed.status().ToString());
    CHECK(*pushed == 1);
    fixture.clock.Advance(kMicrosPerSecond);
  }
  const auto amounts =
      table::SingleChunk(*fixture.Historical(kEnd + 10)->GetColumnByName("amount")).ValueOrDie();
  CHECK(static_cast<const arrow::DoubleArray&>(*amounts).Value(3) == 2.5);

  const auto wrong = table::SingleBatch(*test::TableOf({{"shop", arrow::int64()},
                                                        {"ts", Instant()},
                                                        {"amuont", arrow::float64()}},
                                                       "[[3, 0, 1]]"))
                         .ValueOrDie();
  const auto refused =
      fixture.store->Push(fixture.context, "latest", *wrong, PushMode::kOffline).status();
  CHECK(KindOf(refused) == ErrorKind::kUser);
  CHECK(HintOf(refused).find("amount") != std::string::npos);
  CHECK(NumFiles(folder + "/events") == 3);
}

TEST_CASE("what is materialized is kept in the sink, once however often it runs") {
  Fixture fixture;
  const std::string folder = fixture.folder.path();
  std::string yaml = kFeatures;
  yaml.insert(yaml.find("feature_views:"),
              "  - {name: kept, type: file, path: kept, timestamp_field: at}\n");
  const std::string window = "  - name: history\n";
  yaml.insert(yaml.find(window) + window.size(), "    sink_source: kept\n");
  REQUIRE(WriteFileAtomic(folder + "/features.yaml", yaml).ok());
  auto applied =
      fixture.store->Apply(fixture.context, fixture.store->LoadRepository().ValueOrDie());
  REQUIRE_MESSAGE(applied.ok(), applied.status().ToString());
  fixture.Materialize(kStart + 10 * kDay);
  fixture.Materialize(kStart + 10 * kDay);
  CHECK(NumFiles(folder + "/kept") == 1);
  const auto kept = table::ReadTable(fixture.context, folder + "/kept").ValueOrDie();
  auto job = fixture.store->GetHistoricalFeatures(
      {.features = {"history:*"}, .feature_service = {}}, kStart, kStart + 10 * kDay);
  const auto expected = (*job)->ToTable(fixture.context).ValueOrDie();
  std::vector<std::string> names = expected->schema()->field_names();
  *std::ranges::find(names, "event_timestamp") = "at";
  CHECK(kept->num_rows() > 100);
  CHECK_TABLE_EQ(kept, expected->RenameColumns(names).ValueOrDie());
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

TEST_CASE("a source that is one file takes no pushes offline") {
  Fixture fixture;
  const auto rows = table::SingleBatch(*Fixture::EntityRows(kEnd)).ValueOrDie();
  const auto status =
      fixture.store->Push(fixture.context, "latest", *rows, PushMode::kOffline).status();
  CHECK(KindOf(status) == ErrorKind::kUser);
  CHECK(HintOf(status).find("folder") != std::string::npos);
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
