#include <algorithm>
#include <span>
#include <utility>

#include "base/text.h"
#include "runtime/job_run_internal.h"

namespace gnomon::runtime {

namespace {

constexpr double kLongestWaitSeconds = 1;

}  // namespace

bool JobRun::IsEnd(size_t stage) const {
  return plan_.stages[stage].sink != nullptr || plan_.stages[stage].keep_output ||
         !has_consumer_[stage];
}

void JobRun::LookAtNodes() {
  std::map<NodeId, NodeState> nodes;
  int64_t memory = 0;
  for (NodeInfo& info : backend_.Nodes()) {
    memory += info.capacity.memory_bytes;
    const auto known = nodes_.find(info.id);
    nodes.emplace(info.id, known != nodes_.end()
                               ? known->second
                               : NodeState{.capacity = info.capacity, .free = info.capacity});
  }
  bool lost_one = false;
  for (const auto& [id, state] : nodes_) lost_one = lost_one || !nodes.contains(id);
  nodes_ = std::move(nodes);
  if (!nodes_.empty()) without_nodes_since_ = backend_.Now();
  max_waiting_bytes_ = options_.max_waiting_bytes > 0 ? options_.max_waiting_bytes : memory / 2;
  if (!lost_one) return;
  for (auto& partitions : states_) {
    for (PartitionState& state : partitions) {
      const bool is_lost = std::ranges::any_of(state.blocks, [&](const BlockDescriptor& block) {
        return block.node != kDriverNode && !nodes_.contains(block.node);
      });
      if (!is_lost) continue;
      backend_.Release(state.blocks);
      state.blocks.clear();
      state.has_blocks = false;
      state.bytes = 0;
    }
  }
}

void JobRun::Need(const StageSpec& stage, size_t partition, bool is_first) {
  for (const StageEdge& edge : stage.inputs) {
    auto& sources = states_[static_cast<size_t>(edge.from)];
    if (edge.exchange == Exchange::kOneToOne) {
      sources[partition].needed = true;
    } else if (is_first) {
      for (PartitionState& source : sources) source.needed = true;
    }
  }
}

void JobRun::WorkOutNeeds() {
  for (auto& partitions : states_) {
    for (PartitionState& state : partitions) state.needed = false;
  }
  num_to_run_ = 0;
  for (size_t stage = plan_.stages.size(); stage-- > 0;) {
    const bool is_end = IsEnd(stage);
    bool is_first = true;
    for (size_t partition = 0; partition < states_[stage].size(); ++partition) {
      PartitionState& state = states_[stage][partition];
      state.to_run = (is_end && !state.finished) || (state.needed && !state.has_blocks);
      if (!state.to_run) continue;
      num_to_run_ += 1;
      Need(plan_.stages[stage], partition, is_first);
      is_first = false;
    }
  }
}

void JobRun::ReleaseUnneeded() {
  waiting_bytes_ = 0;
  for (auto& partitions : states_) {
    for (PartitionState& state : partitions) {
      if (state.has_blocks && !state.needed) {
        backend_.Release(state.blocks);
        state.blocks.clear();
        state.has_blocks = false;
        state.bytes = 0;
      }
      waiting_bytes_ += state.bytes;
    }
  }
}

bool JobRun::IsReady(const StageSpec& stage, size_t partition) const {
  return std::ranges::all_of(stage.inputs, [&](const StageEdge& edge) {
    const auto& sources = states_[static_cast<size_t>(edge.from)];
    if (edge.exchange == Exchange::kOneToOne) return sources[partition].has_blocks;
    return std::ranges::all_of(sources, &PartitionState::has_blocks);
  });
}

std::vector<std::vector<BlockDescriptor>> JobRun::InputsOf(const StageSpec& stage,
                                                           size_t partition) const {
  std::vector<std::vector<BlockDescriptor>> inputs;
  for (const StageEdge& edge : stage.inputs) {
    const auto& sources = states_[static_cast<size_t>(edge.from)];
    const auto first = static_cast<size_t>(edge.first_output);
    const auto count =
        static_cast<size_t>(NumOutputs(edge, plan_.stages[static_cast<size_t>(edge.from)]));
    std::vector<BlockDescriptor>& blocks = inputs.emplace_back();
    const auto add = [&](const PartitionState& source) {
      const auto known = std::span(source.blocks).subspan(first, count);
      blocks.insert(blocks.end(), known.begin(), known.end());
    };
    switch (edge.exchange) {
      case Exchange::kOneToOne:
        add(sources[partition]);
        break;
      case Exchange::kShuffle:
        for (const PartitionState& source : sources)
          blocks.push_back(source.blocks[first + partition]);
        break;
      case Exchange::kBroadcast:
        for (const PartitionState& source : sources) add(source);
        break;
    }
  }
  return inputs;
}

NodeId JobRun::ChooseNode(const Resources& wanted,
                          const std::vector<std::vector<BlockDescriptor>>& inputs,
                          NodeId avoided) const {
  std::map<NodeId, int64_t> local_bytes;
  for (const auto& blocks : inputs) {
    for (const BlockDescriptor& block : blocks) local_bytes[block.node] += block.bytes;
  }
  NodeId best = kDriverNode;  // none
  std::pair<int64_t, double> best_score;
  for (const auto& [id, node] : nodes_) {
    if (id == avoided || !wanted.FitsInto(node.free)) continue;
    const std::pair<int64_t, double> score(local_bytes[id], node.free.cpus);
    if (best == kDriverNode || score > best_score) {
      best = id;
      best_score = score;
    }
  }
  return best;
}

Result<bool> JobRun::Submit(size_t stage, size_t partition, NodeId avoided) {
  const StageSpec& spec = plan_.stages[stage];
  PartitionState& state = states_[stage][partition];
  auto inputs = InputsOf(spec, partition);
  const NodeId node = ChooseNode(spec.resources, inputs, avoided);
  if (node == kDriverNode) return false;
  Task task{.job = plan_.name,
            .stage = spec.name,
            .function = spec.function,
            .fragment = spec.fragment,
            .argument = spec.arguments.empty() ? std::string() : spec.arguments[partition],
            .partition = static_cast<int32_t>(partition),
            .num_partitions = spec.num_partitions,
            .attempt = state.attempts + 1,
            .num_outputs = spec.num_outputs,
            .inputs = std::move(inputs),
            .resources = spec.resources};
  auto id = backend_.Submit(context_, node, task);
  if (!id.ok()) {
    // The node went away meanwhile: the next round sees it.
    if (KindOf(id.status()) == ErrorKind::kUnavailable) return false;
    return id.status();
  }
  running_[*id] = {.stage = stage,
                   .partition = task.partition,
                   .attempt = task.attempt,
                   .node = node,
                   .started = backend_.Now(),
                   .num_done = state.num_done};
  state.attempts += 1;
  state.num_running += 1;
  if (state.num_running == 1 && state.num_done > 0) result_.stats.recomputed += 1;
  nodes_[node].free.Subtract(spec.resources);
  nodes_[node].num_running += 1;
  result_.stats.tasks += 1;
  return true;
}

Status JobRun::SubmitReady() {
  const double now = backend_.Now();
  is_stuck_ = false;
  // Later stages first: they use up blocks that wait.
  for (size_t stage = plan_.stages.size(); stage-- > 0;) {
    const StageSpec& spec = plan_.stages[stage];
    const bool can_fit = nodes_.empty() || std::ranges::any_of(nodes_, [&](const auto& node) {
                           return spec.resources.FitsInto(node.second.capacity);
                         });
    for (size_t partition = 0; partition < states_[stage].size(); ++partition) {
      const PartitionState& state = states_[stage][partition];
      if (!state.to_run || state.num_running > 0 || now < state.not_before) continue;
      if (!IsReady(spec, partition)) continue;
      if (!can_fit) {
        is_stuck_ = true;
        unplaceable_ = spec.resources;
        break;
      }
      if (spec.inputs.empty() && !running_.empty() && waiting_bytes_ > max_waiting_bytes_) break;
      GNOMON_ASSIGN_OR_RETURN(const bool submitted, Submit(stage, partition, kDriverNode));
      if (!submitted) break;
    }
  }
  return Status::OK();
}

Status JobRun::SubmitSlow() {
  if (options_.speculate_after_seconds <= 0) return Status::OK();
  const double now = backend_.Now();
  std::vector<RunningTask> slow;
  for (const auto& [id, task] : running_) {
    const PartitionState& state = states_[task.stage][static_cast<size_t>(task.partition)];
    if (state.num_running == 1 && state.to_run &&
        now - task.started > options_.speculate_after_seconds) {
      slow.push_back(task);
    }
  }
  for (const RunningTask& task : slow) {
    const auto partition = static_cast<size_t>(task.partition);
    if (!IsReady(plan_.stages[task.stage], partition)) continue;
    // Another node if there is one.
    const NodeId avoided = nodes_.size() > 1 ? task.node : kDriverNode;
    GNOMON_ASSIGN_OR_RETURN(const bool submitted, Submit(task.stage, partition, avoided));
    if (submitted) result_.stats.speculative += 1;
  }
  return Status::OK();
}

Status JobRun::CheckStuck() const {
  if (!running_.empty()) return Status::OK();
  if (is_stuck_) {
    return MakeError(
        ErrorKind::kExhausted,
        Concat("no node of ", backend_.name(), " has what a task needs: ", unplaceable_.ToString()),
        {}, "lower the needs of the stage, or add a node");
  }
  if (nodes_.empty() && backend_.Now() - without_nodes_since_ > options_.node_wait_seconds) {
    return Error(ErrorKind::kUnavailable, "no node is alive in ", backend_.name());
  }
  return Status::OK();
}

double JobRun::SecondsToWait() const {
  const double now = backend_.Now();
  double seconds = kLongestWaitSeconds;
  for (const auto& partitions : states_) {
    for (const PartitionState& state : partitions) {
      if (state.to_run && state.num_running == 0 && state.not_before > now) {
        seconds = std::min(seconds, state.not_before - now);
      }
    }
  }
  if (options_.speculate_after_seconds > 0) {
    for (const auto& [id, task] : running_) {
      const double left = task.started + options_.speculate_after_seconds - now;
      if (left > 0) seconds = std::min(seconds, left);
    }
  }
  return seconds;
}

}  // namespace gnomon::runtime
