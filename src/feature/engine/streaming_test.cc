// Retrieval and materialization with little memory: every way that rows can take gives the same
// bytes, and those of a brute force.

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/text.h"
#include "feature/engine/materialization.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/write_only_store_fake.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr int64_t kDay = 86'400'000'000;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int kShops = 300;
constexpr int kEvents = 150'000;

constexpr const char* kDefinitions = R"yaml(
entities: [{name: shop, value_type: INT64}]
data_sources:
  - {name: events, path: events.parquet, timestamp_field: ts, created_timestamp_column: created}
feature_views:
  - name: latest
    entities: [shop]
    source: events
    ttl: 3d
    schema: [{name: amount, dtype: Float64}, {name: note, dtype: String}]
  - name: derived
    entities: [shop]
    source: events
    transformations: {double: amount * 2, more: double + 1}
    filter: double >= 100
    schema: [{name: more, dtype: Float64}, {name: double, dtype: Float64}]
  - name: everywhere
    source: events
    schema: [{name: note, dtype: String}]
  - name: windows
    entities: [shop]
    source: events
    filter: amount != 7
    aggregations:
      - {column: amount, function: sum, time_window: 7d, name: sum_7d}
      - {column: amount, function: std, time_window: 30d, name: std_30d}
      - {column: amount, function: last_k, k: 3, time_window: 30d, name: recent}
      - {column: note, function: first, time_window: 30d, name: first_note}
      - {column: note, function: count_distinct, name: notes}
feature_services:
  - {name: all, features: [latest, derived, everywhere, windows]}
)yaml";

struct Event {
  std::optional<int64_t> shop;
  std::optional<int64_t> ts;
  int64_t created;
  double amount;
  std::string note;
};

/// Many ties in both times, null keys and null times, in row groups that are not in order of time.
std::vector<Event> RandomEvents(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Event> events;
  for (int i = 0; i < kEvents; ++i) {
    Event event;
    if (random() % 50 != 0) event.shop = static_cast<int64_t>(random() % kShops);
    if (random() % 50 != 0) event.ts = static_cast<int64_t>(random() % 240) * (kDay / 4);
    event.created = event.ts.value_or(0) + static_cast<int64_t>(random() % 2);
    event.amount = static_cast<double>(random() % 1000) / 3;
    event.note = Concat("note ", random() % 100);
    events.push_back(std::move(event));
  }
  return events;
}

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

std::shared_ptr<arrow::Table> TableOf(const std::vector<Event>& events) {
  arrow::Int64Builder shop;
  arrow::TimestampBuilder ts(Instant(), arrow::default_memory_pool());
  arrow::TimestampBuilder created(Instant(), arrow::default_memory_pool());
  arrow::DoubleBuilder amount;
  arrow::StringBuilder note;
  Status status;
  for (const Event& event : events) {
    status &= event.shop ? shop.Append(*event.shop) : shop.AppendNull();
    status &= event.ts ? ts.Append(*event.ts) : ts.AppendNull();
    status &= created.Append(event.created);
    status &= amount.Append(event.amount);
    status &= note.Append(event.note);
  }
  CHECK_OK(status);
  return arrow::Table::Make(
      arrow::schema({arrow::field("shop", arrow::int64()), arrow::field("ts", Instant()),
                     arrow::field("created", Instant()), arrow::field("amount", arrow::float64()),
                     arrow::field("note", arrow::utf8())}),
      arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(ts.Finish()), ValueOf(created.Finish()),
                         ValueOf(amount.Finish()), ValueOf(note.Finish())});
}

/// Keeps what is written, batch by batch.
class RecordingStore : public WriteOnlyStore {
 public:
  struct Batch {
    std::vector<std::string> keys;
    std::vector<int64_t> event_times;
    std::vector<int64_t> created_times;
    std::shared_ptr<arrow::RecordBatch> values;
  };
  std::vector<Batch> batches;
  int commits = 0;

  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context&, const OnlineTable&) override {
    return std::make_unique<Writer>(this);
  }

 private:
  class Writer : public OnlineWriter {
   public:
    explicit Writer(RecordingStore* store) : store_(store) {}
    Status Write(const Context&, const OnlineRows& rows) override {
      store_->batches.push_back({{rows.keys.begin(), rows.keys.end()},
                                 {rows.event_times.begin(), rows.event_times.end()},
                                 {rows.created_times.begin(), rows.created_times.end()},
                                 rows.values});
      return Status::OK();
    }
    Status Commit(const Context&) override {
      ++store_->commits;
      return Status::OK();
    }

   private:
    RecordingStore* store_;
  };
};

struct Written {
  MaterializationResult result;
  RecordingStore store;
};

bool SameBatches(const RecordingStore& left, const RecordingStore& right) {
  return std::ranges::equal(left.batches, right.batches, [](const auto& one, const auto& other) {
    return one.keys == other.keys && one.event_times == other.event_times &&
           one.created_times == other.created_times && one.values->Equals(*other.values);
  });
}

struct World {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  std::vector<Event> events;
  std::shared_ptr<const Definitions> definitions;
  std::unique_ptr<OfflineStore> offline;

  World() : events(RandomEvents(1)) {
    CHECK_OK(table::WriteTable({}, *TableOf(events), folder.path() + "/events.parquet",
                               {.row_group_rows = 17000}));
    RepositoryConfig config;
    config.folder = folder.path();
    offline = ValueOf(OpenOfflineStore(config));
    const Definitions parsed =
        Complete(ValueOf(ParseDefinitions(ValueOf(ParseConfig(kDefinitions, "definitions")))));
    std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
    for (const DataSource& source : parsed.data_sources)
      schemas[source.name] = ValueOf(offline->SourceSchema({}, source));
    definitions = std::make_shared<const Definitions>(ValueOf(ResolveSchemas(parsed, schemas)));
  }

  std::shared_ptr<arrow::Table> Labels() const {
    std::mt19937_64 random(3);
    arrow::Int64Builder shop;
    arrow::TimestampBuilder times(Instant(), arrow::default_memory_pool());
    for (int i = 0; i < 1000; ++i) {
      const auto key = static_cast<int64_t>(random() % (kShops + 20));
      CHECK_OK(random() % 50 == 0 ? shop.AppendNull() : shop.Append(key));
      CHECK_OK(times.Append(static_cast<int64_t>(random() % 240) * (kDay / 4)));
    }
    return arrow::Table::Make(arrow::schema({arrow::field("shop", arrow::int64()),
                                             arrow::field("event_timestamp", Instant())}),
                              arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(times.Finish())});
  }

  std::shared_ptr<arrow::Table> Retrieve(int64_t limit, RetrievalStats* stats,
                                         const RetrievalOptions& options = {}) const {
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    const FeaturePlan plan = ValueOf(PlanFeatureService(definitions, "all", true));
    auto rows = ValueOf(RetrieveHistorical(context, plan, *offline, *Labels(), options, stats));
    CHECK(memory.used() == 0);
    return rows;
  }

  Written Materialize(const std::string& view, int64_t limit, int64_t start, int64_t end) const {
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    Written written;
    written.result =
        ValueOf(MaterializeView(context, *definitions, "p", *definitions->FindFeatureView(view),
                                *offline, written.store, start, end));
    CHECK(memory.used() == 0);
    CHECK(written.store.commits == 1);
    return written;
  }
};

const World& TheWorld() {
  static const World world;
  return world;
}

/// Rules 1 and 2 of the semantics: by shop the newest event until `end`.
std::map<int64_t, const Event*> Newest(const std::vector<Event>& events, int64_t start,
                                       int64_t end) {
  std::map<int64_t, const Event*> newest;
  for (const Event& event : events) {
    if (!event.shop || !event.ts || *event.ts < start || *event.ts > end) continue;
    const Event*& best = newest[*event.shop];
    if (best == nullptr ||
        std::pair(*best->ts, best->created) <= std::pair(*event.ts, event.created))
      best = &event;
  }
  return newest;
}

}  // namespace

TEST_CASE(
    "views that share a source are read in one scan, whatever they derive, filter and aggregate") {
  const World& world = TheWorld();
  RetrievalStats stats;
  const auto rows = world.Retrieve(0, &stats);
  CHECK(stats.scans == 1);
  const auto labels = world.Labels();
  const auto shops = table::SingleChunk(*labels->column(0)).ValueOrDie();
  const auto times = table::TimesAsMicros(*table::SingleChunk(*labels->column(1)).ValueOrDie());
  const auto amounts = table::SingleChunk(*rows->GetColumnByName("latest__amount")).ValueOrDie();
  const auto more = table::SingleChunk(*rows->GetColumnByName("derived__more")).ValueOrDie();
  const auto notes = table::SingleChunk(*rows->GetColumnByName("everywhere__note")).ValueOrDie();
  std::vector<Event> filtered;
  std::vector<Event> all;
  for (const Event& event : world.events) {
    if (event.amount * 2 >= 100) filtered.push_back(event);
    all.push_back(event);
    all.back().shop = 0;
  }
  for (int64_t i = 0; i < 40; ++i) {
    CAPTURE(i);
    const int64_t time = (*times)[static_cast<size_t>(i)];
    const auto at_time = Newest(all, INT64_MIN, time);
    const std::string expected = at_time.empty() ? "" : at_time.at(0)->note;
    CHECK(static_cast<const arrow::StringArray&>(*notes).GetView(i) == expected);
    if (shops->IsNull(i)) continue;
    const int64_t shop = static_cast<const arrow::Int64Array&>(*shops).Value(i);
    const auto newest = Newest(world.events, time - 3 * kDay, time);
    const auto of_filtered = Newest(filtered, INT64_MIN, time);
    CHECK(amounts->IsNull(i) == !newest.contains(shop));
    CHECK(more->IsNull(i) == !of_filtered.contains(shop));
    if (newest.contains(shop)) {
      CHECK(static_cast<const arrow::DoubleArray&>(*amounts).Value(i) == newest.at(shop)->amount);
    }
    if (of_filtered.contains(shop)) {
      CHECK(static_cast<const arrow::DoubleArray&>(*more).Value(i) ==
            of_filtered.at(shop)->amount * 2 + 1);
    }
  }
}

TEST_CASE("no memory limit changes a bit of what is retrieved") {
  const World& world = TheWorld();
  for (const bool by_created : {false, true}) {
    RetrievalOptions options;
    options.filter_by_created_timestamp = by_created;
    if (by_created) options.created_before = 40 * kDay;
    RetrievalStats unlimited;
    const auto expected = world.Retrieve(0, &unlimited, options);
    CHECK(unlimited.spilled_bytes == 0);
    int spilled = 0;
    int in_memory = 0;
    for (const int64_t limit : {2 * kMiB, 3 * kMiB, 6 * kMiB, 400 * kMiB}) {
      CAPTURE(limit);
      RetrievalStats stats;
      CHECK_TABLE_EQ(world.Retrieve(limit, &stats, options), expected);
      (stats.spilled_bytes > 0 ? spilled : in_memory) += 1;
    }
    CHECK(spilled >= 2);
    CHECK(in_memory >= 1);
  }
}

TEST_CASE("a plain view is materialized row by row as the brute force says, in one order") {
  const World& world = TheWorld();
  const int64_t start = 5 * kDay;
  const int64_t end = 50 * kDay;
  const Written written = world.Materialize("latest", 0, start, end);
  const auto newest = Newest(world.events, start, end);
  int64_t skipped = 0;
  int64_t in_range = 0;
  for (const Event& event : world.events) {
    const bool inside = event.ts && *event.ts >= start && *event.ts <= end;
    in_range += inside ? 1 : 0;
    skipped += !event.ts || (inside && !event.shop) ? 1 : 0;
  }
  CHECK(written.result.rows == static_cast<int64_t>(newest.size()));
  CHECK(written.result.source_rows == in_range);
  CHECK(written.result.skipped_rows == skipped);
  std::multiset<std::pair<double, int64_t>> expected;
  for (const auto& [shop, event] : newest) expected.emplace(event->amount, *event->ts);
  std::multiset<std::pair<double, int64_t>> actual;
  std::set<std::string> keys;
  for (const RecordingStore::Batch& batch : written.store.batches) {
    const auto& amounts = static_cast<const arrow::DoubleArray&>(*batch.values->column(0));
    for (size_t i = 0; i < batch.keys.size(); ++i) {
      actual.emplace(amounts.Value(static_cast<int64_t>(i)), batch.event_times[i]);
      keys.insert(batch.keys[i]);
    }
  }
  CHECK(actual == expected);
  CHECK(keys.size() == newest.size());
}

TEST_CASE("no memory limit and no number of threads changes a byte of what is materialized") {
  const World& world = TheWorld();
  for (const std::string view : {"latest", "derived", "everywhere", "windows"}) {
    CAPTURE(view);
    const Written expected = world.Materialize(view, 0, 0, 55 * kDay);
    CHECK(expected.result.rows > 0);
    CHECK(expected.result.spilled_bytes == 0);
    for (const int64_t limit : {8 * kMiB, 100 * kMiB}) {
      for (const int threads : {1, 4}) {
        CAPTURE(limit);
        CAPTURE(threads);
        SetNumThreads(threads);
        const Written written = world.Materialize(view, limit, 0, 55 * kDay);
        SetNumThreads(0);
        CHECK(SameBatches(written.store, expected.store));
        CHECK(written.result.skipped_rows == expected.result.skipped_rows);
        CHECK(written.result.source_rows == expected.result.source_rows);
        const bool small = limit == 8 * kMiB && view == "windows";
        CHECK((written.result.spilled_bytes > 0) == small);
      }
    }
  }
}

TEST_CASE("what does not fit even in pieces is refused by name and gives everything back") {
  const World& world = TheWorld();
  MemoryBudget memory("test", 20'000);
  Context context;
  context.memory = &memory;
  for (const char* view : {"latest", "windows"}) {
    CAPTURE(view);
    RecordingStore store;
    const auto refused =
        MaterializeView(context, *world.definitions, "p", *world.definitions->FindFeatureView(view),
                        *world.offline, store, 0, 55 * kDay);
    CHECK_ERROR(refused, ErrorKind::kExhausted, "data source 'events'");
    CHECK(HintOf(refused.status()).find("memory_limit") != std::string::npos);
    CHECK(store.commits == 0);
    CHECK(memory.used() == 0);
  }
}

}  // namespace gnomon::feature
