// Random definitions, data and intervals: what a materialization leaves in SQLite is the same bytes
// from this process's engine and from its stages, on threads and on virtual nodes with faults. A
// failure prints its seed; GNOMON_TEST_SEED=<seed> runs that case alone, GNOMON_TEST_CASES=<n> more
// of them.
#include <algorithm>
#include <filesystem>

#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>
#include <sqlite3.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/text.h"
#include "dataset/distributed/distributed.h"
#include "dataset/random_test.h"
#include "dataset/sample_extension_test.h"
#include "feature/definition/repository.h"
#include "feature/engine/materialization.h"
#include "feature/engine/online_sink.h"
#include "feature/engine/stage_materialization.h"
#include "feature/online/online_reader.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using dataset::test::Random;
using test::RequireOk;
using test::ValueOf;
using TablePtr = std::shared_ptr<arrow::Table>;

constexpr int64_t kHour = 3600;
constexpr int64_t kMicros = 1'000'000;

/// Few keys and times, so that ties decide; nulls.
TablePtr RandomRows(Random& random, arrow::TimeUnit::type unit, int64_t rows) {
  const int64_t ticks = unit == arrow::TimeUnit::SECOND  ? 1
                        : unit == arrow::TimeUnit::MILLI ? 1000
                        : unit == arrow::TimeUnit::MICRO ? kMicros
                                                         : 1000 * kMicros;
  const auto time = arrow::timestamp(unit, "UTC");
  arrow::Int32Builder keys;
  arrow::StringBuilder shops;
  arrow::TimestampBuilder times(time, arrow::default_memory_pool());
  arrow::TimestampBuilder created(time, arrow::default_memory_pool());
  arrow::Int64Builder numbers;
  arrow::DoubleBuilder reals;
  const auto put = [&](auto& builder, int64_t nulls, auto value) {
    RequireOk(random.OneIn(nulls) ? builder.AppendNull() : builder.Append(value));
  };
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = random.Int(0, 48) * kHour * ticks + (random.OneIn(3) ? 1 : 0);
    put(keys, 20, static_cast<int32_t>(random.Int(0, 9)));
    put(shops, 20, std::string(static_cast<size_t>(random.Int(1, 4)), 's'));
    put(times, 30, at);
    put(created, 10, at + random.Int(-2, 5) * kHour * ticks);
    put(numbers, 7, random.Int(-20, 20));
    put(reals, 7, static_cast<double>(random.Int(-40, 40)) / 7);
  }
  return arrow::Table::Make(
      arrow::schema({arrow::field("key", arrow::int32()), arrow::field("shop", arrow::utf8()),
                     arrow::field("ts", time), arrow::field("made", time),
                     arrow::field("n", arrow::int64()), arrow::field("raw_x", arrow::float64())}),
      arrow::ArrayVector{*keys.Finish(), *shops.Finish(), *times.Finish(), *created.Finish(),
                         *numbers.Finish(), *reals.Finish()});
}

void WriteSource(Random& random, const std::string& folder) {
  std::filesystem::create_directories(folder);
  const auto unit =
      random.One<arrow::TimeUnit::type>({arrow::TimeUnit::SECOND, arrow::TimeUnit::MILLI,
                                         arrow::TimeUnit::MICRO, arrow::TimeUnit::NANO});
  for (int64_t file = random.Int(1, 4); file > 0; --file) {
    table::WriteOptions options;
    options.row_group_rows = random.Int(5, 60);
    const TablePtr rows = RandomRows(random, unit, random.One<int64_t>({0, 3, 40, 150}));
    RequireOk(table::WriteTable({}, *rows, Concat(folder, "/", file, ".parquet"), options));
  }
}

std::string RandomDefinitions(Random& random) {
  std::string text = Concat(
      "entities:\n"
      "  - {name: key, join_keys: [key], value_type: INT64}\n"
      "  - {name: shop, join_keys: [shop], value_type: STRING}\n"
      "data_sources:\n"
      "  - {name: a, path: a, file_format: parquet, timestamp_field: ts, field_mapping: {raw_x: x}",
      random.OneIn(2) ? ", created_timestamp_column: made" : "",
      "}\n  - {name: b, path: b, file_format: parquet, timestamp_field: ts, field_mapping: "
      "{raw_x: x}}\n  - {name: c, path: c, file_format: parquet, timestamp_field: ts, "
      "created_timestamp_column: made, field_mapping: {raw_x: x}}\nfeature_views:\n");
  const auto keys = [&] {
    return random.One<std::string>({"[key]", "[shop]", "[key, shop]", "[]"});
  };
  const auto window = [&] {
    return random.One<std::string>(
        {"", ", time_window: 3h", ", time_window: 1d", ", time_window: 1d, slide_interval: 40min"});
  };
  const std::string steps =
      Concat("transformations: {twice: ",
             random.One<std::string>({"n * 2", "'case when n != -13 then triple(n) end'"}),
             ", y: 'coalesce(x, 0) + twice'}",
             random.One<std::string>({"", ", filter: n > -5", ", filter: x < 1 or twice > 0"}));
  const std::string common = keys();
  text += Concat("  - {name: plain, entities: ", common, ", source: a, ", steps,
                 random.One<std::string>({"", ", ttl: 2h"}),
                 ", schema: [{name: n, dtype: Int64}, {name: x, dtype: Float64}, {name: twice, "
                 "dtype: Int64}]}\n");
  text += Concat("  - {name: other, entities: ", common,
                 ", source: b, schema: [{name: n, dtype: Int64}]}\n");
  text += Concat("  - {name: windows, entities: ", keys(),
                 ", source: ", random.One<std::string>({"b", "c"}), ", ", steps,
                 ", aggregations: [{column: y, function: sum, name: total", window(),
                 "}, {column: n, function: last_k, k: 3, name: recent", window(),
                 "}, {column: shop, function: most_frequent, name: usual", window(),
                 "}, {column: twice, function: trail_or_empty, name: path", window(), "}]}\n");
  text += Concat("  - {name: finite, entities: ", keys(),
                 ", source: b, aggregations: [{column: n, function: sum, name: total, time_window: "
                 "5h",
                 random.One<std::string>({"", ", slide_interval: 1s", ", slide_interval: 2h"}),
                 "}]}\n");
  text += Concat("  - {name: above, entities: ", common,
                 ", source_views: [plain], transformations: {more: x + 1}, schema: [{name: more, "
                 "dtype: Float64}, {name: n, dtype: Int64}]}\n");
  text += Concat("  - {name: both, entities: ", common,
                 ", source_views: [plain, other], transformations: {sum_of_n: 'coalesce(plain__n, "
                 "0) + coalesce(other__n, 0)'}, schema: [{name: sum_of_n, dtype: Int64}]}\n");
  return text;
}

struct World {
  dataset::PlanExtensions extensions = dataset::TestExtensions();
  std::shared_ptr<const Definitions> definitions;
  std::unique_ptr<OfflineStore> offline;
};

World MakeWorld(const std::string& text, const std::string& folder) {
  World world;
  RepositoryConfig config;
  config.folder = folder;
  world.offline = ValueOf(OpenOfflineStore(config));
  auto code = std::make_shared<Extensions>();
  code->functions = world.extensions.functions;
  for (const auto& [name, aggregate] : world.extensions.aggregates)
    code->aggregates.push_back(aggregate);
  const auto given = WithExtensions(
      Complete(ValueOf(ParseDefinitions(ValueOf(ParseConfig(text, "definitions")), code))), code);
  RequireOk(Validate(given));
  std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
  for (const DataSource& source : given.data_sources)
    schemas[source.name] = ValueOf(world.offline->SourceSchema({}, source));
  world.definitions = std::make_shared<const Definitions>(ValueOf(ResolveSchemas(given, schemas)));
  return world;
}

/// An online store of its own for one view.
struct Online {
  Online(const std::string& file, const std::string& layout, const FeatureView& view) : path(file) {
    RepositoryConfig::OnlineStore config;
    config.path = file;
    config.layout = layout;
    store = ValueOf(OpenOnlineStore(config));
    const OnlineTable table = ValueOf(OnlineTableOf("p", view));
    RequireOk(store->Prepare({}, std::span(&table, 1)));
  }

  /// All rows of all tables, whatever order they lie in.
  std::vector<std::string> Rows() const {
    sqlite3* database = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &database) == SQLITE_OK);
    std::vector<std::string> rows;
    for (const std::string& name : Query(database,
                                         "SELECT name FROM sqlite_master WHERE type = "
                                         "'table' AND name NOT LIKE 'sqlite%'")) {
      const std::string table = name.substr(0, name.size() - 1);
      for (const std::string& row : Query(database, Concat("SELECT * FROM \"", table, "\"")))
        rows.push_back(Concat(table, ": ", row));
    }
    sqlite3_close(database);
    std::ranges::sort(rows);
    return rows;
  }

  static std::vector<std::string> Query(sqlite3* database, const std::string& text) {
    sqlite3_stmt* statement = nullptr;
    REQUIRE(sqlite3_prepare_v2(database, text.c_str(), -1, &statement, nullptr) == SQLITE_OK);
    std::vector<std::string> rows;
    while (sqlite3_step(statement) == SQLITE_ROW) {
      std::string& row = rows.emplace_back();
      for (int i = 0; i < sqlite3_column_count(statement); ++i) {
        const void* bytes = sqlite3_column_blob(statement, i);
        const auto size = static_cast<size_t>(sqlite3_column_bytes(statement, i));
        if (size > 0) row.append(static_cast<const char*>(bytes), size);
        row += '|';
      }
    }
    sqlite3_finalize(statement);
    return rows;
  }

  std::string path;
  std::unique_ptr<OnlineStore> store;
};

Result<MaterializationResult> OnBackend(const World& world, OnlineStore* online,
                                        const ViewInterval& interval,
                                        const MaterializationOptions& options,
                                        const StageMaterialization& stages,
                                        std::optional<uint64_t> seed) {
  const auto sink = MakeOnlineSink([online]() -> Result<OnlineStore*> { return online; },
                                   world.extensions.aggregates);
  dataset::PlanExtensions extensions = world.extensions;
  extensions.sinks[kOnlineSink] = sink;
  runtime::StageRegistry registry;
  RequireOk(dataset::RegisterPlanStages(registry, nullptr, &extensions));
  std::unique_ptr<runtime::Backend> backend;
  if (seed) {
    backend =
        runtime::MakeSimulatedBackend(registry, {.seed = *seed,
                                                 .num_nodes = 1 + static_cast<int>(*seed % 4),
                                                 .faults = runtime::SimulatedFaults::Everything()});
  } else {
    backend = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
  }
  auto result = MaterializeByStages({}, *backend, *world.definitions, "p", interval, *world.offline,
                                    sink, options, stages);
  CHECK(backend->blocks().stats().blocks == 0);
  return result;
}

TEST_CASE(
    "a materialization leaves the same bytes from this process and from many nodes that fail") {
  const uint64_t first = dataset::test::FirstSeed();
  const uint64_t cases = dataset::test::NumCases(8);
  const auto folder = test::MakeTemporaryFolder();
  int64_t rows = 0;
  int64_t skipped = 0;
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const std::string place = Concat(folder.path(), "/", seed);
    WriteSource(random, place + "/a");
    WriteSource(random, place + "/b");
    WriteSource(random, place + "/c");
    const std::string text = RandomDefinitions(random);
    INFO(text);
    const World world = MakeWorld(text, place);
    const bool whole = random.OneIn(2);
    for (const FeatureView& view : world.definitions->feature_views) {
      INFO(view.name);
      const int64_t end = whole ? 100 * kHour * kMicros : random.Int(0, 60) * kHour * kMicros;
      const int64_t start = whole ? -kHour : end - random.Int(0, 60) * kHour * kMicros;
      const ViewInterval interval{&view, start, end};
      const MaterializationOptions options{.value_count_bytes = 1 << 20,
                                           .rows_per_commit = random.One<int64_t>({3, 100'000})};
      StageMaterialization stages;
      stages.engine.join.max_workers = 3;
      stages.engine.join.target_partition_size = random.One<int64_t>({1000, 1 << 20});
      stages.engine.join.enable_optimization = random.OneIn(2);
      stages.write_partitions = random.One<int>({1, 1, 0, 3});
      const std::string layout = view.is_window() || random.OneIn(2) ? "packed" : "feast";
      const Online here(Concat(place, "/", view.name, "-here.db"), layout, view);
      const auto expected = ValueOf(MaterializeView(
          {}, *world.definitions, "p", view, *world.offline, *here.store, start, end, options));
      const auto stored = here.Rows();
      for (const auto on : {std::optional<uint64_t>(), std::optional(seed)}) {
        const std::string where = on ? "on nodes that fail" : "on threads";
        INFO(where);
        const Online there(Concat(place, "/", view.name, on ? "-nodes.db" : "-threads.db"), layout,
                           view);
        const auto made =
            ValueOf(OnBackend(world, there.store.get(), interval, options, stages, on));
        CHECK(there.Rows() == stored);
        CHECK(made.rows == expected.rows);
        CHECK(made.source_rows == expected.source_rows);
        // Row groups outside of an interval are not looked at for rows without a time.
        CHECK(made.skipped_rows >= expected.skipped_rows);
        if (whole && (!view.is_window() || !view.LongestWindow()))
          CHECK(made.skipped_rows == expected.skipped_rows);
      }
      rows += expected.rows;
      skipped += expected.skipped_rows;
    }
  }
  if (dataset::test::IsReplay()) return;
  CHECK(rows > 100);
  CHECK(skipped > 10);
}

constexpr const char* kNarrow = R"(
entities: [{name: shop, value_type: STRING}]
data_sources: [{name: a, path: a, file_format: parquet, timestamp_field: ts}]
feature_views:
  - {name: plain, entities: [shop], source: a, schema: [{name: n, dtype: Float64}]}
)";

/// Two shops of which the feature is no Int64 without loss, and some that are well.
void WriteUnfit(const std::string& folder, bool unfit) {
  arrow::StringBuilder shops;
  arrow::TimestampBuilder times(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"),
                                arrow::default_memory_pool());
  arrow::DoubleBuilder numbers;
  for (int i = 0; i < 20; ++i) {
    RequireOk(shops.Append(Concat("shop ", i)));
    RequireOk(times.Append(i));
    RequireOk(numbers.Append(unfit && i % 10 == 7 ? i + 0.5 : i));
  }
  const auto table = arrow::Table::Make(
      arrow::schema({arrow::field("shop", arrow::utf8()), arrow::field("ts", times.type()),
                     arrow::field("n", arrow::float64())}),
      arrow::ArrayVector{*shops.Finish(), *times.Finish(), *numbers.Finish()});
  std::filesystem::create_directories(folder);
  RequireOk(table::WriteTable({}, *table, folder + "/1.parquet", {.row_group_rows = 4}));
}

TEST_CASE("rows that cannot be written are counted in all partitions, and tried again later") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string place = folder.path();
  WriteUnfit(place + "/a", false);
  World world = MakeWorld(kNarrow, place);
  auto definitions = std::make_shared<Definitions>(*world.definitions);
  definitions->feature_views[0].schema[0].dtype = {ValueType::kInt64, false};
  world.definitions = definitions;
  const FeatureView& view = definitions->feature_views[0];
  const ViewInterval interval{&view, 0, kMicros};
  const Online online(place + "/online.db", "packed", view);
  const std::string journal = place + "/journals/job";
  StageMaterialization stages{.write_partitions = 3, .journal = journal};
  stages.engine.join.max_workers = 2;
  MaterializationFailure failure;
  MaterializationOptions options{.failure = &failure};
  WriteUnfit(place + "/a", true);
  const auto failed = OnBackend(world, online.store.get(), interval, options, stages, {});
  CHECK_ERROR(failed, ErrorKind::kUser, "2 rows cannot be written");
  CHECK(failed.status().message().find("shop = 'shop 7'") != std::string::npos);
  CHECK(failure.failed_rows == 2);
  CHECK(!std::filesystem::exists(place + "/journals"));
  WriteUnfit(place + "/a", false);
  int64_t told = 0;
  options.after_commit = [&](int64_t rows) {
    told = rows;
    return Status::OK();
  };
  const auto made = ValueOf(OnBackend(world, online.store.get(), interval, options, stages, {}));
  CHECK(made.rows == 20);
  CHECK(told == 20);
  CHECK(std::filesystem::exists(place + "/journals"));
  // The same plan again: its journal has all partitions, and nothing is written.
  const auto again = ValueOf(OnBackend(world, nullptr, interval, options, stages, {}));
  CHECK(again.rows == 20);
  CHECK(again.source_rows == 20);
  RequireOk(ForgetStages(journal));
  CHECK(!std::filesystem::exists(place + "/journals"));
}

}  // namespace
}  // namespace gnomon::feature
