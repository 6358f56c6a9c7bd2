#include <map>

#include <arrow/array.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/sample_extension_test.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT

Dataset Visits() {
  return Dataset::Of(
      TableOf({{"k", arrow::utf8()}, {"v", arrow::int32()}},
              R"([["b", 5], ["a", 1], ["b", null], ["a", 7], ["b", 2], ["c", null]])"));
}

TEST_CASE("a plug-in's aggregate sees the values of a group in their order, in one state") {
  const PlanExtensions extensions = TestExtensions();
  const Dataset trails = Visits().Aggregate({"k"}, {ItemOf(extensions, "trail", "v"),
                                                    ItemOf(extensions, "trail_or_empty", "v"),
                                                    {pit::AggregateFunction::kCount, "v", "n"}});
  CHECK_TABLE_EQ(
      ValueOf(trails.Collect({}))->RemoveColumn(3).ValueOrDie(),
      TableOf(
          {{"k", arrow::utf8()}, {"v_trail", arrow::utf8()}, {"v_trail_or_empty", arrow::utf8()}},
          R"([["b", "5 2", "5 2"], ["a", "1 7", "1 7"], ["c", null, ""]])"));
  CHECK(FormatPlan(ValueOf(trails.plan())).find("v_trail = trail(v)") != std::string::npos);
}

TEST_CASE("a plug-in's aggregate gives the same when its values go to files") {
  const PlanExtensions extensions = TestExtensions();
  constexpr int64_t kRows = 60'000;
  const Dataset trails = Dataset::Range(0, kRows)
                             .Derive("key", "id * 7919 % 701")
                             .Aggregate({"key"}, {ItemOf(extensions, "trail", "id")});
  std::map<int64_t, std::string> expected;
  for (int64_t id = 0; id < kRows; ++id) {
    std::string& trail = expected[id * 7919 % 701];
    trail += Concat(trail.empty() ? "" : " ", id);
  }
  const auto in_memory = ValueOf(trails.Collect({}));
  const auto whole = ValueOf(in_memory->CombineChunksToBatch());
  REQUIRE(whole->num_rows() == 701);
  const auto& keys = static_cast<const arrow::Int64Array&>(*whole->column(0));
  const auto& texts = static_cast<const arrow::StringArray&>(*whole->column(1));
  for (int64_t row = 0; row < whole->num_rows(); ++row)
    REQUIRE(texts.GetView(row) == expected[keys.Value(row)]);

  for (const int64_t limit : {int64_t{1}, int64_t{200'000}}) {
    CAPTURE(limit);
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    ExecutionReport report;
    CHECK_TABLE_EQ(trails.Collect(context, {.batch_rows = 997}, &report), in_memory);
    int64_t spilled = 0;
    for (const OperatorStats& stats : report.stats) spilled += stats.spilled_bytes;
    CHECK(spilled > 0);
    CHECK(memory.used() == 0);
  }
}

TEST_CASE("a plug-in's value of nothing needs no memory that is granted") {
  const PlanExtensions extensions = TestExtensions();
  MemoryBudget memory("test", 1);
  Context context;
  context.memory = &memory;
  CHECK_TABLE_EQ(
      Visits().Aggregate({"k"}, {ItemOf(extensions, "trail_or_empty", "v")}).Collect(context),
      TableOf({{"k", arrow::utf8()}, {"v_trail_or_empty", arrow::utf8()}},
              R"([["b", "5 2"], ["a", "1 7"], ["c", ""]])"));
}

TEST_CASE("an aggregate of a plug-in is checked when the node is made, its errors end the plan") {
  const PlanExtensions extensions = TestExtensions();
  CHECK_ERROR(Visits().Aggregate({}, {ItemOf(extensions, "trail", "k")}).Collect({}),
              ErrorKind::kUser, "trail");
  AggregateItem none{.function = pit::AggregateFunction::kCustom, .column = "v"};
  CHECK_ERROR(Visits().Aggregate({}, {none}).Collect({}), ErrorKind::kUser, "plug-in");
  AggregateItem both = ItemOf(extensions, "trail", "v");
  both.function = pit::AggregateFunction::kSum;
  CHECK_ERROR(Visits().Aggregate({}, {both}).Collect({}), ErrorKind::kUser, "plug-in");
  CHECK_ERROR(Dataset::Range(-20, 0).Aggregate({}, {ItemOf(extensions, "trail", "id")}).Collect({}),
              ErrorKind::kUser, "an unlucky value");
}

TEST_CASE("a function of a plug-in maps batches without a registry") {
  const PlanExtensions extensions = TestExtensions();
  const Dataset rows = Dataset::Of(TableOf({{"x", arrow::int32()}}, "[[0], [null], [2]]"));
  CHECK_TABLE_EQ(rows.MapBatches(extensions, "triple", "x + 1").Collect({}),
                 TableOf({{"x", arrow::int32()}, {"triple", arrow::int64()}},
                         "[[0, 3], [null, null], [2, 9]]"));
  CHECK_TABLE_EQ(
      Dataset::Range(0, 2, 1, "triple").MapBatches(extensions, "triple", "triple").Collect({}),
      TableOf({{"triple", arrow::int64()}}, "[[0], [3]]"));
  CHECK_TABLE_EQ(Dataset::Range(0, 25).MapBatches(extensions, "call_rows", "", 10).Collect({}),
                 TableOf({{"rows", arrow::int64()}}, "[[10], [10], [5]]"));
  CHECK_ERROR(Dataset::Range(0, 3).MapBatches(extensions, "tripel", "id").Collect({}),
              ErrorKind::kNotFound, "did you mean 'triple'?");
  CHECK_ERROR(Dataset::Range(0, 3).MapBatches(extensions, "triple", "ib").Collect({}),
              ErrorKind::kUser, "batch function 'triple'");
  CHECK_ERROR(Dataset::Range(-20, 0).MapBatches(extensions, "triple", "id").Collect({}),
              ErrorKind::kUser, "an unlucky value");
}

TEST_CASE("a plan names what it calls of plug-ins, which its reader must have") {
  const PlanExtensions extensions = TestExtensions();
  const Plan mapped =
      ValueOf(Dataset::Range(0, 3).MapBatches(extensions, "triple", "id", 7).plan());
  const Plan aggregated =
      ValueOf(Dataset::Range(0, 3).Aggregate({"id"}, {ItemOf(extensions, "trail", "id")}).plan());
  for (const Plan& plan : {mapped, aggregated}) {
    CAPTURE(plan->Describe());
    const std::string bytes = ValueOf(SerializePlan(plan));
    const Plan back = ValueOf(ParsePlan(bytes, &extensions));
    CHECK(FormatPlan(back) == FormatPlan(plan));
    CHECK(ValueOf(SerializePlan(back)) == bytes);
    CHECK_TABLE_EQ(Dataset(back).Collect({}), ValueOf(Dataset(plan).Collect({})));
    const PlanExtensions none;
    CHECK_ERROR(ParsePlan(bytes, &none), ErrorKind::kNotFound, "of a plug-in: 't");
    CHECK_ERROR(ParsePlan(bytes), ErrorKind::kNotFound, "of a plug-in: 't");
  }
}

}  // namespace
}  // namespace gnomon::dataset
