#include <atomic>
#include <filesystem>

#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "dataset/asof/asof_join.h"
#include "dataset/asof/asof_samples.h"
#include "table/forwarding_table_test.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using gnomon::test::MakeTemporaryFolder;
using gnomon::test::ValueOf;
using table::PartitionedTable;
using test::Expected;
using test::KeyType;
using test::LeftTable;
using test::Oracle;
using test::Random;
using test::RandomSide;
using test::RightTable;
using test::Row;
using test::Run;
using test::Side;

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
  int refused = 0;
};

void Count(const AsOfStats& stats, Paths* paths) {
  const AsOfStats::Side& side = stats.right[0];
  (side.strategy.partitioned ? paths->partitioned : paths->broadcast) += 1;
  paths->sliced += side.time_slices > side.hash_partitions ? 1 : 0;
  paths->spilled += stats.spilled_bytes > 0 ? 1 : 0;
  paths->pruned += side.pruned > 0 ? 1 : 0;
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
      // Often too little for everything; sometimes for the labels of one key, which must fit.
      MemoryBudget budget("test", random.Chance(0.5) ? random.Int(8'000, 40'000) : 0);
      Context context;
      context.memory = &budget;
      AsOfStats stats;
      const auto joined = Run(context, request, &stats);
      if (!joined.ok() && budget.limit() > 0) {
        CHECK(KindOf(joined.status()) == ErrorKind::kExhausted);
        ++paths.refused;
      } else {
        CHECK_TABLE_EQ(joined, expected);
        Count(stats, &paths);
      }
      CHECK(budget.used() == 0);
    }
  }
  CHECK(paths.broadcast > 0);
  CHECK(paths.partitioned > 0);
  CHECK(paths.sliced > 0);
  CHECK(paths.spilled > 0);
  CHECK(paths.pruned > 0);
  MESSAGE("broadcast ", paths.broadcast, ", partitioned ", paths.partitioned, ", sliced ",
          paths.sliced, ", spilled ", paths.spilled, ", pruned ", paths.pruned, ", refused ",
          paths.refused);
  CHECK(paths.refused < 375);
}

/// Counts the scans of its partitions and leaves none of them out.
class CountedTable : public table::ForwardingTable {
 public:
  using ForwardingTable::ForwardingTable;
  bool LiesOutside(int64_t, int, const table::TimeRange&) const override { return false; }
  Result<std::unique_ptr<table::PartitionStream>> Scan(const Context& context, int64_t partition,
                                                       const std::vector<int>& columns,
                                                       int64_t batch_rows) const override {
    ++scans;
    return ForwardingTable::Scan(context, partition, columns, batch_rows);
  }
  mutable std::atomic<int64_t> scans{0};
};

TEST_CASE("right tables of one group are read in one pass and joined as if they were alone") {
  const auto folder = MakeTemporaryFolder();
  for (uint64_t seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const Side left = RandomSide(&random, random.Int(1, 120), true);
    const Side right = RandomSide(&random, random.Int(1, 200), false);
    const auto left_table = LeftTable(left, KeyType::kInt64);
    const auto right_table = RightTable(right, KeyType::kInt32);
    const std::string path = folder.path() + "/right.parquet";
    CHECK_OK(table::WriteTable({}, *right_table, path, {.row_group_rows = random.Int(1, 60)}));
    const auto counted = std::make_shared<CountedTable>(ValueOf(PartitionedTable::Open({}, path)));
    const auto shared = PartitionedTable::Shared(counted);
    AsOfRequest request{.left = PartitionedTable::Of(left_table, "labels"),
                        .on = "t",
                        .right = {},
                        .settings = RandomSettings(&random, folder.path())};
    std::shared_ptr<arrow::Table> expected = left_table;
    const int64_t num_sides = random.Int(2, 4);
    for (int64_t i = 0; i < num_sides; ++i) {
      const bool two_keys = random.Chance(0.5);
      AsOfFeatures features{.table = shared,
                            .left_by = {"key"},
                            .by = {"key"},
                            .on = "at",
                            .created = right.has_created && random.Chance(0.5) ? "created" : "",
                            .tolerance = random.Chance(0.5) ? random.Int(1, 40'000'000) : 0,
                            .features = {"number"},
                            .outputs = {"number" + std::to_string(i)},
                            .scan_group = 0};
      if (two_keys) {
        features.left_by.push_back("key2");
        features.by.push_back("key2");
      }
      const auto alone =
          Expected(*left_table, *right_table, Oracle(left, right, features, two_keys), {"number"});
      expected = ValueOf(expected->AddColumn(expected->num_columns(),
                                             arrow::field(features.outputs[0], arrow::int64()),
                                             alone->column(alone->num_columns() - 1)));
      request.right.push_back(std::move(features));
    }
    AsOfStats stats;
    CHECK_TABLE_EQ(Run({}, request, &stats), expected);
    CHECK(stats.scans == 1);
    CHECK(counted->scans == counted->num_partitions());
  }
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
  MemoryBudget budget("test", 1'100'000);
  Context context;
  context.memory = &budget;
  AsOfStats stats;
  CHECK_TABLE_EQ(Run(context, request, &stats), expected);
  CHECK(stats.spilled_bytes > 0);
  CHECK(stats.right[0].strategy.partitioned);
  CHECK(budget.peak() <= 1'100'000);
  CHECK(std::filesystem::is_empty(folder.path()));

  request.settings.spill_folder = folder.path() + "/missing";
  const auto failed = Run(context, request);
  REQUIRE_FALSE(failed.ok());
  CHECK(failed.status().message().find("missing") != std::string::npos);
}

TEST_CASE("many labels a key are merged with rows in the order of time, and looked up by others") {
  Random random(6);
  Side left = RandomSide(&random, 20'000, true);
  for (Row& row : left.rows) row.key = random.Int(0, 1);
  Side right = RandomSide(&random, 300, false);
  for (const bool sorted : {false, true}) {
    if (sorted) std::ranges::sort(right.rows, {}, [](const Row& row) { return row.time; });
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
      CHECK((stats.right[0].merged_rows > 0) == sorted);
    }
  }
}

}  // namespace
}  // namespace gnomon::dataset
