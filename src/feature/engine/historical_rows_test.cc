// Retrievals as streams: many entity rows, little memory, and the same bytes in every file.

#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/text.h"
#include "dataset/distributed/distributed.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/rows_read_once.h"
#include "feature/engine/stage_retrieval.h"
#include "runtime/local/local_backend.h"
#include "runtime/stage.h"
#include "table/column.h"
#include "table/file.h"
#include "table/file_system.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr int64_t kDay = 86'400'000'000;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int kShops = 300;
constexpr int kEvents = 20'000;
constexpr int kEntityRows = 60'000;

// One shop has a third of the events and entity rows; a window view without entities has one key.
constexpr const char* kDefinitions = R"yaml(
entities: [{name: shop, value_type: INT64}]
data_sources:
  - {name: events, path: events.parquet, timestamp_field: ts}
feature_views:
  - name: latest
    entities: [shop]
    source: events
    ttl: 3d
    schema: [{name: amount, dtype: Float64}, {name: note, dtype: String}]
  - name: everywhere
    source: events
    aggregations:
      - {column: amount, function: count, time_window: 1d, name: count_1d}
  - name: windows
    entities: [shop]
    source: events
    aggregations:
      - {column: amount, function: sum, time_window: 7d, name: sum_7d}
      - {column: amount, function: last_k, k: 3, time_window: 30d, name: recent}
      - {column: note, function: count_distinct, name: notes}
  - name: above
    entities: [shop]
    source_views: [latest]
    transformations: {twice: amount * 2}
    schema: [{name: twice, dtype: Float64}]
  - name: of_both
    entities: [shop]
    source_views: [latest, windows]
    transformations: {more: amount + 1}
    schema: [{name: more, dtype: Float64}]
on_demand_feature_views:
  - {name: asked, sources: [latest, windows], request: [{name: hours, dtype: Float64}], features: [
      {name: per_hour, dtype: Float64, expression: sum_7d / hours}]}
feature_services:
  - {name: all, features: [latest, everywhere, windows, asked]}
  - {name: plain, features: [latest]}
  - {name: windows_only, features: [windows]}
  - {name: of_shops, features: [latest, windows]}
  - {name: above_views, features: [above, of_both]}
)yaml";

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

/// Shops and times, some of them null, and more columns.
std::shared_ptr<arrow::Table> RandomRows(uint64_t seed, int count, const std::string& time_name,
                                         const std::string& number_name,
                                         const std::string& text_name) {
  std::mt19937_64 random(seed);
  arrow::Int64Builder shop;
  arrow::TimestampBuilder times(Instant(), arrow::default_memory_pool());
  arrow::DoubleBuilder numbers;
  arrow::StringBuilder texts;
  Status status;
  for (int i = 0; i < count; ++i) {
    const auto key = random() % 3 == 0 ? 0 : static_cast<int64_t>(random() % kShops);
    status &= random() % 50 == 0 ? shop.AppendNull() : shop.Append(key);
    const auto time = static_cast<int64_t>(random() % 240) * (kDay / 4);
    status &= random() % 50 == 0 ? times.AppendNull() : times.Append(time);
    status &= numbers.Append(static_cast<double>(random() % 1000) / 3 + 1);
    status &= texts.Append(Concat("note ", random() % 100));
  }
  CHECK_OK(status);
  return arrow::Table::Make(
      arrow::schema({arrow::field("shop", arrow::int64()), arrow::field(time_name, Instant()),
                     arrow::field(number_name, arrow::float64()),
                     arrow::field(text_name, arrow::utf8())}),
      arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(times.Finish()), ValueOf(numbers.Finish()),
                         ValueOf(texts.Finish())});
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Retrieved {
  RetrievalStats stats;
  int64_t peak = 0;
};

struct World {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  std::shared_ptr<arrow::Table> entity_rows =
      RandomRows(2, kEntityRows, "event_timestamp", "hours", "comment");
  std::shared_ptr<const Definitions> definitions;
  std::unique_ptr<OfflineStore> offline;

  World() {
    CHECK_OK(table::WriteTable({}, *RandomRows(1, kEvents, "ts", "amount", "note"),
                               Path("events.parquet"), {.row_group_rows = 3'000}));
    for (const char* file : {"entities.parquet", "entities.csv"})
      CHECK_OK(table::WriteTable({}, *entity_rows, Path(file), {.row_group_rows = 7'000}));
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

  std::string Path(const std::string& file) const { return folder.path() + "/" + file; }

  FeaturePlan PlanOf(const std::string& service) const {
    return ValueOf(PlanFeatureService(definitions, service, true));
  }

  using Open = std::function<Result<std::unique_ptr<HistoricalRows>>(const Context&)>;

  /// Writes the features of a file's entity rows to another one.
  Result<Retrieved> Write(const std::string& service, const std::string& entities,
                          const std::string& out, int64_t limit) const {
    const FeaturePlan plan = PlanOf(service);
    return WriteRows(out, limit, [&](const Context& context) {
      return table::PartitionedTable::Open(context, Path(entities)).Map([&](auto rows) {
        return OpenHistorical(context, plan, *offline, std::move(rows), {});
      });
    });
  }

  /// The rows of all time, without entity rows.
  Result<Retrieved> WriteRange(const std::string& service, const std::string& out,
                               int64_t limit) const {
    const FeaturePlan plan = PlanOf(service);
    return WriteRows(out, limit, [&](const Context& context) {
      return OpenRange(context, plan, *offline, 0, 50 * kDay, {});
    });
  }

  /// Batch by batch.
  Result<Retrieved> WriteRows(const std::string& out, int64_t limit, const Open& open) const {
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    Retrieved retrieved;
    const auto run = [&]() -> Status {
      GNOMON_ASSIGN_OR_RETURN(const auto rows, open(context));
      GNOMON_ASSIGN_OR_RETURN(const auto writer,
                              table::TableWriter::Open(context, Path(out), rows->schema()));
      while (true) {
        GNOMON_ASSIGN_OR_RETURN(const auto batch, rows->Next());
        if (batch == nullptr) break;
        GNOMON_RETURN_NOT_OK(writer->Write(*batch));
      }
      retrieved.stats = rows->stats();
      return writer->Commit();
    };
    const Status status = run();
    CHECK(memory.used() == 0);
    retrieved.peak = memory.peak();
    GNOMON_RETURN_NOT_OK(status);
    return retrieved;
  }
};

const World& TheWorld() {
  static const World world;
  return world;
}

}  // namespace

TEST_CASE("no memory limit changes a byte of a file with the features of many entity rows") {
  const World& world = TheWorld();
  for (const char* service : {"all", "plain", "windows_only"}) {
    CAPTURE(service);
    const auto unlimited = ValueOf(world.Write(service, "entities.parquet", "expected.parquet", 0));
    CHECK(unlimited.stats.spilled_bytes == 0);
    CHECK(unlimited.stats.entity_rows == kEntityRows);
    CHECK(unlimited.stats.null_key_rows > 0);
    const std::string expected = BytesOf(world.Path("expected.parquet"));
    CHECK(table::ReadTable({}, world.Path("expected.parquet")).ValueOrDie()->num_rows() ==
          kEntityRows);
    int spilled = 0;
    for (const int64_t limit : {4 * kMiB, 6 * kMiB, 20 * kMiB, 400 * kMiB}) {
      CAPTURE(limit);
      const auto limited = ValueOf(world.Write(service, "entities.parquet", "out.parquet", limit));
      CHECK(BytesOf(world.Path("out.parquet")) == expected);
      spilled += limited.stats.spilled_bytes > 0 ? 1 : 0;
      CHECK(limited.peak <= limit);
      CHECK(limited.stats.null_key_rows == unlimited.stats.null_key_rows);
      CHECK(limited.stats.source_rows == unlimited.stats.source_rows);
    }
    CHECK(spilled > 0);
  }
}

TEST_CASE("entity rows give the same features from a file, from memory and one by one") {
  const World& world = TheWorld();
  CHECK_OK(world.Write("all", "entities.parquet", "parquet.arrow", 6 * kMiB));
  CHECK_OK(world.Write("all", "entities.csv", "csv.arrow", 6 * kMiB));
  const auto from_file = ValueOf(table::ReadTable({}, world.Path("parquet.arrow")));
  const auto from_text = ValueOf(table::ReadTable({}, world.Path("csv.arrow")));
  for (int column = world.entity_rows->num_columns(); column < from_file->num_columns(); ++column)
    CHECK(from_text->column(column)->Equals(from_file->column(column)));
  const FeaturePlan plan = world.PlanOf("all");
  CHECK_TABLE_EQ(RetrieveHistorical({}, plan, *world.offline, *world.entity_rows, {}, nullptr),
                 from_file);
  std::mt19937_64 random(5);
  for (int i = 0; i < 20; ++i) {
    const auto row = static_cast<int64_t>(random() % kEntityRows);
    CAPTURE(row);
    CHECK_TABLE_EQ(RetrieveHistorical({}, plan, *world.offline, *world.entity_rows->Slice(row, 1),
                                      {}, nullptr),
                   from_file->Slice(row, 1));
  }
}

TEST_CASE("no memory limit changes a byte of what is retrieved without entity rows") {
  const World& world = TheWorld();
  for (const char* service : {"plain", "of_shops"}) {
    CAPTURE(service);
    const auto unlimited = ValueOf(world.WriteRange(service, "expected.parquet", 0));
    CHECK(unlimited.stats.spilled_bytes == 0);
    const std::string expected = BytesOf(world.Path("expected.parquet"));
    CHECK(table::ReadTable({}, world.Path("expected.parquet")).ValueOrDie()->num_rows() > 9'000);
    int spilled = 0;
    for (const int64_t limit : {kMiB, 4 * kMiB, 400 * kMiB}) {
      CAPTURE(limit);
      const auto limited = world.WriteRange(service, "out.parquet", limit);
      if (limit == kMiB && service == std::string("of_shops")) {
        CHECK_ERROR(limited, ErrorKind::kExhausted, "");
        continue;
      }
      CHECK_OK(limited);
      if (!limited.ok()) continue;
      CHECK(BytesOf(world.Path("out.parquet")) == expected);
      CHECK(limited->stats.entity_rows == unlimited.stats.entity_rows);
      CHECK(limited->peak <= limit);
      spilled += limited->stats.spilled_bytes > 0 ? 1 : 0;
    }
    CHECK((spilled > 0 || service == std::string("of_shops")));
  }
}

TEST_CASE("rows that come from stages are counted, and spilled beyond half of the budget") {
  const World& world = TheWorld();
  const FeaturePlan plan = world.PlanOf("plain");
  const auto expected =
      ValueOf(RetrieveHistorical({}, plan, *world.offline, *world.entity_rows, {}, nullptr));
  runtime::StageRegistry registry;
  CHECK_OK(dataset::RegisterPlanStages(registry, nullptr));
  for (const int64_t limit : {400 * kMiB, 4 * kMiB}) {
    CAPTURE(limit);
    MemoryBudget budget("test", limit);
    Context context;
    context.memory = &budget;
    const auto threads = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2}));
    RetrievalStats stats;
    {
      MemoryReservation memory(&budget);
      const auto rows = ValueOf(RetrieveByStages(context, *threads, plan, *world.offline,
                                                 world.entity_rows, {}, &stats, &memory));
      CHECK_TABLE_EQ(rows, expected);
      CHECK((stats.spilled_bytes > 0) == (limit == 4 * kMiB));
      CHECK(memory.bytes() > 0);
      CHECK(memory.bytes() <= limit / 2);
      CHECK(budget.used() == memory.bytes());
    }
    CHECK(budget.used() == 0);
  }
}

TEST_CASE("views over views stay within the limit, or say that they cannot") {
  const World& world = TheWorld();
  const auto unlimited =
      ValueOf(world.Write("above_views", "entities.parquet", "expected.parquet", 0));
  const std::string expected = BytesOf(world.Path("expected.parquet"));
  CHECK(unlimited.peak > 2 * kMiB);
  int refused = 0;
  for (const int64_t limit : {kMiB, 8 * kMiB, 20 * kMiB, 400 * kMiB}) {
    CAPTURE(limit);
    const auto limited = world.Write("above_views", "entities.parquet", "out.parquet", limit);
    if (!limited.ok()) {
      CHECK_ERROR(limited, ErrorKind::kExhausted, "");
      CHECK(HintOf(limited.status()).find("memory") != std::string::npos);
      ++refused;
      continue;
    }
    CHECK(limited->peak <= limit);
    CHECK(limited->stats.source_rows == unlimited.stats.source_rows);
    CHECK(BytesOf(world.Path("out.parquet")) == expected);
  }
  CHECK(refused == 1);
}

TEST_CASE("text is read once by those who read its rows several times") {
  const World& world = TheWorld();
  const std::string path = world.Path("once.csv");
  CHECK_OK(table::WriteTable({}, *world.entity_rows, path));
  const auto expected = ValueOf(table::ReadTable({}, path));
  // All of it in memory, or all but nothing in the file.
  for (const int64_t limit : {20 * kMiB, kMiB}) {
    CAPTURE(limit);
    CHECK_OK(table::WriteTable({}, *world.entity_rows, path));
    MemoryBudget budget("test", limit);
    Context context;
    context.memory = &budget;
    {
      const auto text = ValueOf(table::PartitionedTable::Open({}, path));
      CHECK(text->num_rows(0) < 0);
      const auto rows = ValueOf(ReadOnce(context, *text));
      CHECK_OK(table::DeleteFile(path));
      CHECK(rows->num_rows(0) == kEntityRows);
      CHECK((budget.used() > kMiB) == (limit == 20 * kMiB));
      CHECK(budget.peak() <= limit / 2);
      for (int pass = 0; pass < 2; ++pass) {
        const auto stream = ValueOf(rows->Scan({}, 0, {0, 1, 2, 3}, 5'000));
        arrow::RecordBatchVector batches;
        while (auto batch = ValueOf(stream->Next())) batches.push_back(std::move(batch));
        CHECK_TABLE_EQ(arrow::Table::FromRecordBatches(rows->schema(), batches), expected);
      }
    }
    CHECK(budget.used() == 0);
  }
}

TEST_CASE("columns of the entity rows may have any name, even one twice and those of features") {
  const World& world = TheWorld();
  auto rows = world.entity_rows->Slice(0, 50);
  rows = ValueOf(rows->RenameColumns({"shop", "event_timestamp", "__view0_amount", "twice"}));
  rows = ValueOf(rows->AddColumn(4, arrow::field("twice", arrow::utf8()), rows->column(3)));
  const FeaturePlan plan = world.PlanOf("plain");
  const auto retrieved = ValueOf(RetrieveHistorical({}, plan, *world.offline, *rows, {}, nullptr));
  CHECK(retrieved->schema()->field_names() ==
        std::vector<std::string>{"shop", "event_timestamp", "__view0_amount", "twice", "twice",
                                 "latest__amount", "latest__note"});
  const auto expected = ValueOf(
      RetrieveHistorical({}, plan, *world.offline, *world.entity_rows->Slice(0, 50), {}, nullptr));
  for (const int column : {0, 1, 2, 3})
    CHECK(retrieved->column(column)->Equals(expected->column(column)));
  CHECK(retrieved->column(5)->Equals(expected->column(4)));
}

TEST_CASE("request data of another type is refused by name, in whichever batch") {
  const World& world = TheWorld();
  const auto rows = ValueOf(world.entity_rows->SetColumn(
      2, arrow::field("hours", arrow::utf8()), world.entity_rows->GetColumnByName("comment")));
  const FeaturePlan plan = world.PlanOf("all");
  CHECK_ERROR(RetrieveHistorical({}, plan, *world.offline, *rows, {}, nullptr), ErrorKind::kUser,
              "request data");
}

TEST_CASE("a table of features is counted, and what does not fit is refused with a hint") {
  const World& world = TheWorld();
  MemoryBudget memory("test", 6 * kMiB);
  Context context;
  context.memory = &memory;
  const FeaturePlan plan = world.PlanOf("all");
  const auto refused =
      RetrieveHistorical(context, plan, *world.offline, *world.entity_rows, {}, nullptr);
  CHECK_ERROR(refused, ErrorKind::kExhausted, "memory budget 'test' is exhausted");
  CHECK(HintOf(refused.status()).find("memory_limit") != std::string::npos);
  CHECK(memory.used() == 0);
  CHECK_ERROR(world.Write("all", "entities.parquet", "refused.arrow", 100'000),
              ErrorKind::kExhausted, "");
}

}  // namespace gnomon::feature
