// Plans that run in worker processes of the program itself.
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/ids.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "dataset/extension_functions.h"
#include "feature/store/plugin_extensions.h"
#include "runtime/local/local_backend.h"
#include "tests/support/process.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::cli {
namespace {

using test::ValueOf;

TEST_CASE("worker processes of the program run a plan") {
  const runtime::StageRegistry none;  // they have their own
  const auto backend = ValueOf(runtime::MakeLocalBackend(
      none, {.isolation = runtime::Isolation::kProcess,
             .max_workers = 2,
             .worker_command = {GNOMON_PROGRAM, "worker", "--fd", "{fd}"}}));
  const auto plan = ValueOf(dataset::Dataset::Range(0, 100000)
                                .Derive("k", "id % 10")
                                .Aggregate({"k"}, {{pit::AggregateFunction::kSum, "id"}})
                                .plan());
  const auto result =
      ValueOf(dataset::ExecuteDistributed({}, *backend, plan, {.num_partitions = 3}));
  const auto batch = ValueOf(result->Next());
  REQUIRE(batch->num_rows() == 10);
  CHECK(batch->column(0)->ToString().find("0,\n  1,\n  2") != std::string::npos);
}

/// The example's library, as an embedding program loads it.
dataset::PlanExtensions LoadShop() {
  const auto loaded = ValueOf(feature::LoadExtensions({SHOP_PLUGIN}, ""));
  dataset::PlanExtensions shop{.functions = loaded->functions};
  for (const auto& aggregate : loaded->aggregates) shop.aggregates[aggregate->name()] = aggregate;
  shop.batch_functions = dataset::BatchFunctionsOf(shop.functions);
  return shop;
}

TEST_CASE("worker processes call the functions and aggregates of a plug-in library") {
  const dataset::PlanExtensions shop = LoadShop();
  const auto item = [&](const std::string& aggregate, const std::string& column) {
    return dataset::AggregateItem{.function = pit::AggregateFunction::kCustom,
                                  .column = column,
                                  .custom = shop.aggregates.at(aggregate)};
  };
  const auto dataset =
      dataset::Dataset::Range(0, 20000)
          .Derive({{"user", "id * 7919 % 113"},
                   {"page", "case when id % 7 < 3 then 'home' when id % 5 = 0 then 'cart' end"},
                   {"latitude", "40.0 + id % 20"}})
          .MapBatches(shop, "distance_km", "latitude, 13.4, 52.52, 13.405")
          .Aggregate({"user"}, {item("page_path", "page"), item("value_range", "distance_km")});
  const auto expected = ValueOf(dataset.Collect({}));
  REQUIRE(expected->num_rows() == 113);

  const runtime::StageRegistry none;
  const auto backend = ValueOf(runtime::MakeLocalBackend(
      none, {.isolation = runtime::Isolation::kProcess,
             .max_workers = 2,
             .worker_command = {GNOMON_PROGRAM, "worker", "--fd", "{fd}", "--plugin", SHOP_PLUGIN,
                                "--plugin-id", Sha256Hex(ValueOf(ReadFile(SHOP_PLUGIN)))}}));
  const auto result = ValueOf(dataset::ExecuteDistributed(
      {}, *backend, ValueOf(dataset.plan()), {.num_partitions = 4, .partition_bytes = 10'000}));
  arrow::RecordBatchVector batches;
  while (auto batch = ValueOf(result->Next())) batches.push_back(std::move(batch));
  CHECK_TABLE_EQ(arrow::Table::FromRecordBatches(result->schema(), batches), expected);
}

TEST_CASE("a worker without a driver says what is wrong") {
  const auto result = test::RunCommand({GNOMON_PROGRAM, "worker", "--fd", "0"}, {.input = "x"});
  CHECK(result.exit_code != 0);
  CHECK_MESSAGE(result.err.find("error: ") == 0, result.err);
}

}  // namespace
}  // namespace gnomon::cli
