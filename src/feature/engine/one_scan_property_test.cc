// Random views of one source, some asked for twice under other names and keys: what they give
// together is what each gives alone. A failure prints its seed; GNOMON_TEST_SEED=<seed> runs that
// case alone, GNOMON_TEST_CASES=<n> more of them.
#include <filesystem>
#include <random>

#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/text.h"
#include "dataset/random_test.h"
#include "dataset/sample_extension_test.h"
#include "feature/definition/extensions.h"
#include "feature/definition/repository.h"
#include "feature/engine/materialization.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/write_only_store_fake.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::RequireOk;
using test::ValueOf;
using TablePtr = std::shared_ptr<arrow::Table>;

constexpr int64_t kHour = 3'600'000'000;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  bool OneIn(int64_t n) { return Int(1, n) == 1; }
  template <typename T>
  T One(const std::vector<T>& of) {
    return of[static_cast<size_t>(Int(0, static_cast<int64_t>(of.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

/// Few keys and times, so that ties decide; nulls everywhere.
TablePtr RandomRows(Random& random, int64_t rows, const std::vector<std::string>& keys,
                    const std::vector<std::string>& times,
                    const std::vector<std::string>& numbers) {
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  const auto add = [&](const std::string& name, auto builder, int64_t nulls, auto value) {
    for (int64_t i = 0; i < rows; ++i)
      RequireOk(random.OneIn(nulls) ? builder->AppendNull() : builder->Append(value()));
    fields.push_back(arrow::field(name, builder->type()));
    columns.push_back(ValueOf(builder->Finish()));
  };
  for (const std::string& name : keys)
    add(name, std::make_unique<arrow::Int64Builder>(), 15, [&] { return random.Int(0, 5); });
  for (const std::string& name : times) {
    add(name, std::make_unique<arrow::TimestampBuilder>(Instant(), arrow::default_memory_pool()),
        20, [&] { return random.Int(0, 72) * kHour; });
  }
  for (const std::string& name : numbers)
    add(name, std::make_unique<arrow::DoubleBuilder>(), 10,
        [&] { return static_cast<double>(random.Int(-9, 9)) / 4; });
  return arrow::Table::Make(arrow::schema(std::move(fields)), std::move(columns), rows);
}

/// Files of different sizes, whose rows are in no order.
std::string WriteSource(Random& random, const std::string& folder) {
  const std::string format = random.One<std::string>({"parquet", "arrow"});
  std::filesystem::create_directories(folder);
  for (int64_t file = random.Int(1, 3); file > 0; --file) {
    const TablePtr rows = RandomRows(random, random.One<int64_t>({1, 40, 200}), {"key", "shop"},
                                     {"ts", "made"}, {"n", "raw_x"});
    table::WriteOptions options;
    options.row_group_rows = random.Int(5, 60);
    RequireOk(table::WriteTable({}, *rows, Concat(folder, "/", file, ".", format), options));
  }
  return format;
}

std::string RandomView(Random& random, const std::string& name) {
  std::string text = Concat("  - {name: ", name, ", source: events, entities: ",
                            random.One<std::string>({"[key]", "[shop]", "[key, shop]", "[]"}));
  // The same name for something else.
  text += random.One<std::string>({"", ", transformations: {z: n * 2, y: x + z}",
                                   ", transformations: {y: 'coalesce(x, 0) + 1'}",
                                   ", transformations: {y: 'x + triple(shop)'}",
                                   ", transformations: {y: x * x}"});
  const bool has_y = text.find("y:") != std::string::npos;
  text += random.One<std::string>({"", ", filter: n > 0", ", filter: x < 1 or n < 0"});
  text += random.One<std::string>({"", ", ttl: 3h", ", ttl: 1d"});
  const auto window = [&] {
    return random.One<std::string>({"", ", time_window: 5h", ", time_window: 2d"});
  };
  if (random.OneIn(2)) {
    return Concat(text, ", aggregations: [{column: ", has_y ? "y" : "n",
                  ", function: sum, name: total", window(),
                  "}, {column: x, function: last_k, k: 2, name: recent", window(),
                  "}, {column: shop, function: trail_or_empty, name: path", window(), "}]}\n");
  }
  return Concat(text, ", schema: [{name: n, dtype: Float64}, {name: ", has_y ? "y" : "x",
                ", dtype: Float64}]}\n");
}

struct World {
  std::unique_ptr<OfflineStore> store;
  std::shared_ptr<const Definitions> definitions;
  size_t num_projections = 0;  ///< of service `all`; `one<i>` has projection i alone
};

World MakeWorld(Random& random, const std::string& folder) {
  World world;
  const std::string format = WriteSource(random, folder + "/events");
  std::string text = Concat(
      "entities: [{name: key, value_type: INT64}, {name: shop, value_type: INT64}]\n"
      "data_sources:\n  - {name: events, path: events, file_format: ",
      format, ", timestamp_field: ts, field_mapping: {raw_x: x}",
      random.OneIn(2) ? ", created_timestamp_column: made" : "", "}\nfeature_views:\n");
  std::vector<std::string> projections;
  for (int64_t view = random.Int(2, 5); view > 0; --view) {
    const std::string name = Concat("v", view);
    const std::string definition = RandomView(random, name);
    text += definition;
    projections.push_back(Concat("{view: ", name, "}"));
    const bool has_key = definition.find("[key") != std::string::npos;
    if (random.OneIn(2)) {
      projections.push_back(Concat("{view: ", name, ", name_alias: again", view,
                                   has_key ? ", join_key_map: {key: key2}" : "", "}"));
    }
  }
  text += Concat("feature_services:\n  - {name: all, features: [", Join(projections, ", "), "]}\n");
  for (size_t i = 0; i < projections.size(); ++i)
    text += Concat("  - {name: one", i, ", features: [", projections[i], "]}\n");
  INFO(text);
  world.num_projections = projections.size();
  RepositoryConfig config;
  config.folder = folder;
  world.store = ValueOf(OpenOfflineStore(config));
  const dataset::PlanExtensions sample = dataset::TestExtensions();
  auto code = std::make_shared<Extensions>();
  code->functions = sample.functions;
  code->aggregates = {sample.aggregates.at("trail_or_empty")};
  const auto given = WithExtensions(
      Complete(ValueOf(ParseDefinitions(ValueOf(ParseConfig(text, "definitions")), code))), code);
  RequireOk(Validate(given));
  const auto schema = ValueOf(world.store->SourceSchema({}, given.data_sources[0]));
  world.definitions =
      std::make_shared<const Definitions>(ValueOf(ResolveSchemas(given, {{"events", schema}})));
  return world;
}

void CheckColumns(const arrow::Table& together, const arrow::Table& alone) {
  for (const std::string& name : alone.schema()->field_names()) {
    INFO(name);
    REQUIRE(together.GetColumnByName(name) != nullptr);
    const auto pick = [&](const arrow::Table& table) {
      return ValueOf(table.SelectColumns({table.schema()->GetFieldIndex(name)}));
    };
    CHECK_TABLE_EQ(pick(together), pick(alone));
  }
}

void CheckRetrieval(Random& random, const World& world) {
  const TablePtr labels = RandomRows(random, random.One<int64_t>({0, 1, 150}),
                                     {"key", "key2", "shop"}, {"event_timestamp"}, {});
  RetrievalOptions options;
  options.filter_by_created_timestamp = random.OneIn(3);
  if (random.OneIn(3)) options.created_before = random.Int(0, 72) * kHour;
  options.join.enable_optimization = random.OneIn(2);
  const auto retrieve = [&](const std::string& service, int64_t limit, RetrievalStats* stats) {
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    const FeaturePlan plan = ValueOf(PlanFeatureService(world.definitions, service, true));
    return ValueOf(RetrieveHistorical(context, plan, *world.store, *labels, options, stats));
  };
  RetrievalStats stats;
  const TablePtr together = retrieve("all", random.One<int64_t>({0, 400'000, 1'000'000}), &stats);
  for (size_t i = 0; i < world.num_projections; ++i)
    CheckColumns(*together, *retrieve(Concat("one", i), 0, nullptr));
}

void CheckMaterialization(Random& random, const World& world) {
  std::vector<ViewInterval> views;
  for (const FeatureView& view : world.definitions->feature_views) {
    const int64_t end = random.Int(0, 80) * kHour;
    views.push_back({&view, end - random.Int(0, 80) * kHour, end});
  }
  MemoryBudget memory("test", random.One<int64_t>({0, 400'000, 1'000'000}));
  Context context;
  context.memory = &memory;
  const MaterializationOptions options{.rows_per_commit = 2};
  SharedMaterialization shared(context, *world.definitions, "p", views, *world.store, 1 << 20);
  for (size_t i = 0; i < views.size(); ++i) {
    INFO(views[i].view->name);
    CommittedRows together;
    CommittedRows alone;
    const auto made = ValueOf(shared.Write(i, together, options));
    const auto expected =
        ValueOf(MaterializeView({}, *world.definitions, "p", *views[i].view, *world.store, alone,
                                views[i].start, views[i].end, options));
    CHECK(together.rows == alone.rows);
    CHECK(made.rows == expected.rows);
    CHECK(made.source_rows == expected.source_rows);
    CHECK(made.skipped_rows == expected.skipped_rows);
  }
}

TEST_CASE("views of one source give together what each gives alone") {
  const uint64_t first = dataset::test::FirstSeed();
  const uint64_t cases = dataset::test::NumCases(40);
  const auto folder = test::MakeTemporaryFolder();
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const World world = MakeWorld(random, Concat(folder.path(), "/", seed));
    CheckRetrieval(random, world);
    CheckMaterialization(random, world);
  }
}

}  // namespace
}  // namespace gnomon::feature
