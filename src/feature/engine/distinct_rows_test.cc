#include "feature/engine/distinct_rows.h"

#include <algorithm>
#include <map>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/memory.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int kEvents = 120'000;

constexpr const char* kDefinitions = R"yaml(
entities: [{name: shop, value_type: INT64}, {name: city, value_type: STRING}]
data_sources:
  - {name: events, path: events.parquet, timestamp_field: ts}
  - {name: others, path: others.parquet, timestamp_field: ts}
feature_views:
  - name: one
    entities: [shop, city]
    source: events
    schema: [{name: amount, dtype: Float64}]
  - name: two
    entities: [city, shop]
    source: events
    filter: amount > 500
    schema: [{name: amount, dtype: Float64}]
  - name: three
    entities: [shop, city]
    source: others
    schema: [{name: amount, dtype: Float64}]
  - name: shops
    entities: [shop]
    source: events
    schema: [{name: amount, dtype: Float64}]
feature_services:
  - {name: all, features: [one, two, three]}
  - {name: differing, features: [one, shops]}
)yaml";

struct Event {
  std::optional<int64_t> shop;
  std::string city;
  int64_t ts;  ///< in the unit of the source
  double amount;
};

std::vector<Event> RandomEvents(uint64_t seed, int64_t last_time) {
  std::mt19937_64 random(seed);
  std::vector<Event> events;
  for (int i = 0; i < kEvents; ++i) {
    Event event;
    if (random() % 50 != 0) event.shop = static_cast<int64_t>(random() % 100);
    event.city = "city " + std::to_string(random() % 5);
    event.ts = static_cast<int64_t>(random() % static_cast<uint64_t>(last_time));
    event.amount = static_cast<double>(random() % 1000);
    events.push_back(event);
  }
  return events;
}

std::shared_ptr<arrow::Table> TableOf(const std::vector<Event>& events,
                                      arrow::TimeUnit::type unit) {
  arrow::Int64Builder shop;
  arrow::StringBuilder city;
  arrow::TimestampBuilder ts(arrow::timestamp(unit, "UTC"), arrow::default_memory_pool());
  arrow::DoubleBuilder amount;
  Status status;
  for (const Event& event : events) {
    status &= event.shop ? shop.Append(*event.shop) : shop.AppendNull();
    status &= city.Append(event.city);
    status &= ts.Append(event.ts);
    status &= amount.Append(event.amount);
  }
  CHECK_OK(status);
  return arrow::Table::Make(
      arrow::schema({arrow::field("shop", arrow::int64()), arrow::field("city", arrow::utf8()),
                     arrow::field("ts", ts.type()), arrow::field("amount", arrow::float64())}),
      arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(city.Finish()), ValueOf(ts.Finish()),
                         ValueOf(amount.Finish())});
}

struct World {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  std::vector<Event> events = RandomEvents(1, 50'000'000);
  std::vector<Event> others = RandomEvents(2, 50'000'000'000);  ///< nanoseconds
  std::shared_ptr<const Definitions> definitions;
  std::unique_ptr<OfflineStore> offline;

  World() {
    CHECK_OK(table::WriteTable({}, *TableOf(events, arrow::TimeUnit::MICRO),
                               folder.path() + "/events.parquet", {.row_group_rows = 9'000}));
    CHECK_OK(table::WriteTable({}, *TableOf(others, arrow::TimeUnit::NANO),
                               folder.path() + "/others.parquet", {.row_group_rows = 9'000}));
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

  /// By the words of the header.
  std::shared_ptr<arrow::Table> Expected(int64_t end) const {
    std::map<std::tuple<int64_t, std::string, int64_t>, size_t> first;
    std::vector<Event> rows;
    const auto add = [&](Event event, int64_t unit) {
      event.ts *= unit;
      if (!event.shop || event.ts > end * 1000) return;
      if (first.emplace(std::tuple(*event.shop, event.city, event.ts), rows.size()).second)
        rows.push_back(event);
    };
    for (const Event& event : events) add(event, 1000);
    for (const Event& event : others) add(event, 1);
    std::ranges::stable_sort(rows, {}, &Event::ts);
    const auto table = TableOf(rows, arrow::TimeUnit::NANO);
    return ValueOf(ValueOf(table->SelectColumns({0, 1, 2}))
                       ->RenameColumns({"shop", "city", "event_timestamp"}));
  }
};

TEST_CASE("the distinct keys and times of several views need not fit into memory") {
  const World world;
  const FeaturePlan plan = ValueOf(PlanFeatureService(world.definitions, "all", true));
  const int64_t end = 40'000'000;
  const SourceRange range{.min = 0, .max = end, .created_before = {}};
  const auto expected = world.Expected(end);
  CHECK(expected->num_rows() > kEvents);
  for (const int64_t limit : {int64_t{0}, 400 * kMiB, 16 * kMiB, 5 * kMiB}) {
    CAPTURE(limit);
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    {
      const DistinctRows rows = ValueOf(DistinctEntityRows(context, plan, *world.offline, range));
      CHECK_TABLE_EQ(rows.table, expected);
      CHECK((rows.spilled_bytes > 0) == (limit > 0 && limit <= 16 * kMiB));
      CHECK(rows.reads.scans == 2);
    }
    CHECK(memory.used() == 0);
    if (limit > 0) CHECK(memory.peak() <= limit);
  }
}

TEST_CASE("views with different join keys have no entity rows in common") {
  const World world;
  const FeaturePlan plan = ValueOf(PlanFeatureService(world.definitions, "differing", true));
  const auto rows = DistinctEntityRows({}, plan, *world.offline, {});
  CHECK_ERROR(rows, ErrorKind::kUser, "the same join keys: one has (shop, city), shops has (shop)");
}

}  // namespace
}  // namespace gnomon::feature
