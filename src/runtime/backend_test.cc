// One suite for all backends: what a backend must do, and what a job does on any of them.
#include "runtime/backend.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <thread>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/clock.h"
#include "runtime/job.h"
#include "runtime/journal.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/process.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;           // NOLINT
using namespace gnomon::runtime::test;  // NOLINT

struct World {
  std::string name;
  Backend& backend;
  bool has_faults;
  bool has_processes;
};

constexpr RetryPolicy kPatient = {
    .max_attempts = 200, .max_lost_attempts = 200, .first_delay_seconds = 0.01};

const StageRegistry& TestRegistry() {
  static const StageRegistry registry = [] {
    StageRegistry stages;
    RequireOk(RegisterTestStages(stages));
    return stages;
  }();
  return registry;
}

// Runs `test` on every backend; `memory` limits the blocks in memory, 0: no limit.
void OnEveryBackend(const std::function<void(World)>& test, int64_t memory = 0) {
  const auto on = [&](World world) {
    INFO(world.name);
    test(world);
  };
  for (const Isolation isolation : {Isolation::kThread, Isolation::kProcess}) {
    MemoryBudget budget("test", memory);
    const auto backend =
        ValueOf(MakeLocalBackend(TestRegistry(), {.isolation = isolation,
                                                  .max_workers = 3,
                                                  .memory = &budget,
                                                  .memory_bytes = int64_t{1} << 30,
                                                  .worker_command = TestWorkerCommand(),
                                                  .cancel_grace_seconds = 5}));
    on({backend->name(), *backend, false, isolation == Isolation::kProcess});
    CHECK(backend->blocks().stats().blocks == 0);
  }
  for (const bool has_faults : {false, true}) {
    MemoryBudget budget("test", memory);
    const auto backend = MakeSimulatedBackend(
        TestRegistry(), {.seed = 5,
                         .num_nodes = 3,
                         .faults = has_faults ? SimulatedFaults::Everything() : SimulatedFaults{},
                         .block_memory = memory,
                         .memory = &budget});
    on({has_faults ? "simulated with faults" : "simulated", *backend, has_faults, false});
    CHECK(backend->blocks().stats().blocks == 0);
  }
}

// One stage of one partition.
JobPlan OneStage(const std::string& function, const std::string& fragment, int num_outputs = 1) {
  JobPlan plan{.name = "one", .stages = {}};
  plan.stages.push_back({.name = "only",
                         .function = function,
                         .fragment = fragment,
                         .num_outputs = num_outputs,
                         .keep_output = true});
  return plan;
}

// generate (3 partitions) -> map, shuffled -> sum (4 partitions), and its rows computed plainly.
JobPlan SumPlan() {
  JobPlan plan{.name = "sum", .stages = {}};
  plan.stages.push_back({.name = "source",
                         .function = "generate",
                         .fragment = {},
                         .num_partitions = 3,
                         .arguments = {"1 3000", "2 10", "3 0"}});
  plan.stages.push_back({.name = "map",
                         .function = "mix",
                         .fragment = "map",
                         .num_partitions = 3,
                         .inputs = {{0, Exchange::kOneToOne}},
                         .num_outputs = 4});
  plan.stages.push_back({.name = "sum",
                         .function = "mix",
                         .fragment = "sum",
                         .num_partitions = 4,
                         .inputs = {{1, Exchange::kShuffle}},
                         .keep_output = true});
  return plan;
}

std::vector<std::vector<Row>> ExpectedSums() {
  std::map<int64_t, int64_t> sums;
  for (const auto& [seed, count] : {std::pair(1, 3000), std::pair(2, 10)}) {
    for (const Row& row : GeneratedRows(static_cast<uint64_t>(seed), count)) {
      sums[row.key] += row.value * 31 + row.key;
    }
  }
  std::vector<std::vector<Row>> parts(4);
  for (const auto& [key, sum] : sums) parts[static_cast<size_t>(key) % 4].push_back({key, sum});
  return parts;
}

void CheckSums(const World& world, const JobResult& result) {
  const auto expected = ExpectedSums();
  REQUIRE(result.outputs[2].size() == 4);
  for (size_t partition = 0; partition < 4; ++partition) {
    CAPTURE(partition);
    CHECK(RowsOf(world.backend, result.outputs[2][partition]) == expected[partition]);
    world.backend.Release(result.outputs[2][partition]);
  }
}

TaskOutcome RunOne(const World& world, const Task& task) {
  const auto nodes = world.backend.Nodes();
  REQUIRE(!nodes.empty());
  const TaskId id = ValueOf(world.backend.Submit({}, nodes.front().id, task));
  while (true) {
    auto outcomes = ValueOf(world.backend.Wait({}, std::span(&id, 1), WaitFor::kAll, 60));
    if (!outcomes.empty()) return std::move(outcomes.front());
  }
}

TEST_CASE("a job of map, shuffle and reduce gives the right rows in the right partitions") {
  OnEveryBackend([](World world) {
    CheckSums(world, ValueOf(RunJob({}, world.backend, SumPlan(), {.retry = kPatient})));
  });
}

TEST_CASE("blocks that find no room in memory go to files and the result stays the same") {
  OnEveryBackend(
      [](World world) {
        CheckSums(world, ValueOf(RunJob({}, world.backend, SumPlan(), {.retry = kPatient})));
        int64_t spilled = world.backend.blocks().stats().spilled_bytes;
        if (const auto* simulated = dynamic_cast<SimulatedBackend*>(&world.backend)) {
          spilled += simulated->stats().spilled_bytes;
        }
        CHECK(spilled > 10000);
      },
      20000);
}

TEST_CASE("a task that fails for a while is tried again with the next attempt") {
  OnEveryBackend([](World world) {
    const auto result =
        ValueOf(RunJob({}, world.backend, OneStage("fail", "unavailable 3"), {.retry = kPatient}));
    CHECK(result.stats.failures + (world.has_faults ? result.stats.lost : 0) >= 3);
    if (!world.has_faults) CHECK(result.stats.tasks == 4);
    CHECK(RowsOf(world.backend, result.outputs[0][0]) == std::vector<Row>{{1, 2}});
    world.backend.Release(result.outputs[0][0]);
  });
}

TEST_CASE("a task that fails for ever ends the job after max_attempts") {
  OnEveryBackend([](World world) {
    const Status error = ErrorOf(RunJob(
        {}, world.backend, OneStage("fail", "unavailable 0"),
        {.retry = {.max_attempts = 3, .max_lost_attempts = 200, .first_delay_seconds = 0.001}}));
    CHECK(KindOf(error) == ErrorKind::kUnavailable);
    CHECK(error.message().find("partition 0, attempt") != std::string::npos);
  });
}

TEST_CASE("an error of the user's is not tried again and keeps kind, place and hint") {
  OnEveryBackend([](World world) {
    const Status error =
        ErrorOf(RunJob({}, world.backend, OneStage("fail", "user 0"), {.retry = kPatient}));
    CHECK(KindOf(error) == ErrorKind::kUser);
    CHECK_FALSE(IsRetryable(error));
    CHECK(LocationOf(error).ToString() == "rows.csv:3:7, row 2");
    CHECK(HintOf(error) == "mend the row");
    CHECK(error.message().starts_with("stage 'only', partition 0, attempt "));
  });
}

TEST_CASE("a function that no worker knows is named") {
  OnEveryBackend([](World world) {
    CHECK_ERROR(RunJob({}, world.backend, OneStage("mixx", ""), {.retry = kPatient}),
                ErrorKind::kNotFound, "did you mean 'mix'?");
  });
}

TEST_CASE("a function that gives another number of blocks than its consumer expects is a bug") {
  OnEveryBackend([](World world) {
    CHECK_ERROR(RunJob({}, world.backend, OneStage("careless", "", 2), {.retry = kPatient}),
                ErrorKind::kInternal, "'careless' gave 1 blocks instead of 2");
  });
}

TEST_CASE("a node cannot be asked for more than it has") {
  OnEveryBackend([](World world) {
    JobPlan plan = OneStage("mix", "map");
    plan.stages[0].resources = {.cpus = 1, .gpus = 1};
    CHECK_ERROR(RunJob({}, world.backend, plan, {.retry = kPatient}), ErrorKind::kExhausted,
                "1 CPU, 1 GPU");
  });
}

TEST_CASE("a task reads the driver's blocks, and the driver fetches a task's") {
  OnEveryBackend([](World world) {
    const auto batch = BatchOf({{3, 4}, {1, 2}});
    const auto table = ValueOf(arrow::Table::FromRecordBatches({batch}));
    const BlockDescriptor block = ValueOf(world.backend.blocks().Put(*table));
    Task task{.job = "j",
              .stage = "s",
              .function = "mix",
              .fragment = "sort",
              .argument = {},
              .inputs = {{block, block}},
              .resources = {}};
    TaskOutcome outcome = RunOne(world, task);
    while (outcome.lost) outcome = RunOne(world, task);
    RequireOk(outcome.status);
    auto fetched = world.backend.Fetch({}, outcome.output.blocks[0]);
    while (!fetched.ok()) fetched = world.backend.Fetch({}, outcome.output.blocks[0]);
    CHECK(RowsOf(world.backend, {*fetched}) == std::vector<Row>{{1, 2}, {1, 2}, {3, 4}, {3, 4}});
    world.backend.Release(outcome.output.blocks);
    CHECK(RowsOf(world.backend, {*fetched}).size() == 4);
    world.backend.Release(std::vector{*fetched, block});
    CHECK_ERROR(world.backend.blocks().Open(*fetched), ErrorKind::kNotFound, "is not on node");
  });
}

TEST_CASE("a cancelled task ends and says so") {
  OnEveryBackend([](World world) {
    if (world.has_faults) return;  // a cancellation may be lost there
    const NodeId node = world.backend.Nodes().front().id;
    Task task{.job = "j",
              .stage = "s",
              .function = "wait",
              .fragment = {},
              .argument = {},
              .num_outputs = 0,
              .inputs = {},
              .resources = {}};
    const TaskId id = ValueOf(world.backend.Submit({}, node, task));
    world.backend.Cancel(id);
    const auto outcomes = ValueOf(world.backend.Wait({}, std::span(&id, 1), WaitFor::kAll, 60));
    REQUIRE(outcomes.size() == 1);
    CHECK_ERROR(outcomes[0].status, ErrorKind::kCancelled, "cancelled");
  });
}

TEST_CASE("a job whose context is stopped stops its tasks and leaves nothing") {
  OnEveryBackend([](World world) {
    const auto folder = MakeTemporaryFolder();
    const std::string begun = folder.path() + "/begun";
    std::stop_source stop;
    std::jthread stopper([&] {
      while (!std::filesystem::exists(begun)) std::this_thread::yield();
      stop.request_stop();
    });
    Context context;
    context.stop = stop.get_token();
    CHECK_ERROR(RunJob(context, world.backend, OneStage("wait", begun, 0), {.retry = kPatient}),
                ErrorKind::kCancelled, "cancelled");
  });
}

TEST_CASE("a job ends at its deadline") {
  OnEveryBackend([](World world) {
    const Context context = Context().WithTimeout(0.2);
    CHECK_ERROR(RunJob(context, world.backend, OneStage("wait", "", 0), {.retry = kPatient}),
                ErrorKind::kDeadline, "out of time");
  });
}

TEST_CASE("a worker that dies costs one attempt") {
  OnEveryBackend([](World world) {
    if (!world.has_processes) return;
    const auto result =
        ValueOf(RunJob({}, world.backend, OneStage("crash", ""), {.retry = kPatient}));
    CHECK(result.stats.lost == 1);
    CHECK(result.stats.tasks == 2);
    world.backend.Release(result.outputs[0][0]);
    const Status error = ErrorOf(
        RunJob({}, world.backend, OneStage("crash", ""), {.retry = {.max_lost_attempts = 1}}));
    CHECK(KindOf(error) == ErrorKind::kUnavailable);
    CHECK(error.message().find("a worker process was killed by signal 9") != std::string::npos);
  });
}

TEST_CASE("every partition is committed once, and nothing else is left") {
  OnEveryBackend([](World world) {
    const auto folder = MakeTemporaryFolder();
    const std::string out = folder.path() + "/out";
    const auto result = ValueOf(RunJob({}, world.backend, WritePlan(out, 4),
                                       {.retry = kPatient, .journal = folder.path() + "/journal"}));
    CHECK(result.stats.committed == 4);
    const FolderContents contents = ReadFolder(out);
    CHECK(contents.names == std::vector<std::string>{"part-0", "part-1", "part-2", "part-3"});
    CHECK(contents.commits == 4);
    CHECK(contents.staged == 0);
    CHECK(contents.rows.size() == 1200);
    CHECK(ValueOf(Journal::Read(folder.path() + "/journal")).finished);
  });
}

TEST_CASE("a job with a finished journal does nothing") {
  OnEveryBackend([](World world) {
    const auto folder = MakeTemporaryFolder();
    const JobOptions options{.retry = kPatient, .journal = folder.path() + "/journal"};
    const JobPlan plan = WritePlan(folder.path() + "/out", 2);
    RequireOk(RunJob({}, world.backend, plan, options).status());
    const auto again = ValueOf(RunJob({}, world.backend, plan, options));
    CHECK(again.stats.tasks == 0);
    CHECK(again.stats.resumed == 2);
    CHECK(ReadFolder(folder.path() + "/out").commits == 2);
    CHECK_ERROR(RunJob({}, world.backend, WritePlan(folder.path() + "/out", 3), options),
                ErrorKind::kConflict, "another plan");
  });
}

TEST_CASE("a straggler's second attempt wins, and one of the two is committed") {
  OnEveryBackend([](World world) {
    if (world.has_faults) return;  // attempts are numbered differently there
    if (dynamic_cast<SimulatedBackend*>(&world.backend) != nullptr) return;  // no time in functions
    const auto folder = MakeTemporaryFolder();
    const std::string out = folder.path() + "/out";
    JobPlan plan = WritePlan(out, 2);
    plan.stages[2].function = "straggle";
    const auto result = ValueOf(RunJob({}, world.backend, plan, {.speculate_after_seconds = 0.1}));
    CHECK(result.stats.speculative >= 2);
    CHECK(ReadFolder(out).commits == 2);
    CHECK(ReadFolder(out).staged == 0);
  });
}

TEST_CASE("an actor keeps its state from call to call, and its errors keep kind, place and hint") {
  OnEveryBackend([](World world) {
    if (world.has_faults) return;  // nodes die, and actors with them
    const NodeId node = world.backend.Nodes().front().id;
    const ActorId one = ValueOf(world.backend.CreateActor({}, node, "counter", "10"));
    const ActorId other = ValueOf(world.backend.CreateActor({}, node, "counter", "0"));
    CHECK(ValueOf(world.backend.CallActor({}, one, "add", "5")) == "15");
    CHECK(ValueOf(world.backend.CallActor({}, other, "add", "1")) == "1");
    CHECK(ValueOf(world.backend.CallActor({}, one, "add", "5")) == "20");
    const Status error = ErrorOf(world.backend.CallActor({}, one, "fail", ""));
    CHECK_ERROR(error, ErrorKind::kNotFound, "no method fail");
    CHECK(LocationOf(error).ToString() == "actor:5");
    CHECK(HintOf(error) == "call add");
    CHECK_ERROR(world.backend.CreateActor({}, node, "countr", ""), ErrorKind::kNotFound,
                "did you mean 'counter'?");
    world.backend.KillActor(one);
    CHECK_ERROR(world.backend.CallActor({}, one, "add", "5"), ErrorKind::kNotFound,
                "no such actor");
    CHECK(ValueOf(world.backend.CallActor({}, other, "add", "1")) == "2");
    if (!world.has_processes) return;
    CHECK_ERROR(world.backend.CallActor({}, other, "crash", ""), ErrorKind::kUnavailable,
                "signal 9");
    CHECK_ERROR(world.backend.CallActor({}, other, "add", "1"), ErrorKind::kUnavailable, "ended");
  });
}

TEST_CASE("a call of an actor ends with its caller") {
  OnEveryBackend([](World world) {
    if (world.has_faults) return;
    const NodeId node = world.backend.Nodes().front().id;
    const ActorId actor = ValueOf(world.backend.CreateActor({}, node, "counter", "0"));
    const Status error =
        ErrorOf(world.backend.CallActor(Context().WithTimeout(0.05), actor, "wait", ""));
    CHECK(KindOf(error) == ErrorKind::kDeadline);
  });
}

}  // namespace
}  // namespace gnomon::runtime
