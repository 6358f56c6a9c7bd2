#include "runtime/job.h"

#include <algorithm>
#include <set>
#include <utility>

#include <doctest/doctest.h>

#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;  // NOLINT

struct Threads {
  StageRegistry registry;
  std::unique_ptr<Backend> backend;

  explicit Threads(int max_workers, int64_t memory_bytes = int64_t{1} << 30) {
    RequireOk(test::RegisterTestStages(registry));
    backend = ValueOf(
        MakeLocalBackend(registry, {.max_workers = max_workers, .memory_bytes = memory_bytes}));
  }
};

// Tasks that fail when more than `most` of them run at once.
JobPlan BusyPlan(const std::string& folder, int num_partitions, int most, Resources resources) {
  JobPlan plan{.name = "busy", .stages = {}};
  plan.stages.push_back({.name = "busy",
                         .function = "busy",
                         .fragment = folder,
                         .num_partitions = num_partitions,
                         .arguments = std::vector<std::string>(static_cast<size_t>(num_partitions),
                                                               std::to_string(most)),
                         .resources = std::move(resources)});
  return plan;
}

TEST_CASE("a node runs as many tasks at once as their memory allows") {
  Threads threads(4, 1000);
  const auto folder = MakeTemporaryFolder();
  CHECK_OK(RunJob({}, *threads.backend,
                  BusyPlan(folder.path(), 12, 2, {.cpus = 1, .memory_bytes = 400})));
  CHECK_OK(RunJob({}, *threads.backend,
                  BusyPlan(folder.path(), 6, 1, {.cpus = 1, .memory_bytes = 501})));
  CHECK_ERROR(RunJob({}, *threads.backend,
                     BusyPlan(folder.path(), 1, 1, {.cpus = 1, .memory_bytes = 1001})),
              ErrorKind::kExhausted, "1001 B memory");
}

TEST_CASE("a node runs as many tasks at once as it has CPUs") {
  Threads threads(3);
  const auto folder = MakeTemporaryFolder();
  CHECK_OK(RunJob({}, *threads.backend, BusyPlan(folder.path(), 20, 3, {.cpus = 1})));
  CHECK_OK(RunJob({}, *threads.backend, BusyPlan(folder.path(), 6, 1, {.cpus = 2})));
}

TEST_CASE("sources wait while many bytes wait for their consumers") {
  const auto most_bytes = [](int64_t max_waiting_bytes) {
    StageRegistry registry;
    RequireOk(test::RegisterTestStages(registry));
    MemoryBudget budget("test");
    const auto backend = ValueOf(MakeLocalBackend(registry, {.max_workers = 2, .memory = &budget}));
    JobPlan plan{.name = "chain", .stages = {}};
    plan.stages.push_back({.name = "source",
                           .function = "generate",
                           .fragment = {},
                           .num_partitions = 40,
                           .arguments = std::vector<std::string>(40, "1 20000")});
    plan.stages.push_back({.name = "sum",
                           .function = "mix",
                           .fragment = "sum",
                           .num_partitions = 40,
                           .inputs = {{0, Exchange::kOneToOne}}});
    RequireOk(RunJob({}, *backend, plan, {.max_waiting_bytes = max_waiting_bytes}).status());
    CHECK(budget.used() == 0);
    return budget.peak();
  };
  // A source's block takes 320 kB; consumers come first, so few wait at any time.
  CHECK(most_bytes(1) < 5 * 330000);
  CHECK(most_bytes(int64_t{1} << 40) < 5 * 330000);
}

TEST_CASE("blocks are released as soon as their last consumer has read them") {
  Threads threads(2);
  const auto folder = MakeTemporaryFolder();
  CHECK_OK(RunJob({}, *threads.backend, test::WritePlan(folder.path(), 3)));
  CHECK(threads.backend->blocks().stats().blocks == 0);
  CHECK(threads.backend->blocks().stats().bytes == 0);
}

// A FolderSink on a disk that is full for one partition.
class FullSink : public Sink {
 public:
  explicit FullSink(std::shared_ptr<Sink> inner) : inner_(std::move(inner)) {}
  Status Commit(const Context& context, std::string_view token) override {
    if (token.starts_with("1 ")) return Error(ErrorKind::kExhausted, "no space left");
    return inner_->Commit(context, token);
  }
  Status Abort(const Context& context, std::string_view token) override {
    return inner_->Abort(context, token);
  }
  Status Clean(const Context& context, std::span<const std::string> pending) override {
    return inner_->Clean(context, pending);
  }

 private:
  const std::shared_ptr<Sink> inner_;
};

TEST_CASE("a chosen attempt whose commit failed is kept for the next run of the job") {
  Threads threads(1);
  const auto folder = MakeTemporaryFolder();
  const std::string out = folder.path() + "/out";
  const JobOptions options{.journal = folder.path() + "/journal"};
  JobPlan plan = test::WritePlan(out, 4);
  plan.stages[2].sink = std::make_shared<FullSink>(plan.stages[2].sink);
  CHECK_ERROR(RunJob({}, *threads.backend, plan, options), ErrorKind::kExhausted,
              "commit of stage 'write', partition 1: no space left");
  CHECK(test::ReadFolder(out).commits == 1);
  CHECK(test::ReadFolder(out).staged == 1);
  CHECK(threads.backend->blocks().stats().blocks == 0);
  const auto result = ValueOf(RunJob({}, *threads.backend, test::WritePlan(out, 4), options));
  CHECK(result.stats.resumed == 2);
  CHECK(result.stats.committed == 2);
  CHECK(test::ReadFolder(out).commits == 4);
  CHECK(test::ReadFolder(out).staged == 0);
  CHECK(test::ReadFolder(out).rows.size() == 1200);
}

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(Backend& inner) : inner_(inner) {}
  std::string name() const override { return inner_.name(); }
  std::vector<NodeInfo> Nodes() const override { return inner_.Nodes(); }
  double Now() const override { return inner_.Now(); }
  Result<TaskId> Submit(const Context& context, NodeId node, const Task& task) override {
    return inner_.Submit(context, node, task);
  }
  Result<std::vector<TaskOutcome>> Wait(const Context& context, std::span<const TaskId> tasks,
                                        WaitFor wait_for, double seconds) override {
    return inner_.Wait(context, tasks, wait_for, seconds);
  }
  void Cancel(TaskId task) override { inner_.Cancel(task); }
  BlockStore& blocks() override { return inner_.blocks(); }
  Result<BlockDescriptor> Fetch(const Context& context, const BlockDescriptor& block) override {
    return inner_.Fetch(context, block);
  }
  void Release(std::span<const BlockDescriptor> blocks) override { inner_.Release(blocks); }
  Result<ActorId> CreateActor(const Context& context, NodeId node, const std::string& type,
                              std::string_view arguments) override {
    return inner_.CreateActor(context, node, type, arguments);
  }
  Result<std::string> CallActor(const Context& context, ActorId actor, std::string_view method,
                                std::string_view payload) override {
    return inner_.CallActor(context, actor, method, payload);
  }
  void KillActor(ActorId actor) override { inner_.KillActor(actor); }

 private:
  Backend& inner_;
};

// Gives the outcomes of all tasks at once.
class AllAtOnce : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  Result<std::vector<TaskOutcome>> Wait(const Context& context, std::span<const TaskId> tasks,
                                        WaitFor, double seconds) override {
    num_waits_ += 1;
    return ForwardingBackend::Wait(context, tasks, WaitFor::kAll, seconds);
  }
  int num_waits() const { return num_waits_; }

 private:
  int num_waits_ = 0;
};

TEST_CASE("a job that fails gives up what ended together with the failure, and waits for no more") {
  Threads threads(2);
  AllAtOnce backend(*threads.backend);
  JobPlan plan{.name = "failing", .stages = {}};
  plan.stages.push_back({.name = "bad", .function = "fail", .fragment = "user 0"});
  plan.stages.push_back(
      {.name = "good", .function = "generate", .fragment = {}, .arguments = {"1 100"}});
  for (const bool good_first : {false, true}) {
    if (good_first) std::swap(plan.stages[0], plan.stages[1]);
    CHECK_ERROR(RunJob({}, backend, plan), ErrorKind::kUser, "attempt 1 fails");
    CHECK(backend.blocks().stats().blocks == 0);
  }
  CHECK(backend.num_waits() == 2);
}

// Kills the node that got the n-th task, for the numbers it is given.
class Killer : public ForwardingBackend {
 public:
  Killer(SimulatedBackend& inner, std::set<int> deadly)
      : ForwardingBackend(inner), simulated_(inner), deadly_(std::move(deadly)) {}
  Result<TaskId> Submit(const Context& context, NodeId node, const Task& task) override {
    auto id = ForwardingBackend::Submit(context, node, task);
    if (deadly_.contains(++num_submitted_)) simulated_.KillNode(node);
    return id;
  }
  int num_submitted() const { return num_submitted_; }

 private:
  SimulatedBackend& simulated_;
  const std::set<int> deadly_;
  int num_submitted_ = 0;
};

TEST_CASE("lost attempts are counted from the last one that won, whose blocks a later loss took") {
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  JobPlan plan{.name = "chain", .stages = {}};
  plan.stages.push_back(
      {.name = "source", .function = "generate", .fragment = {}, .arguments = {"1 100"}});
  for (const char* name : {"middle", "end"}) {
    plan.stages.push_back({.name = name,
                           .function = "mix",
                           .fragment = "map",
                           .inputs = {{static_cast<int>(plan.stages.size()) - 1}}});
  }
  plan.stages.back().keep_output = true;
  const JobOptions options{.retry = {.max_lost_attempts = 3, .first_delay_seconds = 0.01}};
  // One node: with it all blocks are lost. Of the tasks these are the source's but for the third,
  // which is the middle's, and the seventh, the end's.
  const auto one = MakeSimulatedBackend(registry, {.num_nodes = 1});
  Killer often(*one, {1, 3, 4, 7, 8});
  const JobResult result = ValueOf(RunJob({}, often, plan, options));
  CHECK(often.num_submitted() == 11);
  CHECK(result.stats.lost == 5);
  one->Release(result.outputs[2][0]);

  const auto other = MakeSimulatedBackend(registry, {.num_nodes = 1});
  Killer in_a_row(*other, {1, 2, 3});
  CHECK_ERROR(RunJob({}, in_a_row, plan, options), ErrorKind::kUnavailable, "attempt 3");
}

TEST_CASE("a consumer reads the outputs that its edge knows, and no others") {
  Threads threads(2);
  JobPlan plan{.name = "outputs", .stages = {}};
  plan.stages.push_back({.name = "source",
                         .function = "generate",
                         .fragment = {},
                         .num_partitions = 3,
                         .arguments = {"1 100", "2 200", "3 0"}});
  plan.stages.push_back({.name = "dealt",
                         .function = "mix",
                         .fragment = "map",
                         .num_partitions = 3,
                         .inputs = {{0, Exchange::kOneToOne}},
                         .num_outputs = 5});
  // Two of the outputs one to a partition, the other three together.
  plan.stages.push_back({.name = "two",
                         .function = "mix",
                         .fragment = "sort",
                         .num_partitions = 2,
                         .inputs = {{1, Exchange::kShuffle, 0, 2}},
                         .keep_output = true});
  plan.stages.push_back({.name = "three",
                         .function = "mix",
                         .fragment = "sort",
                         .inputs = {{1, Exchange::kBroadcast, 2}},
                         .keep_output = true});
  plan.stages.push_back({.name = "all",
                         .function = "mix",
                         .fragment = "sort",
                         .inputs = {{1, Exchange::kBroadcast}},
                         .keep_output = true});
  const JobResult result = ValueOf(RunJob({}, *threads.backend, plan));
  std::vector<test::Row> parts;
  for (const size_t stage : {size_t{2}, size_t{3}}) {
    size_t rows = 0;
    for (const auto& blocks : result.outputs[stage]) {
      const auto read = test::RowsOf(*threads.backend, blocks);
      parts.insert(parts.end(), read.begin(), read.end());
      rows += read.size();
    }
    CHECK(rows > 0);
    CHECK(rows < 300);
  }
  std::ranges::sort(parts);
  auto all = test::RowsOf(*threads.backend, result.outputs[4][0]);
  std::ranges::sort(all);
  CHECK(all.size() == 300);
  CHECK(parts == all);
  for (const auto& partitions : result.outputs) {
    for (const auto& blocks : partitions) threads.backend->Release(blocks);
  }
}

TEST_CASE("a plan whose stages do not fit together is refused") {
  Threads threads(1);
  const auto folder = MakeTemporaryFolder();
  const auto error = [&](const std::function<void(JobPlan&)>& change) {
    JobPlan plan = test::WritePlan(folder.path(), 2);
    change(plan);
    return RunJob({}, *threads.backend, plan).status();
  };
  CHECK_ERROR(error([](JobPlan& plan) { plan.stages[1].name = "source"; }), ErrorKind::kInternal,
              "the name is taken");
  CHECK_ERROR(error([](JobPlan& plan) {
                plan.stages[0].inputs = {{2, Exchange::kShuffle}};
              }),
              ErrorKind::kInternal, "does not stand before it");
  CHECK_ERROR(error([](JobPlan& plan) { plan.stages[1].num_outputs = 3; }), ErrorKind::kInternal,
              "another number of outputs");
  CHECK_ERROR(error([](JobPlan& plan) { plan.stages[2].inputs[0].first_output = 1; }),
              ErrorKind::kInternal, "another number of outputs");
  CHECK_ERROR(error([](JobPlan& plan) { plan.stages[2].inputs[0].num_outputs = 3; }),
              ErrorKind::kInternal, "outputs that a stage does not have");
  CHECK_ERROR(error([](JobPlan& plan) { plan.stages[1].num_partitions = 2; }), ErrorKind::kInternal,
              "another number of partitions");
  CHECK_ERROR(error([](JobPlan& plan) { plan.stages[0].arguments.pop_back(); }),
              ErrorKind::kInternal, "one argument");
  CHECK_ERROR(error([](JobPlan& plan) { plan.stages[2].function = "mix"; }), ErrorKind::kUser,
              "unknown operation");
}

TEST_CASE("the fingerprint of a plan changes with all that decides its result") {
  const auto folder = MakeTemporaryFolder();
  const JobPlan plan = test::WritePlan(folder.path(), 2);
  CHECK(plan.Fingerprint() == test::WritePlan(folder.path(), 2).Fingerprint());
  JobPlan other = plan;
  other.stages[0].arguments[2] = "3 701";
  CHECK(other.Fingerprint() != plan.Fingerprint());
  other = plan;
  other.stages[1].inputs[0].exchange = Exchange::kBroadcast;
  CHECK(other.Fingerprint() != plan.Fingerprint());
  other = plan;
  other.stages[1].inputs[0].num_outputs = 1;
  CHECK(other.Fingerprint() != plan.Fingerprint());
  other = plan;
  other.stages[1].fragment = "sort";
  CHECK(other.Fingerprint() != plan.Fingerprint());
}

}  // namespace
}  // namespace gnomon::runtime
