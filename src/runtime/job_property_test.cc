// Random graphs of deterministic stages give the same bytes on one node and on many nodes with
// faults. GNOMON_TEST_SEED=<seed> replays one graph.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include <arrow/buffer.h>
#include <doctest/doctest.h>

#include "runtime/job.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;  // NOLINT

constexpr RetryPolicy kPatient = {
    .max_attempts = 500, .max_lost_attempts = 500, .first_delay_seconds = 0.01};

class GraphMaker {
 public:
  explicit GraphMaker(uint64_t seed) : engine_(seed) {}

  JobPlan Make() {
    plan_.name = "random";
    const int num_stages = Int(2, 7);
    for (int stage = 0; stage < num_stages; ++stage) AddStage(stage);
    // The last one ends all.
    plan_.stages.back().keep_output = true;
    return std::move(plan_);
  }

 private:
  int Int(int low, int high) {
    return low + static_cast<int>(engine_() % static_cast<uint64_t>(high - low + 1));
  }

  void AddStage(int index) {
    StageSpec stage{.name = "stage" + std::to_string(index), .function = "mix", .fragment = {}};
    const char* const operations[] = {"map", "sum", "sort"};
    stage.fragment = operations[Int(0, 2)];
    stage.num_outputs = Int(1, 4);
    stage.keep_output = Int(0, 3) == 0;
    if (index == 0 || Int(0, 4) == 0) {
      stage.function = "generate";
      stage.num_partitions = Int(1, 5);
      for (int i = 0; i < stage.num_partitions; ++i) {
        stage.arguments.push_back(std::to_string(engine_() % 1000) + " " +
                                  std::to_string(Int(0, 3) == 0 ? 0 : Int(1, 400)));
      }
    } else {
      AddInputs(index, &stage);
    }
    plan_.stages.push_back(std::move(stage));
  }

  void AddInputs(int index, StageSpec* stage) {
    const int num_inputs = Int(1, 3);
    for (int i = 0; i < num_inputs; ++i) {
      const int from = i == 0 ? index - 1 : Int(0, index - 1);
      const StageSpec& source = plan_.stages[static_cast<size_t>(from)];
      const Exchange exchange = static_cast<Exchange>(Int(0, 2));
      StageEdge edge{.from = from, .exchange = Exchange::kBroadcast};
      if (Int(0, 2) == 0) {
        edge.first_output = Int(0, source.num_outputs - 1);
        edge.num_outputs = Int(0, source.num_outputs - edge.first_output);
      }
      const int outputs =
          edge.num_outputs > 0 ? edge.num_outputs : source.num_outputs - edge.first_output;
      const int partitions = exchange == Exchange::kOneToOne  ? source.num_partitions
                             : exchange == Exchange::kShuffle ? outputs
                                                              : Int(1, 4);
      if (i == 0) stage->num_partitions = partitions;
      const bool fits = exchange == Exchange::kBroadcast || partitions == stage->num_partitions;
      if (fits) edge.exchange = exchange;
      stage->inputs.push_back(edge);
    }
  }

  std::mt19937_64 engine_;
  JobPlan plan_;
};

// The bytes of all results, in order.
std::vector<std::string> BytesOf(Backend& backend, const JobResult& result) {
  std::vector<std::string> bytes;
  for (const auto& partitions : result.outputs) {
    for (const auto& blocks : partitions) {
      for (const BlockDescriptor& block : blocks) {
        bytes.push_back(ValueOf(backend.blocks().Bytes(block))->ToString());
      }
      backend.Release(blocks);
    }
  }
  return bytes;
}

TEST_CASE("random graphs give the same bytes on one node and on many with faults") {
  const char* replay = std::getenv("GNOMON_TEST_SEED");
  const uint64_t first = replay != nullptr ? std::strtoull(replay, nullptr, 10) : 1000;
  const uint64_t count = replay != nullptr ? 1 : 60;
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  const auto one = ValueOf(MakeLocalBackend(registry, {.max_workers = 1}));
  for (uint64_t seed = first; seed < first + count; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    const JobPlan plan = GraphMaker(seed).Make();
    const auto expected = BytesOf(*one, ValueOf(RunJob({}, *one, plan)));
    CHECK(!expected.empty());
    const auto many = MakeSimulatedBackend(registry, {.seed = seed,
                                                      .num_nodes = 1 + static_cast<int>(seed % 5),
                                                      .faults = SimulatedFaults::Everything(),
                                                      .block_memory = seed % 2 == 0 ? 3000 : 0});
    auto result = ValueOf(RunJob({}, *many, plan,
                                 {.retry = kPatient,
                                  .speculate_after_seconds = 1.5,
                                  .max_waiting_bytes = seed % 3 == 0 ? 1 : 0}));
    REQUIRE(BytesOf(*many, result) == expected);
    CHECK(many->blocks().stats().blocks == 0);
    CHECK(one->blocks().stats().blocks == 0);
  }
}

// Children of this process.
std::vector<pid_t> Children() {
  std::vector<pid_t> children;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "children");
    for (pid_t child = 0; file >> child;) children.push_back(child);
  }
  return children;
}

int64_t NumOpenFiles() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

// A handle of one child, which no other process can come to mean.
FileDescriptor HandleOf(pid_t child) {
  FileDescriptor handle(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const auto children = Children();
  const bool is_ours = std::ranges::find(children, child) != children.end();
  return is_ours ? std::move(handle) : FileDescriptor();
}

bool Signal(const FileDescriptor& process, int signal) {
  return ::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) == 0;
}

// Stops one worker after the other, and kills it a moment later. In the end they are left alone: a
// machine may be too slow to start one between two kills.
class Killer {
 public:
  explicit Killer(uint64_t seed)
      : thread_([this, seed](const std::stop_token& stop) {
          std::mt19937_64 engine(seed);
          while (!stop.stop_requested() && kills_ < kMostKills) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5 + engine() % 40));
            const auto children = Children();
            if (children.empty()) continue;
            const FileDescriptor victim = HandleOf(children[engine() % children.size()]);
            if (!victim.is_open()) continue;
            if (engine() % 2 == 0 && Signal(victim, SIGSTOP)) {
              std::this_thread::sleep_for(std::chrono::milliseconds(engine() % 20));
            }
            if (Signal(victim, SIGKILL)) ++kills_;
          }
        }) {}
  int kills() const { return kills_; }

 private:
  static constexpr int kMostKills = 12;

  std::atomic<int> kills_ = 0;
  std::jthread thread_;
};

TEST_CASE("random graphs give the same bytes on worker processes that are killed") {
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  const auto one = ValueOf(MakeLocalBackend(registry, {.max_workers = 1}));
  const int64_t open_files = NumOpenFiles();
  int kills = 0;
  for (uint64_t seed = 2000; seed < 2005; ++seed) {
    CAPTURE(seed);
    const JobPlan plan = GraphMaker(seed).Make();
    const auto expected = BytesOf(*one, ValueOf(RunJob({}, *one, plan)));
    const auto workers =
        ValueOf(MakeLocalBackend(registry, {.isolation = Isolation::kProcess,
                                            .max_workers = 3,
                                            .worker_command = test::TestWorkerCommand(),
                                            .cancel_grace_seconds = 0.1}));
    Killer killer(seed);
    auto result = ValueOf(RunJob({}, *workers, plan, {.retry = kPatient}));
    kills += killer.kills();
    REQUIRE(BytesOf(*workers, result) == expected);
    CHECK(workers->blocks().stats().blocks == 0);
  }
  CHECK(kills > 0);
  CHECK(Children().empty());
  CHECK(NumOpenFiles() <= open_files);
}

}  // namespace
}  // namespace gnomon::runtime
