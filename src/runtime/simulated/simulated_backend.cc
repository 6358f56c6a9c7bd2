#include "runtime/simulated/simulated_backend.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "base/text.h"
#include "runtime/file_descriptor.h"
#include "runtime/simulated/simulated_node_internal.h"
#include "runtime/simulated/virtual_time_internal.h"

namespace gnomon::runtime {

namespace {

// Virtual seconds.
constexpr double kMessageSeconds = 0.001;
constexpr double kTaskSeconds = 0.02;
constexpr double kDetectionSeconds = 0.2;
constexpr double kReplacementSeconds = 0.5;
constexpr double kResendSeconds = 2;

struct Flight {
  NodeId node = 0;
  std::string task;  // bytes
};

class Cluster : public SimulatedBackend {
 public:
  Cluster(const StageRegistry& registry, const SimulatedOptions& options)
      : registry_(registry),
        options_(options),
        random_(options.seed),
        driver_store_(
            {.node = kDriverNode, .memory = options.memory, .spill_folder = options.spill_folder}) {
    for (int i = 0; i < options_.num_nodes; ++i) AddNode();
  }

  std::string name() const override { return Concat("simulated (", options_.num_nodes, " nodes)"); }

  std::vector<NodeInfo> Nodes() const override {
    std::vector<NodeInfo> nodes;
    for (const NodeId id : known_) {
      nodes.push_back({.id = id, .name = Concat("node-", id), .capacity = options_.capacity});
    }
    return nodes;
  }

  double Now() const override { return time_.now(); }

  Result<TaskId> Submit(const Context& context, NodeId node, const Task& task) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    if (!known_.contains(node)) return Error(ErrorKind::kUnavailable, "no such node: ", node);
    const TaskId id = ++last_task_;
    flights_[id] = {.node = node, .task = EncodeTask(task)};
    SendTask(id);
    return id;
  }

  Result<std::vector<TaskOutcome>> Wait(const Context& context, std::span<const TaskId> tasks,
                                        WaitFor wait_for, double seconds) override {
    const double end = time_.now() + seconds;
    caller_.stop = context.stop;
    caller_.deadline = context.deadline;
    while (true) {
      GNOMON_RETURN_NOT_OK(context.Check());
      const auto count =
          std::ranges::count_if(tasks, [&](TaskId id) { return ended_.contains(id); });
      const bool is_enough =
          wait_for == WaitFor::kAny ? count > 0 : std::cmp_equal(count, tasks.size());
      if ((is_enough && !tasks.empty()) || std::exchange(nodes_changed_, false)) break;
      if (time_.is_empty() || time_.next() > end) {
        time_.PassTo(end);
        break;
      }
      time_.RunNext();
    }
    std::vector<TaskOutcome> outcomes;
    for (const TaskId id : tasks) {
      if (auto ended = ended_.extract(id)) outcomes.push_back(std::move(ended.mapped()));
    }
    return outcomes;
  }

  void Cancel(TaskId task) override {
    const auto flight = flights_.find(task);
    if (flight == flights_.end()) return;
    Send(Concat("cancel ", task), [this, task, node = flight->second.node] {
      if (SimulatedNode* there = Find(node)) there->Cancel(task);
    });
  }

  BlockStore& blocks() override { return driver_store_; }

  Result<BlockDescriptor> Fetch(const Context& context, const BlockDescriptor& block) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    return Carry(block, driver_store_);
  }

  void Release(std::span<const BlockDescriptor> blocks) override {
    for (const BlockDescriptor& block : blocks) {
      if (block.node == kDriverNode) driver_store_.Release(block);
      if (SimulatedNode* node = Find(block.node)) node->store().Release(block);
    }
  }

  Result<ActorId> CreateActor(const Context& context, NodeId node, const std::string& type,
                              std::string_view arguments) override {
    SimulatedNode* there = Find(node);
    if (there == nullptr) return Error(ErrorKind::kUnavailable, "no such node: ", node);
    GNOMON_ASSIGN_OR_RETURN(const ActorFactory* factory, registry_.FindActor(type));
    GNOMON_ASSIGN_OR_RETURN(auto actor, (*factory)(context, arguments));
    there->actors()[++last_actor_] = std::move(actor);
    actor_nodes_[last_actor_] = node;
    return last_actor_;
  }

  Result<std::string> CallActor(const Context& context, ActorId actor, std::string_view method,
                                std::string_view payload) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    const auto place = actor_nodes_.find(actor);
    if (place == actor_nodes_.end()) return Error(ErrorKind::kNotFound, "no such actor: ", actor);
    if (Strikes(options_.faults.kill_early)) KillNode(place->second);
    SimulatedNode* node = Find(place->second);
    if (node == nullptr) return Error(ErrorKind::kUnavailable, "the actor died with its node");
    time_.PassTo(time_.now() + 2 * kMessageSeconds);
    auto answer =
        node->actors().at(actor)->Call(context, std::string(method), std::string(payload));
    // Kind, place and hint of an error cross as bytes, as everything does.
    Status status;
    GNOMON_RETURN_NOT_OK(DecodeStatus(EncodeStatus(answer.status()), &status));
    if (!status.ok()) return status;
    return answer;
  }

  void KillActor(ActorId actor) override {
    const auto place = actor_nodes_.find(actor);
    if (place == actor_nodes_.end()) return;
    if (SimulatedNode* node = Find(place->second)) node->actors().erase(actor);
    actor_nodes_.erase(place);
  }

  void KillNode(NodeId node) override {
    const auto found = nodes_.find(node);
    if (found == nodes_.end()) return;
    Trace("node dies", node);
    stats_.killed_nodes += 1;
    stats_.spilled_bytes += found->second->store().stats().spilled_bytes;
    nodes_.erase(found);
    time_.After(kDetectionSeconds * random_.Between(0.5, 2), [this, node] { Mourn(node); });
    time_.After(kReplacementSeconds * random_.Between(0.5, 2), [this] {
      AddNode();
      nodes_changed_ = true;
    });
  }

  SimulatedStats stats() const override {
    SimulatedStats stats = stats_;
    for (const auto& [id, node] : nodes_) {
      stats.spilled_bytes += node->store().stats().spilled_bytes;
    }
    return stats;
  }

  const std::vector<std::string>& trace() const override { return trace_; }

 private:
  void Trace(std::string_view event, int64_t number) {
    if (options_.keep_trace) trace_.push_back(Concat(time_.now(), " ", event, " ", number));
  }

  SimulatedNode* Find(NodeId node) {
    const auto found = nodes_.find(node);
    return found == nodes_.end() ? nullptr : found->second.get();
  }

  void AddNode() {
    const NodeId id = ++last_node_;
    nodes_[id] = std::make_unique<SimulatedNode>(id, registry_, options_.block_memory,
                                                 options_.spill_folder);
    known_.insert(id);
    Trace("node comes", id);
  }

  // The driver has noticed that a node is gone.
  void Mourn(NodeId node) {
    Trace("death is noticed", node);
    known_.erase(node);
    nodes_changed_ = true;
    for (auto flight = flights_.begin(); flight != flights_.end();) {
      if (flight->second.node != node) {
        ++flight;
        continue;
      }
      const TaskId id = flight->first;
      flight = flights_.erase(flight);
      ended_[id] = {.task = id,
                    .status = Error(ErrorKind::kUnavailable, "node ", node, " died"),
                    .lost = true,
                    .output = {}};
    }
  }

  // Decides whether a fault happens. Draws a number in any case, so that a fault more or less
  // leaves the rest of the run as it is.
  bool Strikes(double probability) {
    const bool strikes =
        random_.Uniform() < probability && num_faults_ < options_.faults.max_faults;
    if (strikes) num_faults_ += 1;
    return strikes;
  }

  void Send(const std::string& what, std::function<void()> deliver) {
    stats_.messages += 1;
    Trace(Concat("sent: ", what), stats_.messages);
    if (Strikes(options_.faults.drop)) {
      stats_.dropped += 1;
      Trace("dropped", stats_.messages);
      return;
    }
    const int copies = Strikes(options_.faults.duplicate) ? 2 : 1;
    stats_.duplicated += copies - 1;
    for (int i = 0; i < copies; ++i) {
      double seconds = kMessageSeconds;
      if (Strikes(options_.faults.delay)) {
        seconds *= random_.Between(1, 100);
        stats_.delayed += 1;
      }
      time_.After(seconds, deliver);
    }
  }

  void SendTask(TaskId id) {
    const Flight& flight = flights_.at(id);
    Send(Concat("task ", id), [this, id, node = flight.node, bytes = flight.task] {
      if (Find(node) != nullptr) Accept(node, id, bytes);
    });
    time_.After(kResendSeconds, [this, id] {
      if (flights_.contains(id)) SendTask(id);
    });
  }

  // A node begins a task.
  void Accept(NodeId node, TaskId id, const std::string& bytes) {
    Trace("accepted", id);
    if (Strikes(options_.faults.kill_early)) return KillNode(node);
    const bool is_slow = Strikes(options_.faults.delay);
    const double seconds = kTaskSeconds * (is_slow ? random_.Between(1, 100) : 1);
    time_.After(seconds, [this, node, id, bytes] {
      if (SimulatedNode* there = Find(node)) Execute(*there, id, bytes);
    });
  }

  void Execute(SimulatedNode& node, TaskId id, const std::string& bytes) {
    Trace("executed", id);
    stats_.executions += 1;
    std::string outcome = node.Run(
        id, bytes, caller_,
        [this](const BlockDescriptor& block, BlockStore& store) { return Carry(block, store); });
    if (Strikes(options_.faults.kill_late)) return KillNode(node.id());
    Send(Concat("outcome ", id),
         [this, id, outcome = std::move(outcome)] { TakeOutcome(id, outcome); });
  }

  void TakeOutcome(TaskId id, const std::string& bytes) {
    auto outcome = DecodeOutcome(bytes);
    GNOMON_CHECK(outcome.ok(), outcome.status().ToString());
    if (flights_.erase(id) == 0) {
      // A second outcome of one task: its blocks are other ones when it was run twice.
      const auto taken = taken_.find(id);
      const bool is_copy = taken != taken_.end() && taken->second == outcome->output.blocks;
      if (!is_copy) Release(outcome->output.blocks);
      return;
    }
    taken_[id] = outcome->output.blocks;
    ended_[id] = std::move(*outcome);
  }

  Result<BlockDescriptor> Carry(const BlockDescriptor& block, BlockStore& destination) {
    const auto lost = [&] {
      return Error(ErrorKind::kUnavailable, "block ", block.id, " of node ", block.node,
                   " cannot be fetched");
    };
    if (block.node != kDriverNode && Strikes(options_.faults.lose_fetch)) {
      stats_.lost_fetches += 1;
      return lost();
    }
    SimulatedNode* node = Find(block.node);
    if (block.node != kDriverNode && node == nullptr) return lost();
    auto bytes = (block.node == kDriverNode ? driver_store_ : node->store()).Bytes(block);
    if (!bytes.ok()) return WithContext(lost(), bytes.status().message());
    return destination.PutBytes(**bytes, block.rows);
  }

  const StageRegistry& registry_;
  const SimulatedOptions options_;
  SeededRandom random_;
  VirtualTime time_;
  BlockStore driver_store_;
  std::map<NodeId, std::unique_ptr<SimulatedNode>> nodes_;
  std::set<NodeId> known_;  // to the driver
  bool nodes_changed_ = false;
  std::map<TaskId, Flight> flights_;
  std::map<TaskId, TaskOutcome> ended_;
  std::map<TaskId, std::vector<BlockDescriptor>> taken_;  // blocks that the driver knows
  std::map<ActorId, NodeId> actor_nodes_;
  Context caller_;  // of the Wait under way
  int num_faults_ = 0;
  NodeId last_node_ = 0;
  TaskId last_task_ = 0;
  ActorId last_actor_ = 0;
  SimulatedStats stats_;
  std::vector<std::string> trace_;
};

}  // namespace

std::unique_ptr<SimulatedBackend> MakeSimulatedBackend(const StageRegistry& registry,
                                                       const SimulatedOptions& options) {
  RaiseOpenFileLimit();
  return std::make_unique<Cluster>(registry, options);
}

}  // namespace gnomon::runtime
