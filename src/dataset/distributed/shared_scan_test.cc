// Scans of the same files are one stage with a branch for each of them.
#include <cstdint>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT

constexpr int64_t kRows = 6000;
constexpr int64_t kRowGroups = 12;

/// Events of one file: `k` of 50 values, `t` an hour apart and rising, values a to f.
struct Events {
  TemporaryFolder folder = MakeTemporaryFolder();
  std::string path = folder.path() + "/events.parquet";

  Events() {
    RequireOk(Dataset::Range(0, kRows)
                  .Derive({{"k", "id * 7 % 50"},
                           {"t", "timestamp '2024-01-01' + id * interval '1h'"},
                           {"a", "id * 3"},
                           {"b", "id % 11"},
                           {"c", "cast(id as double) / 7"},
                           {"d", "id * 5"},
                           {"e", "id * 6"},
                           {"f", "id * 7"}})
                  .WriteTo({}, {.path = path, .row_group_rows = kRows / kRowGroups})
                  .status());
  }

  Dataset Read(const std::vector<std::string>& columns, const std::string& filter = {}) const {
    const Dataset rows = Dataset::Read({}, path);
    return (filter.empty() ? rows : rows.Filter(filter)).Select(columns);
  }
};

Dataset Labels() {
  return Dataset::Range(0, 300).Derive(
      {{"k", "id % 60"}, {"at", "timestamp '2024-03-01' + id * interval '5h'"}});
}

Dataset WithLatest(const Dataset& labels, const Dataset& events, const std::string& column,
                   const std::string& name) {
  return labels.AsOfJoin(
      events,
      {.match = {.left_keys = {"k"}, .right_keys = {"k"}, .left_time = "at", .right_time = "t"},
       .tolerance = 0,
       .features = {{column, name}}});
}

Dataset WithSum(const Dataset& labels, const Dataset& events, const std::string& column,
                const std::string& name) {
  WindowAggregateSpec windows{
      .match = {.left_keys = {"k"}, .right_keys = {"k"}, .left_time = "at", .right_time = "t"}};
  windows.items.push_back(
      {.function = pit::AggregateFunction::kSum, .column = column, .name = name});
  return labels.WindowAggregate(events, std::move(windows));
}

Result<std::shared_ptr<arrow::Table>> Rows(DistributedResult& result) {
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, result.Next());
    if (batch == nullptr) return arrow::Table::FromRecordBatches(result.schema(), batches);
    batches.push_back(std::move(batch));
  }
}

struct Workers {
  runtime::StageRegistry registry;
  std::unique_ptr<runtime::Backend> threads;

  explicit Workers(MemoryBudget* memory = nullptr) {
    RequireOk(RegisterPlanStages(registry, nullptr));
    threads = ValueOf(runtime::MakeLocalBackend(registry, {.max_workers = 2, .memory = memory}));
  }
};

DistributionOptions Options(bool broadcast) {
  return {.num_partitions = 4,
          .partition_bytes = 1 << 14,
          .min_part_bytes = 1,
          .broadcast_bytes = broadcast ? int64_t{1} << 30 : 0};
}

/// Runs the plan, compares its rows with those of one process.
DistributedStats Checked(const Dataset& dataset, const DistributionOptions& options) {
  const Plan plan = ValueOf(dataset.plan());
  INFO(ValueOf(ExplainDistributed(plan, options)));
  Workers workers;
  const auto result = ValueOf(ExecuteDistributed({}, *workers.threads, plan, options));
  CHECK_TABLE_EQ(Rows(*result), ValueOf(dataset.Collect({})));
  return result->work();
}

TEST_CASE("a file that several branches read is read once") {
  const Events events;
  Dataset rows = WithLatest(Labels(), events.Read({"k", "t", "a"}), "a", "last_a");
  rows = WithSum(rows, events.Read({"k", "t", "b"}, "b > 3"), "b", "sum_b");
  rows = WithLatest(rows, events.Read({"k", "t", "c"}).Derive("g", "c * 2"), "g", "last_g");
  for (const bool broadcast : {true, false}) {
    const DistributedStats work = Checked(rows, Options(broadcast));
    REQUIRE(work.shared_scans.size() == 1);
    CHECK(work.shared_scans[0].operators.size() == 3);
    CHECK(work.shared_scans[0].rows == kRows);
    int64_t row_groups = 0;
    for (const size_t place : work.shared_scans[0].operators) {
      CHECK(work.operators[place].name == "scan");
      CHECK(work.operators[place].tasks > 1);
      row_groups += work.operators[place].row_groups;
    }
    CHECK(row_groups == kRowGroups);
    CHECK(FormatStats(work).find(Concat("read once for 3 scans: ", kRows, " rows of ")) !=
          std::string::npos);
    const std::string explain =
        ValueOf(ExplainDistributed(ValueOf(rows.plan()), Options(broadcast)));
    CHECK(explain.find("files that are read once for 3 scans") != std::string::npos);
    CHECK((explain.find("branch 2, by hash of k to ") != std::string::npos) == !broadcast);
  }
}

TEST_CASE("branches look at the rows of their own scan, and the row groups of none are left out") {
  const Events events;
  // Each of about 2500 of the 6000 hours, 3000 of them together.
  Dataset rows = WithLatest(
      Labels(),
      events.Read({"k", "t", "a"}, "t >= timestamp '2024-03-01' and t < timestamp '2024-06-10'"),
      "a", "last_a");
  rows = WithLatest(
      rows,
      events.Read({"k", "t", "b"}, "t >= timestamp '2024-03-20' and t < timestamp '2024-06-30'"),
      "b", "last_b");
  const DistributedStats work = Checked(rows, Options(false));
  REQUIRE(work.shared_scans.size() == 1);
  const auto& places = work.shared_scans[0].operators;
  CHECK(work.operators[places[0]].rows == 101 * 24);
  CHECK(work.operators[places[1]].rows == 102 * 24);
  CHECK(work.shared_scans[0].rows == 121 * 24);
  CHECK(work.operators[places[0]].row_groups == kRowGroups);
  CHECK(work.operators[places[0]].row_groups_pruned >= 4);
}

TEST_CASE("scans that would read clearly more together are read apart") {
  const Events events;
  const std::vector<std::string> wide = {"k", "t", "a", "c", "d", "e", "f"};
  const auto shared = [&](const std::string& of_first, const std::string& of_second) {
    Dataset rows = WithLatest(Labels(), events.Read(wide, of_first), "a", "last_a");
    rows = WithLatest(rows, events.Read({"k", "t", "b"}, of_second), "b", "last_b");
    return Checked(rows, Options(false)).shared_scans.size();
  };
  CHECK(shared("", "") == 1);
  CHECK(shared("t < timestamp '2024-05-01'", "t < timestamp '2024-05-02'") == 1);
  CHECK(shared("t > timestamp '2024-03-01' and t < timestamp '2024-03-02'",
               "t > timestamp '2024-01-02' and t < timestamp '2024-03-02'") == 0);
  // Nothing is known of the first one's share.
  CHECK(shared("t > timestamp '2024-03-01'", "") == 0);
  CHECK(shared("t > timestamp '2024-03-01'", "b > 2") == 0);
  CHECK(shared("a > 100", "b > 2") == 1);
}

TEST_CASE("files that are read under other names, or up to a limit, are read apart") {
  const Events events;
  const Dataset first = WithLatest(Labels(), events.Read({"k", "t", "a"}), "a", "last_a");
  const Dataset limited = Dataset::Read({}, events.path).Limit(100).Select({"k", "t", "b"});
  CHECK(Checked(WithLatest(first, limited, "b", "last_b"), Options(true)).shared_scans.empty());
  const auto renamed = ValueOf(OpenScan({}, {events.path}, {.field_mapping = {{"b", "x"}}}));
  CHECK(Checked(WithLatest(first, Dataset(renamed), "x", "x"), Options(true)).shared_scans.empty());
}

TEST_CASE(
    "a union of filters over one file reads it once, and an aggregate of each part is there") {
  const Events events;
  const Dataset both = events.Read({"k", "a"}, "b > 3").Union(events.Read({"k", "a"}, "b < 2"));
  const DistributedStats work =
      Checked(both.Aggregate(
                  {"k"}, {{pit::AggregateFunction::kCount}, {pit::AggregateFunction::kMax, "a"}}),
              Options(true));
  REQUIRE(work.shared_scans.size() == 1);
  CHECK(work.shared_scans[0].rows == kRows);
}

TEST_CASE("a branch that fails ends the task with its error") {
  const Events events;
  Dataset rows = WithLatest(Labels(), events.Read({"k", "t", "a"}), "a", "last_a");
  rows = WithLatest(rows, events.Read({"k", "t", "b"}).Derive("x", "b // (b - b)"), "x", "last_x");
  Workers workers;
  const auto result =
      ExecuteDistributed({}, *workers.threads, ValueOf(rows.plan()), Options(false));
  CHECK_ERROR(result, ErrorKind::kUser, "shared scan");
  CHECK(workers.threads->blocks().stats().blocks == 0);
}

TEST_CASE("branches that are refused memory spill, and the rows stay the same") {
  const Events events;
  const Dataset both = events.Read({"id", "k", "a"}).Union(events.Read({"id", "k", "a"}, "b < 9"));
  const Dataset groups = both.Aggregate(
      {"id"}, {{pit::AggregateFunction::kCount}, {pit::AggregateFunction::kMax, "a"}});
  MemoryBudget memory("test", 200'000);
  Workers workers(&memory);
  const auto result =
      ValueOf(ExecuteDistributed({}, *workers.threads, ValueOf(groups.plan()), Options(true)));
  CHECK(result->work().shared_scans.size() == 1);
  CHECK(result->work().spilled_bytes() > 0);
  CHECK_TABLE_EQ(Rows(*result), ValueOf(groups.Collect({})));
  CHECK(memory.peak() <= 400'000);
}

TEST_CASE("blocks of branches that are lost are made again") {
  const Events events;
  Dataset rows = WithLatest(Labels(), events.Read({"k", "t", "a"}), "a", "last_a");
  rows = WithSum(rows, events.Read({"k", "t", "b"}, "b > 3"), "b", "sum_b");
  const auto expected = ValueOf(rows.Collect({}));
  runtime::StageRegistry registry;
  RequireOk(RegisterPlanStages(registry, nullptr));
  int64_t recomputed = 0;
  for (uint64_t seed = 0; seed < 6; ++seed) {
    INFO("seed ", seed);
    const auto nodes = runtime::MakeSimulatedBackend(
        registry, {.seed = seed, .num_nodes = 3, .faults = runtime::SimulatedFaults::Everything()});
    DistributionOptions options = Options(seed % 2 == 0);
    options.job.retry = {
        .max_attempts = 500, .max_lost_attempts = 500, .first_delay_seconds = 0.01};
    const auto result = ValueOf(ExecuteDistributed({}, *nodes, ValueOf(rows.plan()), options));
    CHECK_TABLE_EQ(Rows(*result), expected);
    REQUIRE(result->work().shared_scans.size() == 1);
    CHECK(result->work().shared_scans[0].rows == kRows);
    recomputed += result->stats().recomputed + result->stats().lost;
  }
  CHECK(recomputed > 0);
}

}  // namespace
}  // namespace gnomon::dataset
