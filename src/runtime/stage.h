#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "runtime/block.h"
#include "runtime/resources.h"

/// Stages: named functions that run on other nodes. What crosses is a Task (a name, bytes,
/// descriptors) and a TaskOutcome: no pointer, open file or closure.
namespace gnomon::runtime {

/// One execution of one partition of a stage. A value; runtime/message.h turns it into bytes.
struct Task {
  std::string job;
  std::string stage;     ///< its name in the job, for messages
  std::string function;  ///< a name in the StageRegistry
  std::string fragment;  ///< bytes that the function understands: the part of the plan
  std::string argument;  ///< as above, of this partition only: files, ranges
  int32_t partition = 0;
  int32_t num_partitions = 1;
  int32_t attempt = 1;      ///< from 1; two attempts of one partition may run at the same time
  int32_t num_outputs = 1;  ///< blocks that the function returns
  std::vector<std::vector<BlockDescriptor>> inputs;  ///< by edge, in the order of the producers
  Resources resources;

  bool operator==(const Task&) const = default;
};

/// What a stage function returns.
struct TaskOutput {
  /// Exactly num_outputs blocks; for a consumer that shuffles, block i is partition i's.
  std::vector<BlockDescriptor> blocks;
  /// What a Sink needs to commit this attempt (runtime/sink.h); empty without a sink.
  std::string commit_token;
  /// What the function says of its work (statistics), in bytes that it and who reads
  /// JobResult::reports understand. No result depends on it.
  std::string report = {};
  double seconds = 0;  ///< that the function took; RunTask sets it
};

/// What a task sees of the world. The function's thread only.
class TaskContext {
 public:
  /// Blocks of `task.inputs` lie in `store`. All three outlive this.
  TaskContext(const Context& context, const Task& task, BlockStore& store);

  /// Stop token, memory, clock. Look at it once per batch.
  const Context& context() const { return context_; }
  const Task& task() const { return task_; }

  /// All blocks of one edge as one stream, in order. Null when the edge has no block.
  Result<std::shared_ptr<arrow::RecordBatchReader>> OpenInput(size_t edge) const;
  Result<std::shared_ptr<arrow::RecordBatchReader>> OpenBlock(const BlockDescriptor& block) const;

  /// A new block of this node. What the function does not return is released.
  Result<std::unique_ptr<BlockWriter>> NewOutput(const std::shared_ptr<arrow::Schema>& schema);
  /// Ends a block of NewOutput.
  Result<BlockDescriptor> Finish(BlockWriter& writer);

  /// Blocks that were finished and are not in `kept`.
  std::vector<BlockDescriptor> UnusedBlocks(const std::vector<BlockDescriptor>& kept) const;

 private:
  const Context& context_;
  const Task& task_;
  BlockStore& store_;
  std::vector<BlockDescriptor> finished_;
};

/// Runs one task. Must be deterministic: the same task gives the same rows in the same order on any
/// node and in any attempt, or lost blocks could not be made again. Called concurrently.
using StageFunction = std::function<Result<TaskOutput>(TaskContext&)>;

/// A named long-lived state on one node. Calls come one at a time.
class Actor {
 public:
  virtual ~Actor() = default;
  virtual Result<std::string> Call(const Context& context, std::string_view method,
                                   std::string_view payload) = 0;
};
using ActorFactory = std::function<Result<std::unique_ptr<Actor>>(const Context& context,
                                                                  std::string_view arguments)>;

/// Takes what a worker process is told, before its first task, of how to reach a service: addresses
/// and keys, which no task, journal or message holds. Called once a process.
using AccessFunction = std::function<Status(std::string_view bytes)>;

/// The functions and actors of a program by name. Filled once at the start, by one call per module
/// (no static initialisers), with the same content on every node; then only read, from any thread.
class StageRegistry {
 public:
  /// kConflict when the name is taken.
  Status AddStage(std::string name, StageFunction function);
  Status AddActor(std::string type, ActorFactory factory);
  /// Nodes that share the driver's process know what it knows: nothing is handed to them.
  Status AddAccess(std::string service, AccessFunction take);

  /// kNotFound for an unknown name: driver and worker are different builds.
  Result<const StageFunction*> FindStage(const std::string& name) const;
  Result<const ActorFactory*> FindActor(const std::string& type) const;
  Result<const AccessFunction*> FindAccess(const std::string& service) const;

 private:
  std::map<std::string, StageFunction> stages_;
  std::map<std::string, ActorFactory> actors_;
  std::map<std::string, AccessFunction> access_;
};

/// Runs `task` with all its inputs in `store`: finds the function, turns an exception into
/// kInternal, checks the number of outputs, releases the blocks of a failed task.
Result<TaskOutput> RunTask(const Context& context, const StageRegistry& registry, const Task& task,
                           BlockStore& store);

}  // namespace gnomon::runtime
