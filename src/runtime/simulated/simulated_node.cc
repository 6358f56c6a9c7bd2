#include <utility>
#include <vector>

#include "base/text.h"
#include "runtime/simulated/simulated_node_internal.h"

namespace gnomon::runtime {

SimulatedNode::SimulatedNode(NodeId id, const StageRegistry& registry, int64_t block_memory,
                             std::string spill_folder)
    : id_(id),
      registry_(registry),
      memory_(Concat("node ", id), block_memory),
      store_({.node = id, .memory = &memory_, .spill_folder = std::move(spill_folder)}) {}

std::string SimulatedNode::Run(TaskId id, const std::string& task_bytes, const Context& caller,
                               const Carrier& carry) {
  TaskOutcome outcome{.task = id, .status = {}, .lost = false, .output = {}};
  if (IsCancelled(id)) {
    outcome.status = Error(ErrorKind::kCancelled, "cancelled");
    return EncodeOutcome(outcome);
  }
  auto output = Execute(task_bytes, caller, carry, &outcome.lost);
  outcome.status = output.status();
  if (output.ok()) outcome.output = std::move(*output);
  return EncodeOutcome(outcome);
}

Result<TaskOutput> SimulatedNode::Execute(const std::string& task_bytes, const Context& caller,
                                          const Carrier& carry, bool* lost) {
  GNOMON_ASSIGN_OR_RETURN(Task task, DecodeTask(task_bytes));
  std::vector<BlockDescriptor> copies;
  Status carried;
  for (auto& edge : task.inputs) {
    for (BlockDescriptor& block : edge) {
      if (block.node == id_ || !carried.ok()) continue;
      auto copy = carry(block, store_);
      carried = copy.status();
      if (!copy.ok()) continue;
      block = *copy;
      copies.push_back(*copy);
    }
  }
  *lost = !carried.ok();
  Context context;
  context.stop = caller.stop;
  context.deadline = caller.deadline;
  context.memory = &memory_;
  Result<TaskOutput> output =
      carried.ok() ? RunTask(context, registry_, task, store_) : Result<TaskOutput>(carried);
  store_.Release(copies);
  return output;
}

}  // namespace gnomon::runtime
