// Views that share a source: how often it is read, and that nobody can tell from the values.

#include <atomic>
#include <map>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/text.h"
#include "dataset/distributed/distributed.h"
#include "feature/engine/materialization.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/stage_retrieval.h"
#include "feature/engine/write_only_store_fake.h"
#include "feature/online/online_reader.h"
#include "runtime/simulated/simulated_backend.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr int64_t kDay = 86'400'000'000;
constexpr int kShops = 40;
constexpr int kEvents = 12'000;
constexpr int kRowGroups = 12;

constexpr const char* kDefinitions = R"yaml(
entities: [{name: shop, value_type: INT64}, {name: note, value_type: STRING}, {name: id, value_type: INT64}]
data_sources:
  - {name: events, path: events.parquet, timestamp_field: ts, created_timestamp_column: created}
feature_views:
  - name: latest
    entities: [shop]
    source: events
    ttl: 3d
    schema: [{name: amount, dtype: Float64}]
  - name: by_note
    entities: [note]
    source: events
    filter: amount >= 50
    schema: [{name: amount, dtype: Float64}]
  - name: week
    entities: [shop]
    source: events
    filter: amount != 7
    aggregations:
      - {column: amount, function: sum, time_window: 7d, name: sum_7d}
      - {column: amount, function: last_k, k: 3, time_window: 30d, name: recent}
  - name: notes
    entities: [note]
    source: events
    transformations: {double: amount * 2}
    aggregations:
      - {column: double, function: std, time_window: 10d, name: std_10d}
  - name: all
    entities: []
    source: events
    aggregations:
      - {column: note, function: last_k, k: 3, time_window: 30d, name: last_notes}
      - {column: amount, function: sum, time_window: 30d, name: all_30d}
  - {name: by_id, entities: [id], source: events, schema: [{name: amount, dtype: Float64}]}
  - {name: by_id_too, entities: [id], source: events, schema: [{name: amount, dtype: Float64}]}
  - name: ever
    entities: [shop]
    source: events
    aggregations: [{column: note, function: count_distinct, name: notes_ever}]
)yaml";

std::shared_ptr<arrow::DataType> Unit(arrow::TimeUnit::type unit) {
  return arrow::timestamp(unit, "UTC");
}

/// `step` between possible event times, in the unit.
std::shared_ptr<arrow::Table> Events(arrow::TimeUnit::type unit, int64_t first, int64_t step,
                                     arrow::TimeUnit::type created_unit) {
  std::mt19937_64 random(17);
  arrow::Int64Builder shop;
  arrow::StringBuilder note;
  arrow::TimestampBuilder ts(Unit(unit), arrow::default_memory_pool());
  arrow::TimestampBuilder created(Unit(created_unit), arrow::default_memory_pool());
  arrow::DoubleBuilder amount;
  arrow::Int64Builder id;
  Status status;
  for (int i = 0; i < kEvents; ++i) {
    status &= random() % 50 == 0 ? shop.AppendNull()
                                 : shop.Append(static_cast<int64_t>(random() % kShops));
    status &= note.Append(Concat("note ", random() % 30));
    status &= random() % 50 == 0 ? ts.AppendNull()
                                 : ts.Append(first + static_cast<int64_t>(random() % 240) * step);
    status &= created.Append(static_cast<int64_t>(random() % 5));
    status &= amount.Append(static_cast<double>(random() % 1000) / 3);
    status &= id.Append(i);
  }
  CHECK_OK(status);
  return arrow::Table::Make(
      arrow::schema({arrow::field("shop", arrow::int64()), arrow::field("note", arrow::utf8()),
                     arrow::field("ts", Unit(unit)), arrow::field("created", Unit(created_unit)),
                     arrow::field("amount", arrow::float64()), arrow::field("id", arrow::int64())}),
      arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(note.Finish()), ValueOf(ts.Finish()),
                         ValueOf(created.Finish()), ValueOf(amount.Finish()),
                         ValueOf(id.Finish())});
}

/// Counts how often partitions are read from the beginning.
class CountedTable : public table::PartitionedTable {
 public:
  CountedTable(std::shared_ptr<const table::PartitionedTable> table, std::atomic<int64_t>* scans)
      : table_(std::move(table)), scans_(scans) {}
  const std::string& name() const override { return table_->name(); }
  const std::shared_ptr<arrow::Schema>& schema() const override { return table_->schema(); }
  int64_t num_partitions() const override { return table_->num_partitions(); }
  int64_t num_rows(int64_t partition) const override { return table_->num_rows(partition); }
  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    return table_->NumBytes(partition, columns);
  }
  bool reads_columns_apart(int64_t partition) const override {
    return table_->reads_columns_apart(partition);
  }
  bool LiesOutside(int64_t partition, int column, const table::TimeRange& range) const override {
    return table_->LiesOutside(partition, column, range);
  }
  Result<std::unique_ptr<table::PartitionStream>> Scan(const Context& context, int64_t partition,
                                                       const std::vector<int>& columns,
                                                       int64_t batch_rows) const override {
    ++*scans_;
    return table_->Scan(context, partition, columns, batch_rows);
  }
  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    return table_->Gather(context, partition, columns, rows);
  }

 private:
  const std::shared_ptr<const table::PartitionedTable> table_;
  std::atomic<int64_t>* const scans_;
};

class CountedStore : public OfflineStore {
 public:
  explicit CountedStore(const std::string& folder) {
    RepositoryConfig config;
    config.folder = folder;
    store_ = ValueOf(OpenOfflineStore(config));
  }
  Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                      const DataSource& source) const override {
    return store_->SourceSchema(context, source);
  }
  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const DataSource& source,
                                             const ScanOptions& options) const override {
    return store_->Read(context, source, options);
  }
  Status Append(const Context& context, const DataSource& source, const std::string& part,
                const arrow::Table& rows) const override {
    return store_->Append(context, source, part, rows);
  }
  Result<std::shared_ptr<table::PartitionedTable>> Open(const Context& context,
                                                        const DataSource& source,
                                                        const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(auto table, store_->Open(context, source, options));
    return std::make_shared<CountedTable>(std::move(table), &scans_);
  }
  Result<int64_t> CountRows(const Context& context, const DataSource& source) const override {
    return store_->CountRows(context, source);
  }

  /// Partitions read since the last call.
  int64_t TakeScans() const { return scans_.exchange(0); }

 private:
  std::unique_ptr<OfflineStore> store_;
  mutable std::atomic<int64_t> scans_{0};
};

struct World {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  std::shared_ptr<const Definitions> definitions;
  std::unique_ptr<CountedStore> offline;

  explicit World(const std::shared_ptr<arrow::Table>& events) {
    CHECK_OK(table::WriteTable({}, *events, folder.path() + "/events.parquet",
                               {.row_group_rows = kEvents / kRowGroups}));
    offline = std::make_unique<CountedStore>(folder.path());
    const Definitions parsed =
        Complete(ValueOf(ParseDefinitions(ValueOf(ParseConfig(kDefinitions, "definitions")))));
    std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
    for (const DataSource& source : parsed.data_sources)
      schemas[source.name] = ValueOf(offline->SourceSchema({}, source));
    definitions = std::make_shared<const Definitions>(ValueOf(ResolveSchemas(parsed, schemas)));
  }

  std::shared_ptr<arrow::Table> Retrieve(const std::vector<std::string>& views,
                                         const arrow::Table& labels, RetrievalStats* stats,
                                         int64_t limit = 0) const {
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    std::vector<std::string> refs;
    for (const std::string& view : views) refs.push_back(view + ":*");
    const FeaturePlan plan = ValueOf(PlanFeatures(definitions, refs, true));
    auto rows = ValueOf(RetrieveHistorical(context, plan, *offline, labels, {}, stats));
    CHECK(memory.used() == 0);
    return rows;
  }
};

const World& MicrosWorld() {
  static const World world(Events(arrow::TimeUnit::MICRO, 0, kDay / 4, arrow::TimeUnit::MICRO));
  return world;
}

std::shared_ptr<arrow::Table> Labels(arrow::TimeUnit::type unit, int64_t first, int64_t step) {
  std::mt19937_64 random(3);
  arrow::Int64Builder shop;
  arrow::StringBuilder note;
  arrow::TimestampBuilder times(Unit(unit), arrow::default_memory_pool());
  for (int i = 0; i < 500; ++i) {
    CHECK_OK(shop.Append(static_cast<int64_t>(random() % (kShops + 3))));
    CHECK_OK(note.Append(Concat("note ", random() % 32)));
    CHECK_OK(times.Append(first + static_cast<int64_t>(random() % 240) * step));
  }
  return arrow::Table::Make(
      arrow::schema({arrow::field("shop", arrow::int64()), arrow::field("note", arrow::utf8()),
                     arrow::field("event_timestamp", Unit(unit))}),
      arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(note.Finish()), ValueOf(times.Finish())});
}

/// Each view's columns are those that the view gives when nothing else is asked for.
void CheckAsAlone(const World& world, const arrow::Table& together,
                  const std::vector<std::string>& views, const arrow::Table& labels) {
  for (const std::string& view : views) {
    CAPTURE(view);
    RetrievalStats stats;
    const auto alone = world.Retrieve({view}, labels, &stats);
    for (const std::string& name : alone->schema()->field_names()) {
      CAPTURE(name);
      REQUIRE(together.GetColumnByName(name) != nullptr);
      CHECK(together.GetColumnByName(name)->Equals(*alone->GetColumnByName(name)));
    }
  }
}

struct Materialized {
  CommittedRows store;
  std::vector<MaterializationResult> results;
};

/// All views of `names`: together, or each in a run of its own.
Result<Materialized> TryMaterialize(const World& world, const std::vector<std::string>& names,
                                    bool together, int64_t limit, int64_t rows_per_commit = 1000) {
  MemoryBudget memory("test", limit);
  Context context;
  context.memory = &memory;
  std::vector<ViewInterval> views;
  for (size_t i = 0; i < names.size(); ++i) {
    const FeatureView* view = world.definitions->FindFeatureView(names[i]);
    views.push_back({view, static_cast<int64_t>(i) * 3 * kDay, 50 * kDay});
  }
  const MaterializationOptions options{.rows_per_commit = rows_per_commit};
  Materialized made;
  if (together) {
    SharedMaterialization shared(context, *world.definitions, "p", views, *world.offline, 1 << 20);
    for (size_t i = 0; i < views.size(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(auto result, shared.Write(i, made.store, options));
      made.results.push_back(result);
    }
  } else {
    for (const ViewInterval& each : views) {
      GNOMON_ASSIGN_OR_RETURN(
          auto result, MaterializeView(context, *world.definitions, "p", *each.view, *world.offline,
                                       made.store, each.start, each.end, options));
      made.results.push_back(result);
    }
  }
  CHECK(memory.used() == 0);
  return made;
}

Materialized Materialize(const World& world, const std::vector<std::string>& names, bool together,
                         int64_t limit) {
  return ValueOf(TryMaterialize(world, names, together, limit));
}

}  // namespace

TEST_CASE("one scan serves plain views and window views of all keys") {
  const World& world = MicrosWorld();
  const auto labels = Labels(arrow::TimeUnit::MICRO, 0, kDay / 4);
  const std::vector<std::string> views = {"latest", "by_note", "week", "notes", "ever"};
  world.offline->TakeScans();
  RetrievalStats stats;
  const auto together = world.Retrieve(views, *labels, &stats);
  CHECK(stats.scans == 1);
  CHECK(stats.source_rows == kEvents);
  CHECK(world.offline->TakeScans() == kRowGroups);
  CheckAsAlone(world, *together, views, *labels);
  CHECK(world.offline->TakeScans() == kRowGroups * 5);
}

TEST_CASE("one scan serves window views where there is no plain view") {
  const World& world = MicrosWorld();
  const auto labels = Labels(arrow::TimeUnit::MICRO, 0, kDay / 4);
  const std::vector<std::string> views = {"week", "notes", "ever"};
  world.offline->TakeScans();
  RetrievalStats stats;
  const auto together = world.Retrieve(views, *labels, &stats);
  CHECK(stats.scans == 1);
  CHECK(world.offline->TakeScans() == kRowGroups);
  CheckAsAlone(world, *together, views, *labels);
}

TEST_CASE("one scan serves plain views and window views that run as stages, whatever fails") {
  const World& world = MicrosWorld();
  const auto labels = Labels(arrow::TimeUnit::MICRO, 0, kDay / 4);
  const std::vector<std::string> views = {"latest", "by_note", "week", "notes", "ever"};
  std::vector<std::string> refs;
  for (const std::string& view : views) refs.push_back(view + ":*");
  RetrievalStats embedded;
  const auto expected = world.Retrieve(views, *labels, &embedded);
  const FeaturePlan plan = ValueOf(PlanFeatures(world.definitions, refs, true));
  RepositoryConfig config;
  config.folder = world.folder.path();
  const auto offline = ValueOf(OpenOfflineStore(config));
  const auto rows = ValueOf(offline->Read({}, world.definitions->data_sources[0], {}));
  const int64_t with_time = rows->num_rows() - rows->GetColumnByName("ts")->null_count();
  runtime::StageRegistry registry;
  CHECK_OK(dataset::RegisterPlanStages(registry, nullptr));
  for (const bool broadcast : {true, false}) {
    const auto backend = runtime::MakeSimulatedBackend(
        registry, {.seed = 7, .num_nodes = 3, .faults = runtime::SimulatedFaults::Everything()});
    RetrievalOptions options;
    options.join.enable_optimization = broadcast;
    options.join.target_partition_size = 1 << 14;
    RetrievalStats stats;
    CHECK_TABLE_EQ(RetrieveByStages({}, *backend, plan, *offline, labels, options, &stats),
                   expected);
    CHECK(stats.scans == 1);
    // No label looks at a row without a time.
    CHECK(stats.source_rows == with_time);
    REQUIRE(stats.stages.shared_scans.size() == 1);
    CHECK(stats.stages.shared_scans[0].operators.size() == views.size());
    CHECK(ExplainStages({}, plan, *offline, options).find("read once for 5 scans") !=
          std::string::npos);
  }
}

TEST_CASE("little memory costs scans, never values") {
  const World& world = MicrosWorld();
  const auto labels = Labels(arrow::TimeUnit::MICRO, 0, kDay / 4);
  const std::vector<std::string> views = {"latest", "by_note", "week", "notes", "ever"};
  RetrievalStats plenty;
  const auto expected = world.Retrieve(views, *labels, &plenty);
  int64_t most_scans = 0;
  for (const int64_t limit : {200'000, 300'000, 1'000'000, 50'000'000}) {
    CAPTURE(limit);
    RetrievalStats stats;
    CHECK_TABLE_EQ(world.Retrieve(views, *labels, &stats, limit), expected);
    most_scans = std::max(most_scans, stats.scans);
    if (limit == 50'000'000) CHECK(stats.scans == 1);
  }
  CHECK(most_scans > 1);
}

TEST_CASE("a pass that has to begin anew counts no event twice") {
  // Event times that nanoseconds, the unit of the created times, cannot hold.
  constexpr int64_t kYear3000 = 32'503'680'000;
  const World world(Events(arrow::TimeUnit::SECOND, kYear3000, 21'600, arrow::TimeUnit::NANO));
  const auto labels = Labels(arrow::TimeUnit::SECOND, kYear3000, 21'600);
  const std::vector<std::string> views = {"latest", "week", "notes"};
  RetrievalStats stats;
  const auto together = world.Retrieve(views, *labels, &stats);
  CHECK(stats.scans == 1);
  CheckAsAlone(world, *together, views, *labels);
}

TEST_CASE("without entity rows a source is read twice, for the times and for the values") {
  const World& world = MicrosWorld();
  const auto retrieve = [&](const std::vector<std::string>& views, RetrievalStats* stats) {
    std::vector<std::string> refs;
    for (const std::string& view : views) refs.push_back(view + ":*");
    const FeaturePlan plan = ValueOf(PlanFeatures(world.definitions, refs, true));
    return ValueOf(
        RetrieveRange({}, plan, *world.offline, 10 * kDay, 20 * kDay, RetrievalOptions(), stats));
  };
  world.offline->TakeScans();
  RetrievalStats stats;
  const auto rows = retrieve({"latest", "week", "ever"}, &stats);
  CHECK(stats.scans == 2);
  CHECK(world.offline->TakeScans() == 2 * kRowGroups);
  CHECK(rows->num_rows() > 1000);
  CheckAsAlone(world, *rows, {"latest", "week", "ever"}, *ValueOf(rows->SelectColumns({0, 1})));
}

TEST_CASE("one scan serves all views that are materialized from a source") {
  const World& world = MicrosWorld();
  const std::vector<std::string> views = {"latest", "week", "by_note", "notes", "ever"};
  const Materialized alone = Materialize(world, views, false, 0);
  world.offline->TakeScans();
  const Materialized together = Materialize(world, views, true, 0);
  CHECK(world.offline->TakeScans() == kRowGroups);
  CHECK(together.store.rows == alone.store.rows);
  REQUIRE(together.results.size() == alone.results.size());
  for (size_t i = 0; i < views.size(); ++i) {
    CAPTURE(views[i]);
    CHECK(together.results[i].rows == alone.results[i].rows);
    CHECK(together.results[i].source_rows == alone.results[i].source_rows);
    CHECK(together.results[i].skipped_rows == alone.results[i].skipped_rows);
    CHECK(together.results[i].scans == (i == 0 ? 1 : 0));
    CHECK(alone.results[i].scans == 1);
  }
}

TEST_CASE("views are materialized from scans of their own where memory is short") {
  const World& world = MicrosWorld();
  const std::vector<std::string> views = {"week", "by_id", "by_id_too", "latest"};
  const Materialized expected = Materialize(world, views, true, 0);
  int64_t most_scans = 0;
  for (const int64_t limit : {2'000'000, 3'000'000, 20'000'000}) {
    CAPTURE(limit);
    const Materialized made = Materialize(world, views, true, limit);
    CHECK(made.store.rows == expected.store.rows);
    int64_t scans = 0;
    for (const MaterializationResult& result : made.results) scans += result.scans;
    most_scans = std::max(most_scans, scans);
  }
  CHECK(most_scans > 1);
}

TEST_CASE("views that fit the memory limit one by one fit it together") {
  const World& world = MicrosWorld();
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"week", "notes"}, {"all", "week"}}) {
    CAPTURE(names[0]);
    const CommittedRows expected = ValueOf(TryMaterialize(world, names, false, 0)).store;
    int fitting = 0;
    for (int64_t limit = 600'000; limit < 1'200'000; limit += 40'000) {
      CAPTURE(limit);
      if (!TryMaterialize(world, names, false, limit).ok()) continue;
      ++fitting;
      const auto together = TryMaterialize(world, names, true, limit, 7);
      CHECK_OK(together.status());
      if (!together.ok()) continue;
      CHECK(together->store.rows == expected.rows);
    }
    CHECK(fitting > 0);
  }
}

TEST_CASE("a view that cannot be read holds no other up") {
  const World& world = MicrosWorld();
  Definitions broken = *world.definitions;
  for (FeatureView& view : broken.feature_views) {
    if (view.name == "by_note") view.filter = "cast(note as int64) > 0";
  }
  std::vector<ViewInterval> views;
  for (const char* name : {"latest", "by_note", "week"})
    views.push_back({broken.FindFeatureView(name), 0, 50 * kDay});
  CommittedRows store;
  const Context context;
  SharedMaterialization shared(context, broken, "p", views, *world.offline, 1 << 20);
  CHECK(ValueOf(shared.Write(0, store, {})).rows == kShops);
  CHECK_ERROR(shared.Write(1, store, {}), ErrorKind::kUser, "note");
  CHECK(ValueOf(shared.Write(2, store, {})).rows == kShops);
}

}  // namespace gnomon::feature
