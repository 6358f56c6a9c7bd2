#include <doctest/doctest.h>

#include "runtime/job.h"
#include "runtime/simulated/simulated_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;  // NOLINT

constexpr RetryPolicy kPatient = {.max_attempts = 200, .max_lost_attempts = 200};

struct Run {
  SimulatedStats stats;
  std::vector<std::string> trace;
  JobStats job;
  test::FolderContents folder;
};

Run RunWithSeed(uint64_t seed, const SimulatedFaults& faults) {
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  const auto backend = MakeSimulatedBackend(
      registry, {.seed = seed, .num_nodes = 4, .faults = faults, .keep_trace = true});
  const auto folder = MakeTemporaryFolder();
  const auto result = ValueOf(RunJob({}, *backend, test::WritePlan(folder.path(), 5),
                                     {.retry = kPatient, .speculate_after_seconds = 1}));
  return {backend->stats(), backend->trace(), result.stats, test::ReadFolder(folder.path())};
}

TEST_CASE("a simulated run is the same for the same seed and another for another") {
  const Run run = RunWithSeed(11, SimulatedFaults::Everything());
  CHECK(run.trace == RunWithSeed(11, SimulatedFaults::Everything()).trace);
  CHECK(run.trace != RunWithSeed(12, SimulatedFaults::Everything()).trace);
  CHECK(run.trace.size() > 20);
}

TEST_CASE("each kind of fault happens, and each partition is committed once all the same") {
  SimulatedStats sum;
  JobStats job;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    const Run run = RunWithSeed(seed, SimulatedFaults::Everything());
    CHECK(run.folder.commits == 5);
    CHECK(run.folder.staged == 0);
    CHECK(run.folder.rows.size() == 1200);
    sum.dropped += run.stats.dropped;
    sum.duplicated += run.stats.duplicated;
    sum.delayed += run.stats.delayed;
    sum.killed_nodes += run.stats.killed_nodes;
    sum.lost_fetches += run.stats.lost_fetches;
    sum.executions += run.stats.executions;
    job.tasks += run.job.tasks;
    job.lost += run.job.lost;
    job.recomputed += run.job.recomputed;
    job.speculative += run.job.speculative;
    job.superseded += run.job.superseded;
  }
  CHECK(sum.dropped > 0);
  CHECK(sum.duplicated > 0);
  CHECK(sum.delayed > 0);
  CHECK(sum.killed_nodes > 0);
  CHECK(sum.lost_fetches > 0);
  CHECK(sum.executions > 30 * 11);
  CHECK(job.lost > 0);
  CHECK(job.recomputed > 0);
  CHECK(job.speculative > 0);
  CHECK(job.superseded > 0);
}

TEST_CASE("a partition that is run again for its blocks is not committed again") {
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  int64_t recomputed = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const auto folder = MakeTemporaryFolder();
    JobPlan plan = test::WritePlan(folder.path(), 5);
    plan.stages[2].num_outputs = 1;
    plan.stages.push_back({.name = "all",
                           .function = "mix",
                           .fragment = "sort",
                           .inputs = {{2, Exchange::kBroadcast}},
                           .keep_output = true});
    const auto backend = MakeSimulatedBackend(
        registry, {.seed = seed, .num_nodes = 4, .faults = {.kill_early = 0.2, .kill_late = 0.2}});
    const auto result = ValueOf(RunJob({}, *backend, plan, {.retry = kPatient}));
    recomputed += result.stats.recomputed;
    const auto contents = test::ReadFolder(folder.path());
    CHECK(contents.commits == 5);
    CHECK(contents.staged == 0);
    CHECK(test::RowsOf(*backend, result.outputs[3][0]) == contents.rows);
    backend->Release(result.outputs[3][0]);
  }
  CHECK(recomputed > 0);
}

TEST_CASE("without faults every task runs once") {
  const Run run = RunWithSeed(1, {});
  CHECK(run.job.tasks == 11);
  CHECK(run.stats.executions == 11);
  CHECK(run.job.lost == 0);
  CHECK(run.stats.killed_nodes == 0);
}

TEST_CASE("an actor dies with its node, and the node's successor is another one") {
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  const auto backend = MakeSimulatedBackend(registry, {.num_nodes = 1});
  const NodeId node = backend->Nodes().front().id;
  const ActorId actor = ValueOf(backend->CreateActor({}, node, "counter", "1"));
  CHECK(ValueOf(backend->CallActor({}, actor, "add", "1")) == "2");
  backend->KillNode(node);
  CHECK_ERROR(backend->CallActor({}, actor, "add", "1"), ErrorKind::kUnavailable, "died");
  while (backend->Nodes().empty() || backend->Nodes().front().id == node) {
    RequireOk(backend->Wait({}, {}, WaitFor::kAny, 10).status());
  }
  CHECK(backend->Nodes().size() == 1);
}

TEST_CASE("a task that kills its node each time ends the job") {
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  const auto backend =
      MakeSimulatedBackend(registry, {.faults = {.kill_late = 1, .max_faults = 1000}});
  const auto folder = MakeTemporaryFolder();
  CHECK_ERROR(RunJob({}, *backend, test::WritePlan(folder.path(), 2), {}), ErrorKind::kUnavailable,
              "died");
  CHECK(test::ReadFolder(folder.path()).staged == 0);
}

}  // namespace
}  // namespace gnomon::runtime
