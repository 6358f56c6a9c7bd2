#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "runtime/block.h"
#include "runtime/message.h"
#include "runtime/resources.h"
#include "runtime/stage.h"

/// Backends: where tasks run. A backend carries tasks, blocks and actor calls; which task runs when
/// and where, and what happens when it fails, is the job's business (runtime/job.h).
namespace gnomon::runtime {

struct NodeInfo {
  NodeId id = 0;
  std::string name;
  Resources capacity;
};

using ActorId = int64_t;

enum class WaitFor { kAny, kAll };

/// Nodes that run tasks. A backend says whether it may be used from several threads.
class Backend {
 public:
  virtual ~Backend() = default;

  /// As Explain and metrics show it: "local (threads)".
  virtual std::string name() const = 0;
  /// The nodes that are believed to be alive, by id. One that is gone never comes back; its blocks
  /// are lost.
  virtual std::vector<NodeInfo> Nodes() const = 0;
  /// Seconds on this backend's clock (virtual where time is), for spans only.
  virtual double Now() const = 0;

  /// Hands a task to a node and returns at once. Inputs may lie on any node. The caller sees to it
  /// that the node has room (Task::resources); what is too much waits there. Every task that was
  /// submitted has exactly one outcome, however it ends. kUnavailable when the node is gone.
  virtual Result<TaskId> Submit(const Context& context, NodeId node, const Task& task) = 0;

  /// Waits until any or all of `tasks` have ended, at most `seconds`, and gives their outcomes,
  /// each once. May return earlier with fewer or none, for example when a node comes or goes. An
  /// error is the context's end.
  virtual Result<std::vector<TaskOutcome>> Wait(const Context& context,
                                                std::span<const TaskId> tasks, WaitFor wait_for,
                                                double seconds) = 0;

  /// Asks a task to stop. It still has an outcome: kCancelled, or what it came to before.
  virtual void Cancel(TaskId task) = 0;

  /// The driver's own blocks: Put, Open and Release of what lies on kDriverNode.
  virtual BlockStore& blocks() = 0;
  /// Brings a block to where blocks() can open it, and which survives its node. Gives the new
  /// descriptor; the old block stays until it is released. kUnavailable when the block is lost.
  virtual Result<BlockDescriptor> Fetch(const Context& context, const BlockDescriptor& block) = 0;
  /// Forgets blocks, wherever they lie. Unknown ones are passed over.
  virtual void Release(std::span<const BlockDescriptor> blocks) = 0;

  /// Starts an actor of a registered type on a node.
  virtual Result<ActorId> CreateActor(const Context& context, NodeId node, const std::string& type,
                                      std::string_view arguments) = 0;
  /// Calls it and waits for the answer. kUnavailable when the actor or its node died: its state is
  /// gone. kNotFound when it was killed.
  virtual Result<std::string> CallActor(const Context& context, ActorId actor,
                                        std::string_view method, std::string_view payload) = 0;
  /// Ends an actor; a call that is under way fails. Unknown ones are passed over.
  virtual void KillActor(ActorId actor) = 0;
};

}  // namespace gnomon::runtime
