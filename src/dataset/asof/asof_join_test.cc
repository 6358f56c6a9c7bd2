#include "dataset/asof/asof_join.h"

#include <filesystem>
#include <limits>
#include <random>
#include <tuple>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using gnomon::test::MakeTemporaryFolder;
using gnomon::test::TableOf;
using gnomon::test::ValueOf;
using table::PartitionedTable;
__extension__ typedef __int128 Nanos;

struct Random {
  explicit Random(uint64_t seed) : engine(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine);
  }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(engine); }
  std::mt19937_64 engine;
};

constexpr int64_t kSecond = 1'000'000'000;  ///< nanoseconds

struct Row {
  std::optional<int64_t> key;
  std::optional<int64_t> second_key;
  std::optional<int64_t> time;  ///< in the table's unit
  std::optional<int64_t> created;
};

/// A table as numbers, for the oracle.
struct Side {
  arrow::TimeUnit::type unit;
  arrow::TimeUnit::type created_unit;
  bool has_created = false;
  std::vector<Row> rows;
};

int64_t NanosOf(arrow::TimeUnit::type unit) { return table::UnitNanos(*arrow::timestamp(unit)); }

/// Rules 1, 2, 3, 4 and 6 of the point-in-time semantics, word by word: the winning row or -1.
std::vector<int64_t> Oracle(const Side& left, const Side& right, const AsOfFeatures& options,
                            bool two_keys) {
  std::vector<int64_t> winners;
  for (const Row& label : left.rows) {
    std::tuple<Nanos, Nanos, int64_t> best{-(Nanos{1} << 100), 0, -1};
    for (size_t i = 0; i < right.rows.size(); ++i) {
      const Row& row = right.rows[i];
      if (!label.key || !label.time || !row.time || row.key != label.key) continue;
      if (two_keys && (!label.second_key || row.second_key != label.second_key)) continue;
      const Nanos t = Nanos{*label.time} * NanosOf(left.unit);
      const Nanos at = Nanos{*row.time} * NanosOf(right.unit);
      const Nanos tolerance = Nanos{options.tolerance} * 1000;
      if (at > t || (tolerance > 0 && at < t - tolerance)) continue;
      Nanos created = -(Nanos{1} << 100);
      if (right.has_created && row.created)
        created = Nanos{*row.created} * NanosOf(right.created_unit);
      if (options.filter_by_created && created > t) continue;
      if (options.created_before && created > Nanos{*options.created_before} * 1000) continue;
      best = std::max(best, {at, created, static_cast<int64_t>(i)});
    }
    winners.push_back(std::get<2>(best));
  }
  return winners;
}

arrow::TimeUnit::type RandomUnit(Random* random) {
  return static_cast<arrow::TimeUnit::type>(random->Int(0, 3));
}

Side RandomSide(Random* random, int64_t rows, bool is_label) {
  Side side{.unit = RandomUnit(random),
            .created_unit = RandomUnit(random),
            .has_created = !is_label && random->Chance(0.5),
            .rows = {}};
  const int64_t span = random->Int(1, 60);  // seconds, also before 1970
  const bool sorted = random->Chance(0.3);
  for (int64_t i = 0; i < rows; ++i) {
    Row row;
    if (!random->Chance(0.05)) row.key = random->Chance(0.4) ? 3 : random->Int(-2, 9);
    if (!random->Chance(0.05)) row.second_key = random->Int(0, 1);
    const auto time_in = [&](arrow::TimeUnit::type unit) {
      const int64_t per_second = kSecond / NanosOf(unit);
      const int64_t part = random->Chance(0.5) ? 0 : random->Int(0, per_second - 1);
      return random->Int(-span, span) * per_second + part;
    };
    if (!random->Chance(0.03)) row.time = time_in(side.unit);
    if (!random->Chance(0.1)) row.created = time_in(side.created_unit);
    if (i > 0 && random->Chance(0.1)) row = side.rows[static_cast<size_t>(random->Int(0, i - 1))];
    side.rows.push_back(row);
  }
  if (sorted) {
    std::ranges::stable_sort(side.rows, {}, [](const Row& row) { return row.time; });
  }
  return side;
}

enum class KeyType { kInt64, kInt32, kUint16, kText };

std::shared_ptr<arrow::Array> Keys(const Side& side, KeyType type) {
  std::unique_ptr<arrow::ArrayBuilder> builder;
  arrow::StringBuilder text;
  arrow::Int64Builder numbers;
  for (const Row& row : side.rows) {
    // No negative keys where they would not fit: they stay apart from all others.
    const bool fits = row.key && (type != KeyType::kUint16 || *row.key >= 0);
    if (type == KeyType::kText) {
      CHECK_OK(row.key ? text.Append("key-" + std::to_string(*row.key)) : text.AppendNull());
    } else {
      CHECK_OK(fits ? numbers.Append(*row.key) : numbers.AppendNull());
    }
  }
  if (type == KeyType::kText) return ValueOf(text.Finish());
  const auto array = ValueOf(numbers.Finish());
  const auto narrow = type == KeyType::kInt32    ? arrow::int32()
                      : type == KeyType::kUint16 ? arrow::uint16()
                                                 : arrow::int64();
  return ValueOf(table::CastLossless(array, narrow));
}

std::shared_ptr<arrow::Array> Numbers(const Side& side, auto&& get,
                                      const std::shared_ptr<arrow::DataType>& type) {
  arrow::Int64Builder builder;
  for (const Row& row : side.rows) {
    const std::optional<int64_t> value = get(row);
    CHECK_OK(value ? builder.Append(*value) : builder.AppendNull());
  }
  return ValueOf(ValueOf(builder.Finish())->View(type));
}

std::shared_ptr<arrow::Table> LeftTable(const Side& side, KeyType key) {
  arrow::Int64Builder ids;
  for (size_t i = 0; i < side.rows.size(); ++i) CHECK_OK(ids.Append(static_cast<int64_t>(i)));
  const arrow::ArrayVector columns = {
      ValueOf(ids.Finish()), Keys(side, key),
      Numbers(
          side, [](const Row& row) { return row.second_key; }, arrow::int64()),
      Numbers(
          side, [](const Row& row) { return row.time; }, arrow::timestamp(side.unit))};
  return arrow::Table::Make(
      arrow::schema(
          {arrow::field("id", columns[0]->type()), arrow::field("key", columns[1]->type()),
           arrow::field("key2", columns[2]->type()), arrow::field("t", columns[3]->type())}),
      columns);
}

/// Features: the row's number, a text and a double that is sometimes null.
std::shared_ptr<arrow::Table> RightTable(const Side& side, KeyType key) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder texts;
  arrow::DoubleBuilder doubles;
  for (size_t i = 0; i < side.rows.size(); ++i) {
    CHECK_OK(numbers.Append(static_cast<int64_t>(i)));
    CHECK_OK(texts.Append("row " + std::to_string(i)));
    CHECK_OK(i % 3 == 0 ? doubles.AppendNull() : doubles.Append(static_cast<double>(i) / 7));
  }
  const arrow::ArrayVector columns = {
      ValueOf(texts.Finish()),
      Numbers(
          side, [](const Row& row) { return row.second_key; }, arrow::int64()),
      Numbers(
          side, [](const Row& row) { return row.time; }, arrow::timestamp(side.unit)),
      Keys(side, key),
      Numbers(
          side, [](const Row& row) { return row.created; }, arrow::timestamp(side.created_unit)),
      ValueOf(numbers.Finish()),
      ValueOf(doubles.Finish())};
  arrow::FieldVector fields;
  const std::vector<std::string> names = {"text",    "key2",   "at",   "key",
                                          "created", "number", "value"};
  for (size_t i = 0; i < names.size(); ++i)
    fields.push_back(arrow::field(names[i], columns[i]->type()));
  return arrow::Table::Make(arrow::schema(fields), columns);
}

Result<std::shared_ptr<arrow::Table>> Run(const Context& context, AsOfRequest request,
                                          AsOfStats* stats = nullptr) {
  GNOMON_ASSIGN_OR_RETURN(const auto join, PointInTimeJoin::Make(context, std::move(request)));
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, join->Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(batch->ValidateFull());
    batches.push_back(std::move(batch));
  }
  if (stats != nullptr) *stats = join->stats();
  return arrow::Table::FromRecordBatches(join->schema(), batches);
}

/// The expected table: the left columns and the features of the winners.
std::shared_ptr<arrow::Table> Expected(const arrow::Table& left, const arrow::Table& right,
                                       const std::vector<int64_t>& winners,
                                       const std::vector<std::string>& features) {
  arrow::FieldVector fields = left.schema()->fields();
  arrow::ChunkedArrayVector columns = left.columns();
  for (const std::string& name : features) {
    columns.push_back(std::make_shared<arrow::ChunkedArray>(
        ValueOf(table::Gather(*right.GetColumnByName(name), winners))));
    fields.push_back(arrow::field(name, columns.back()->type()));
  }
  return arrow::Table::Make(arrow::schema(fields), columns, left.num_rows());
}

AsOfSettings RandomSettings(Random* random, const std::string& folder) {
  AsOfSettings settings;
  settings.max_workers = random->Int(0, 3);
  settings.enable_optimization = random->Chance(0.7);
  settings.broadcast_join_threshold = random->Chance(0.5) ? 0 : 1000;
  settings.max_parallelism_multiplier = random->Chance(0.5) ? 0.01 : 2;
  settings.target_partition_size = random->Chance(0.5) ? random->Int(28, 2000) : kMegabyte;
  settings.window_size_for_joins = random->Int(1, 20) * kMicrosPerSecond;
  settings.spill_folder = folder;
  settings.block_rows = random->Int(1, 100);
  settings.batch_rows = random->Int(1, 100);
  return settings;
}

struct Paths {
  int broadcast = 0;
  int partitioned = 0;
  int sliced = 0;
  int spilled = 0;
  int pruned = 0;
  int merged = 0;
};

void Count(const AsOfStats& stats, Paths* paths) {
  const AsOfStats::Side& side = stats.right[0];
  (side.strategy.partitioned ? paths->partitioned : paths->broadcast) += 1;
  paths->sliced += side.time_slices > side.hash_partitions ? 1 : 0;
  paths->spilled += stats.spilled_bytes > 0 ? 1 : 0;
  paths->pruned += side.pruned > 0 ? 1 : 0;
  paths->merged += side.strategy.kernel == AsOfKernel::kMerge ? 1 : 0;
}

TEST_CASE("random joins equal the brute force by every strategy, setting, limit and batch size") {
  const auto folder = MakeTemporaryFolder();
  Paths paths;
  for (uint64_t seed = 0; seed < 250; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const Side left = RandomSide(&random, random.Int(0, 120), true);
    const Side right = RandomSide(&random, random.Int(0, 200), false);
    const bool text = random.Chance(0.3);
    const auto left_table = LeftTable(left, text ? KeyType::kText : KeyType::kInt64);
    const auto right_table = RightTable(right, text ? KeyType::kText : KeyType::kInt32);

    const bool two_keys = random.Chance(0.4);
    AsOfFeatures features{.table = PartitionedTable::Of(right_table, "features"),
                          .left_by = {"key"},
                          .by = {"key"},
                          .on = "at",
                          .created = right.has_created ? "created" : "",
                          .tolerance = random.Chance(0.5) ? random.Int(1, 40'000'000) : 0,
                          .filter_by_created = right.has_created && random.Chance(0.5),
                          .created_before = {},
                          .features = {"number", "value", "text"}};
    if (right.has_created && random.Chance(0.3))
      features.created_before = random.Int(-60, 60) * kMicrosPerSecond;
    if (two_keys) {
      features.left_by.push_back("key2");
      features.by.push_back("key2");
    }
    if (random.Chance(0.6)) {
      const std::string path = folder.path() + "/right.parquet";
      CHECK_OK(table::WriteTable({}, *right_table, path, {.row_group_rows = random.Int(1, 60)}));
      features.table = ValueOf(PartitionedTable::Open({}, path));
    }
    const auto expected = Expected(*left_table, *right_table,
                                   Oracle(left, right, features, two_keys), features.features);
    for (int run = 0; run < 3; ++run) {
      CAPTURE(run);
      AsOfRequest request{.left = PartitionedTable::Of(left_table, "labels"),
                          .on = "t",
                          .right = {features},
                          .settings = RandomSettings(&random, folder.path())};
      // Room for the labels of one key, but not for everything.
      MemoryBudget budget("test", random.Chance(0.5) ? random.Int(60'000, 80'000) : 0);
      Context context;
      context.memory = &budget;
      AsOfStats stats;
      CHECK_TABLE_EQ(Run(context, request, &stats), expected);
      CHECK(budget.used() == 0);
      Count(stats, &paths);
    }
  }
  CHECK(paths.broadcast > 0);
  CHECK(paths.partitioned > 0);
  CHECK(paths.sliced > 0);
  CHECK(paths.pruned > 0);
}

TEST_CASE("labels that do not fit the memory are spilled and give the same rows") {
  const auto folder = MakeTemporaryFolder();
  Random random(5);
  Side left = RandomSide(&random, 20'000, true);
  const Side right = RandomSide(&random, 300, false);
  for (Row& row : left.rows) row.key = random.Int(0, 400);
  const auto left_table = LeftTable(left, KeyType::kInt64);
  const auto right_table = RightTable(right, KeyType::kInt64);
  AsOfRequest request{.left = PartitionedTable::Of(left_table, "labels"),
                      .on = "t",
                      .right = {{.table = PartitionedTable::Of(right_table, "features"),
                                 .left_by = {"key"},
                                 .by = {"key"},
                                 .on = "at",
                                 .features = {"number", "text"}}},
                      .settings = {.spill_folder = folder.path(), .block_rows = 3000}};
  const auto expected = ValueOf(Run({}, request));
  MemoryBudget budget("test", 900'000);
  Context context;
  context.memory = &budget;
  AsOfStats stats;
  CHECK_TABLE_EQ(Run(context, request, &stats), expected);
  CHECK(stats.spilled_bytes > 0);
  CHECK(stats.right[0].strategy.partitioned);
  CHECK(budget.peak() <= 900'000);
  CHECK(std::filesystem::is_empty(folder.path()));

  request.settings.spill_folder = folder.path() + "/missing";
  const auto failed = Run(context, request);
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.status().message().find("missing") != std::string::npos);
}

TEST_CASE("many labels a key go through the merge kernel") {
  Random random(6);
  Side left = RandomSide(&random, 20'000, true);
  for (Row& row : left.rows) row.key = random.Int(0, 1);
  const Side right = RandomSide(&random, 300, false);
  const auto left_table = LeftTable(left, KeyType::kInt64);
  const auto right_table = RightTable(right, KeyType::kInt64);
  AsOfFeatures features{.table = PartitionedTable::Of(right_table, "features"),
                        .left_by = {"key"},
                        .by = {"key"},
                        .on = "at",
                        .features = {"number"}};
  const auto expected =
      Expected(*left_table, *right_table, Oracle(left, right, features, false), {"number"});
  for (const bool optimize : {true, false}) {
    AsOfStats stats;
    CHECK_TABLE_EQ(Run({},
                       {.left = PartitionedTable::Of(left_table, "labels"),
                        .on = "t",
                        .right = {features},
                        .settings = {.enable_optimization = optimize}},
                       &stats),
                   expected);
    CHECK(stats.right[0].strategy.kernel == AsOfKernel::kMerge);
    CHECK(stats.right[0].strategy.partitioned == !optimize);
  }
}

struct Tables {
  std::shared_ptr<arrow::Table> left =
      TableOf({{"key", arrow::int64()}, {"t", arrow::timestamp(arrow::TimeUnit::MICRO)}},
              "[[1, 50], [2, 50]]");
  std::shared_ptr<arrow::Table> right = TableOf({{"key", arrow::uint16()},
                                                 {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                                                 {"made", arrow::int64()},
                                                 {"f", arrow::float64()}},
                                                "[[1, 10, 0, 1.5], [2, 60, 0, 2.5]]");

  AsOfRequest Request() const {
    return {.left = PartitionedTable::Of(left, "labels"),
            .on = "t",
            .right = {{.table = PartitionedTable::Of(right, "features"),
                       .left_by = {"key"},
                       .by = {"key"},
                       .on = "t",
                       .features = {"f"}}}};
  }
};

TEST_CASE("keys of different integer widths are joined by value") {
  const Tables tables;
  CHECK_TABLE_EQ(Run({}, tables.Request()),
                 TableOf({{"key", arrow::int64()},
                          {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                          {"f", arrow::float64()}},
                         "[[1, 50, 1.5], [2, 50, null]]"));
}

TEST_CASE("wrong requests name what is wrong and what to do") {
  const Tables tables;
  AsOfRequest request = tables.Request();
  SUBCASE("a missing feature has the nearest name") {
    request.right[0].features = {"mad"};
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kNotFound);
    CHECK(status.message() == "no such column in features: 'mad'");
    CHECK(HintOf(status) == "did you mean 'made'?");
  }
  SUBCASE("a missing key names its table") {
    request.right[0].left_by = {"ke"};
    const Status status = Run({}, request).status();
    CHECK(status.message() == "no such column in labels: 'ke'");
    CHECK(HintOf(status) == "did you mean 'key'?");
  }
  SUBCASE("a created column that is no time") {
    request.right[0].created = "made";
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kUser);
    CHECK(status.message().find("'made' of features is no time: int64") != std::string::npos);
  }
  SUBCASE("an output name that occurs twice, with a hint") {
    request.right.push_back(request.right[0]);
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kUser);
    CHECK(status.message().find("'f' would occur twice") != std::string::npos);
    CHECK(HintOf(status).find("full feature names") != std::string::npos);
    request.right[1].outputs = {"g"};
    CHECK_OK(Run({}, request).status());
  }
  SUBCASE("a feature named like a label column") {
    request.right[0].outputs = {"key"};
    CHECK(KindOf(Run({}, request).status()) == ErrorKind::kUser);
  }
  SUBCASE("keys that cannot be compared") {
    request.right[0].by = {"f"};
    CHECK(KindOf(Run({}, request).status()) == ErrorKind::kUser);
    const auto text = TableOf({{"key", arrow::utf8()},
                               {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                               {"f", arrow::float64()}},
                              "[]");
    request.right[0].by = {"key"};
    request.right[0].table = PartitionedTable::Of(text, "features");
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kUser);
    CHECK(status.message().find("cannot be compared: string with int64") != std::string::npos);
  }
}

TEST_CASE("times before 1970 and beyond what nanoseconds can hold are joined exactly") {
  // Seconds of the years 1600 and 5138 against nanoseconds.
  const auto left =
      TableOf({{"key", arrow::int64()}, {"t", arrow::timestamp(arrow::TimeUnit::SECOND)}},
              "[[1, -11676096000], [1, -1], [1, 99999999999]]");
  const auto right = TableOf({{"key", arrow::int64()},
                              {"t", arrow::timestamp(arrow::TimeUnit::NANO)},
                              {"f", arrow::int64()}},
                             "[[1, -1000000001, 1], [1, -999999999, 2], [1, 5, 3]]");
  CHECK_TABLE_EQ(Run({}, {.left = PartitionedTable::Of(left, "labels"),
                          .on = "t",
                          .right = {{.table = PartitionedTable::Of(right, "features"),
                                     .left_by = {"key"},
                                     .by = {"key"},
                                     .on = "t",
                                     .features = {"f"}}}}),
                 TableOf({{"key", arrow::int64()},
                          {"t", arrow::timestamp(arrow::TimeUnit::SECOND)},
                          {"f", arrow::int64()}},
                         "[[1, -11676096000, null], [1, -1, 1], [1, 99999999999, 3]]"));
  // Event times in seconds that the created times' nanoseconds cannot hold.
  const auto far = TableOf({{"key", arrow::int64()},
                            {"t", arrow::timestamp(arrow::TimeUnit::SECOND)},
                            {"made", arrow::timestamp(arrow::TimeUnit::NANO)},
                            {"f", arrow::int64()}},
                           "[[1, 99999999998, 7, 1], [1, 99999999998, 8, 2]]");
  CHECK_TABLE_EQ(Run({}, {.left = PartitionedTable::Of(left, "labels"),
                          .on = "t",
                          .right = {{.table = PartitionedTable::Of(far, "features"),
                                     .left_by = {"key"},
                                     .by = {"key"},
                                     .on = "t",
                                     .created = "made",
                                     .features = {"f"}}}}),
                 TableOf({{"key", arrow::int64()},
                          {"t", arrow::timestamp(arrow::TimeUnit::SECOND)},
                          {"f", arrow::int64()}},
                         "[[1, -11676096000, null], [1, -1, null], [1, 99999999999, 2]]"));
}

TEST_CASE("row groups outside the labels' times are not read, unless optimization is off") {
  const auto folder = MakeTemporaryFolder();
  std::string rows = "[";
  for (int i = 0; i < 100; ++i)
    rows += (i > 0 ? ",[1," : "[1,") + std::to_string(i) + "," + std::to_string(i) + "]";
  const auto right = TableOf({{"key", arrow::int64()},
                              {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                              {"f", arrow::int64()}},
                             rows + "]");
  const std::string path = folder.path() + "/right.parquet";
  CHECK_OK(table::WriteTable({}, *right, path, {.row_group_rows = 10}));
  AsOfRequest request = Tables().Request();
  request.right[0].table = ValueOf(PartitionedTable::Open({}, path));
  request.right[0].tolerance = 15;
  AsOfStats stats;
  const auto joined = ValueOf(Run({}, request, &stats));
  CHECK(stats.right[0].pruned == 7);  // 35 to 50 lie in three
  CHECK(stats.right[0].rows == 30);
  CHECK(stats.right[0].matches == 1);
  request.settings.enable_optimization = false;
  CHECK_TABLE_EQ(Run({}, request, &stats), joined);
  CHECK(stats.right[0].pruned == 0);
  CHECK(stats.right[0].strategy.partitioned);
}

}  // namespace
}  // namespace gnomon::dataset
