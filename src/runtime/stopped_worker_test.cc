// Workers that neither die nor answer: stopped by a signal, as a debugger does and a full machine.
#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "runtime/local/local_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/status.h"

namespace gnomon::runtime::test {
namespace {

using gnomon::test::RequireOk;
using gnomon::test::ValueOf;

// More than the socket holds.
constexpr size_t kLargeFragment = size_t{8} << 20;
constexpr double kLongEnough = 20;

Task TaskOf(const std::string& function, std::string fragment = {}) {
  return {.job = "j",
          .stage = "s",
          .function = function,
          .fragment = std::move(fragment),
          .argument = {},
          .num_outputs = 1,
          .inputs = {},
          .resources = {}};
}

// One worker process.
struct OneWorker {
  explicit OneWorker(double stall_seconds) {
    RequireOk(RegisterTestStages(registry));
    backend = ValueOf(MakeLocalBackend(registry, {.isolation = Isolation::kProcess,
                                                  .max_workers = 1,
                                                  .worker_command = TestWorkerCommand(),
                                                  .cancel_grace_seconds = 0.2,
                                                  .stall_seconds = stall_seconds}));
  }
  // However the test ends, its worker goes on.
  ~OneWorker() {
    if (stopped > 0) ::kill(stopped, SIGCONT);
  }

  std::optional<TaskOutcome> OutcomeOf(TaskId id) {
    auto outcomes = ValueOf(backend->Wait({}, std::span(&id, 1), WaitFor::kAll, kLongEnough));
    if (outcomes.empty()) return std::nullopt;
    return std::move(outcomes.front());
  }
  TaskId Submit(const Task& task) {
    return ValueOf(backend->Submit({}, backend->Nodes().front().id, task));
  }
  // The id of the worker's process.
  pid_t Who() {
    const auto outcome = OutcomeOf(Submit(TaskOf("who")));
    REQUIRE(outcome.has_value());
    RequireOk(outcome->status);
    const auto rows = RowsOf(*backend, outcome->output.blocks);
    backend->Release(outcome->output.blocks);
    return static_cast<pid_t>(rows.at(0).value);
  }
  void StopWorker() {
    stopped = Who();
    REQUIRE(::kill(stopped, SIGSTOP) == 0);
  }

  StageRegistry registry;
  std::unique_ptr<Backend> backend;
  pid_t stopped = 0;
};

TEST_CASE("a task whose worker does not read it can be cancelled") {
  OneWorker world(/*stall_seconds=*/60);
  world.StopWorker();
  // A task that is cancelled before any of it is sent leaves the worker as it is: then once more.
  const auto is_there = [&] { return ::kill(world.stopped, 0) == 0; };
  for (auto before_cancel = std::chrono::milliseconds(1); is_there(); before_cancel *= 2) {
    REQUIRE(before_cancel < std::chrono::seconds(20));
    const TaskId id = world.Submit(TaskOf("mix", std::string(kLargeFragment, 'x')));
    std::this_thread::sleep_for(before_cancel);
    world.backend->Cancel(id);
    const auto outcome = world.OutcomeOf(id);
    REQUIRE(outcome.has_value());
    CHECK_ERROR(outcome->status, ErrorKind::kCancelled, "cancelled");
    CHECK_FALSE(outcome->lost);
  }
  CHECK(world.Who() != world.stopped);
}

TEST_CASE("a worker that takes nothing of a task is replaced, and its task is lost") {
  OneWorker world(/*stall_seconds=*/0.2);
  world.StopWorker();
  const auto outcome =
      world.OutcomeOf(world.Submit(TaskOf("mix", std::string(kLargeFragment, 'x'))));
  REQUIRE(outcome.has_value());
  CHECK(outcome->lost);
  CHECK_ERROR(outcome->status, ErrorKind::kUnavailable, "took nothing for");
  CHECK(world.Who() != world.stopped);
}

TEST_CASE("a worker that is stopped while it works is killed when its task is cancelled") {
  OneWorker world(/*stall_seconds=*/60);
  const pid_t worker = world.Who();
  const TaskId id = world.Submit(TaskOf("wait"));
  world.stopped = worker;
  REQUIRE(::kill(worker, SIGSTOP) == 0);
  world.backend->Cancel(id);
  const auto outcome = world.OutcomeOf(id);
  REQUIRE(outcome.has_value());
  CHECK_ERROR(outcome->status, ErrorKind::kCancelled, "cancelled");
}

TEST_CASE("a worker that ends before it is ready is told at once") {
  StageRegistry registry;
  const auto backend = ValueOf(MakeLocalBackend(
      registry, {.isolation = Isolation::kProcess, .max_workers = 1, .worker_command = {"false"}}));
  const TaskId id = ValueOf(backend->Submit({}, backend->Nodes().front().id, TaskOf("who")));
  const auto outcomes = ValueOf(backend->Wait({}, std::span(&id, 1), WaitFor::kAll, kLongEnough));
  REQUIRE(outcomes.size() == 1);
  CHECK_ERROR(outcomes[0].status, ErrorKind::kUnavailable, "exited with code 1");
}

}  // namespace
}  // namespace gnomon::runtime::test
