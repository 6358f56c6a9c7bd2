#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/context.h"
#include "base/memory.h"
#include "runtime/block.h"
#include "runtime/message.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

/// One virtual machine: a store, the tasks that it has accepted, and its actors.
class SimulatedNode {
 public:
  /// Carries a block from its node into this node's store.
  using Carrier =
      std::function<Result<BlockDescriptor>(const BlockDescriptor& block, BlockStore& destination)>;

  SimulatedNode(NodeId id, const StageRegistry& registry, int64_t block_memory,
                std::string spill_folder);

  NodeId id() const { return id_; }
  BlockStore& store() { return store_; }

  /// Runs the task of a message and gives the outcome's bytes. Ends with `caller`.
  std::string Run(TaskId id, const std::string& task_bytes, const Context& caller,
                  const Carrier& carry);
  /// A task that is to be cancelled, before or while it waits to run.
  void Cancel(TaskId id) { cancelled_.insert(id); }
  bool IsCancelled(TaskId id) const { return cancelled_.contains(id); }

  std::map<int64_t, std::unique_ptr<Actor>>& actors() { return actors_; }

 private:
  Result<TaskOutput> Execute(const std::string& task_bytes, const Context& caller,
                             const Carrier& carry, bool* lost);

  const NodeId id_;
  const StageRegistry& registry_;
  MemoryBudget memory_;
  BlockStore store_;
  std::set<TaskId> cancelled_;
  std::map<int64_t, std::unique_ptr<Actor>> actors_;
};

}  // namespace gnomon::runtime
