// Saved datasets: what is kept of rows that are never in memory as a whole.

#include <filesystem>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/memory.h"
#include "base/text.h"
#include "feature/store/feature_store.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

namespace fs = std::filesystem;

using test::ValueOf;

constexpr int64_t kDay = 86'400'000'000;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kEvents = 20'000;
constexpr int64_t kEntityRows = 150'000;
constexpr int64_t kShops = 10'000;

constexpr const char* kFeatures = R"yaml(
entities: [{name: shop, value_type: INT64}]
data_sources:
  - {name: events, path: events.parquet, timestamp_field: ts}
feature_views:
  - name: latest
    entities: [shop]
    source: events
    schema: [{name: amount, dtype: Float64}, {name: note, dtype: String}]
)yaml";

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

/// Of events (shop, ts, amount, note) or entity rows (shop, event_timestamp, number, comment).
std::shared_ptr<arrow::Table> Rows(uint64_t seed, int64_t count, std::vector<std::string> names) {
  std::mt19937_64 random(seed);
  arrow::Int64Builder shop;
  arrow::TimestampBuilder times(Instant(), arrow::default_memory_pool());
  arrow::DoubleBuilder numbers;
  arrow::StringBuilder texts;
  Status status;
  for (int64_t i = 0; i < count; ++i) {
    status &= shop.Append(static_cast<int64_t>(random() % kShops));
    status &= times.Append(1'700'000'000'000'000 + static_cast<int64_t>(random() % 300) * kDay);
    status &= random() % 9 == 0 ? numbers.AppendNull()
                                : numbers.Append(static_cast<double>(random() % 100'000) / 7);
    status &= random() % 9 == 0 ? texts.AppendNull() : texts.Append(Concat("text ", random()));
  }
  CHECK_OK(status);
  return arrow::Table::Make(
      arrow::schema({arrow::field(names[0], arrow::int64()), arrow::field(names[1], Instant()),
                     arrow::field(names[2], arrow::float64()),
                     arrow::field(names[3], arrow::utf8())}),
      arrow::ArrayVector{ValueOf(shop.Finish()), ValueOf(times.Finish()), ValueOf(numbers.Finish()),
                         ValueOf(texts.Finish())});
}

struct World {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  FakeClock clock{1'730'000'000'000'000};
  Context context;
  std::unique_ptr<FeatureStore> store;

  World() {
    context.clock = &clock;
    CHECK_OK(WriteFileAtomic(Path("feature_store.yaml"), "project: test\nregistry: registry.pb\n"));
    CHECK_OK(WriteFileAtomic(Path("features.yaml"), kFeatures));
    CHECK_OK(table::WriteTable({}, *Rows(1, kEvents, {"shop", "ts", "amount", "note"}),
                               Path("events.parquet"), {.row_group_rows = 5'000}));
    CHECK_OK(table::WriteTable(
        {}, *Rows(2, kEntityRows, {"shop", "event_timestamp", "number", "comment"}),
        Path("entities.parquet"), {.row_group_rows = 20'000}));
    store = ValueOf(FeatureStore::Open(context, folder.path()));
    CHECK_OK(store->Apply(context, ValueOf(store->LoadRepository())).status());
  }

  std::string Path(const std::string& file) const { return folder.path() + "/" + file; }

  Result<SavedDataset> Save(const std::string& file, MemoryBudget* memory = nullptr,
                            bool overwrite = false) {
    Context limited = context;
    limited.memory = memory;
    const auto job = ValueOf(store->GetHistoricalFeatures(
        {.features = {"latest:*"}, .feature_service = {}}, Path("entities.parquet")));
    return store->SaveDataset(limited, *job, file, Path(file), overwrite);
  }

  std::shared_ptr<arrow::Table> Read(const std::string& file) const {
    return ValueOf(table::ReadTable({}, Path(file)));
  }
};

TEST_CASE("rows are saved and described without being held, the same under every limit") {
  World world;
  const SavedDataset unlimited = ValueOf(world.Save("all.parquet"));
  CHECK(unlimited.rows == kEntityRows);
  CHECK(unlimited.fingerprint == ValueOf(table::Fingerprint(*world.Read("all.parquet"))));
  REQUIRE(unlimited.columns.size() == 6);
  CHECK(unlimited.columns[0].distinct == kShops);
  CHECK(unlimited.columns[3].nulls > 0);
  CHECK(unlimited.columns[3].distinct == kEntityRows - unlimited.columns[3].nulls);
  for (const int64_t limit : {64 * kMiB, 8 * kMiB}) {
    CAPTURE(limit);
    // All rows take more than 8 MiB, and so do their distinct comments.
    MemoryBudget memory("test", limit);
    const std::string file = Concat("limited_", limit, ".parquet");
    SavedDataset limited = ValueOf(world.Save(file, &memory));
    CHECK(memory.used() == 0);
    CHECK(memory.peak() <= limit);
    limited.name = unlimited.name;
    limited.path = unlimited.path;
    CHECK(limited == unlimited);
    CHECK_TABLE_EQ(world.Read(file), world.Read("all.parquet"));
    CHECK_OK(world.store->VerifySavedDataset(world.context, file));
  }
}

TEST_CASE("a saved file of any format is verified by the values that its reader gets") {
  World world;
  for (const char* file : {"rows.arrow", "rows.csv", "rows.jsonl"}) {
    CAPTURE(file);
    const SavedDataset saved = ValueOf(world.Save(file));
    CHECK(saved.rows == kEntityRows);
    CHECK(saved.fingerprint == ValueOf(table::Fingerprint(*world.Read(file))));
    CHECK_OK(world.store->VerifySavedDataset(world.context, file));
    CHECK_OK(table::WriteTable({}, *world.Read(file)->Slice(1), world.Path(file)));
    CHECK(KindOf(world.store->VerifySavedDataset(world.context, file)) == ErrorKind::kDataLoss);
  }
}

TEST_CASE("a dataset that cannot be kept leaves no file and no name") {
  World world;
  SUBCASE("because the retrieval ends early") {
    MemoryBudget memory("test", 200'000);
    CHECK(KindOf(world.Save("rows.parquet", &memory).status()) == ErrorKind::kExhausted);
    CHECK(memory.used() == 0);
  }
  SUBCASE("because the registry cannot be written") {
    fs::rename(world.Path("registry.pb"), world.Path("aside"));
    fs::create_directories(world.Path("registry.pb/in_the_way"));
    CHECK_FALSE(world.Save("rows.parquet").ok());
    fs::remove_all(world.Path("registry.pb"));
    fs::rename(world.Path("aside"), world.Path("registry.pb"));
  }
  CHECK(world.store->registry().SavedDatasets().empty());
  int files = 0;
  for (const auto& entry : fs::directory_iterator(world.folder.path()))
    files += entry.path().string().find("rows.parquet") == std::string::npos ? 0 : 1;
  CHECK(files == 0);
}

}  // namespace
}  // namespace gnomon::feature
