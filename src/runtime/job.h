#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "runtime/backend.h"
#include "runtime/block.h"
#include "runtime/resources.h"
#include "runtime/sink.h"

/// Jobs: a graph of stages, run on a backend until every result is there once. Placement by free
/// resources and by where the inputs lie, retries, lost blocks made again, back-pressure, commit.
namespace gnomon::runtime {

/// How the blocks of a stage reach the partitions of a later one.
enum class Exchange {
  kOneToOne,   ///< partition i reads all blocks of partition i
  kShuffle,    ///< partition i reads block i of every partition, in their order
  kBroadcast,  ///< every partition reads all blocks of all partitions, in their order
};

struct StageEdge {
  int from = 0;  ///< index of an earlier stage
  Exchange exchange = Exchange::kOneToOne;
  /// Of the blocks that each partition of `from` leaves, the edge knows num_outputs from this one
  /// on: a stage may do the work of several, and a consumer reads the blocks of one of these.
  int first_output = 0;
  int num_outputs = 0;  ///< 0: all that follow
};

struct StageSpec {
  std::string name;      ///< unique in the job
  std::string function;  ///< in the StageRegistry
  std::string fragment;
  int num_partitions = 1;
  /// Empty, or one for each partition.
  std::vector<std::string> arguments = {};
  std::vector<StageEdge> inputs = {};
  /// Blocks that each partition leaves: the number of partitions of a consumer that shuffles, or
  /// more when several consumers have blocks of their own (StageEdge::first_output).
  int num_outputs = 1;
  /// Of one task. Also what admission counts: memory_bytes is the most it will take.
  Resources resources = {.cpus = 1};
  /// Commits the tokens of this stage's tasks; null: none.
  std::shared_ptr<Sink> sink = nullptr;
  /// The blocks are a result of the job (JobResult::outputs).
  bool keep_output = false;
};

struct JobPlan {
  std::string name;
  std::vector<StageSpec> stages;  ///< a stage stands after all that it reads

  /// kInternal when an edge, a count or a name is wrong.
  Status Validate() const;
  /// SHA-256 of everything that decides the result.
  std::string Fingerprint() const;
};

/// When a task is tried again. Only errors that are retryable are; the number of attempts that were
/// lost with their node or their inputs is bounded on its own, so that a task which kills its
/// worker does not run for ever. Both count anew once an attempt has won: that its blocks are lost
/// later, and made again, is no fault of the task.
struct RetryPolicy {
  int max_attempts = 4;
  int max_lost_attempts = 8;
  double first_delay_seconds = 0.05;  ///< doubles with each failure
  double max_delay_seconds = 5;
};

struct JobOptions {
  RetryPolicy retry = {};
  /// Where the commits are remembered; a job with the same plan and journal continues. Empty: no
  /// journal, a crash between two commits cannot be resumed.
  std::string journal = {};
  /// A task that runs longer gets a second attempt when a node is idle; the first to end wins. 0:
  /// never.
  double speculate_after_seconds = 0;
  /// While blocks that wait for their consumers take more than this, stages that read no blocks are
  /// held back. 0: half of the nodes' memory.
  int64_t max_waiting_bytes = 0;
  /// How long a job waits for nodes when there is none.
  double node_wait_seconds = 60;
};

struct JobStats {
  int64_t tasks = 0;        ///< attempts submitted
  int64_t failures = 0;     ///< attempts that failed and were tried again
  int64_t lost = 0;         ///< attempts lost with their node, worker or inputs
  int64_t recomputed = 0;   ///< partitions run again because their blocks were lost
  int64_t speculative = 0;  ///< second attempts of slow tasks
  int64_t superseded = 0;   ///< attempts that ended after another one of their partition
  int64_t committed = 0;    ///< partitions committed by this run
  int64_t resumed = 0;      ///< partitions that the journal had as chosen or committed
  int64_t rows = 0;         ///< in all blocks of the winning attempts
  int64_t bytes = 0;        ///< of these
};

/// One stage, by the winning attempt of each partition that this run made: what lost, came twice
/// or was made again counts once.
struct StageStats {
  std::string name;
  int64_t partitions = 0;  ///< that this run made
  int64_t rows = 0;        ///< in their blocks, as the next
  int64_t bytes = 0;
  int64_t spilled_bytes = 0;   ///< of blocks that memory had no room for
  double seconds = 0;          ///< of the tasks, one after the other
  double longest_seconds = 0;  ///< of one of them
};

struct JobResult {
  /// By stage and partition; filled for stages with keep_output, on the driver's node. The caller
  /// releases them (Backend::Release).
  std::vector<std::vector<std::vector<BlockDescriptor>>> outputs;
  /// By stage and partition: the tokens that were committed, now or by an earlier run; filled for
  /// stages with a sink.
  std::vector<std::vector<std::string>> tokens;
  /// By stage and partition: TaskOutput::report of the winning attempt, which is the journal's for
  /// a partition that an earlier run committed. Absent for what was made by an earlier run only.
  std::vector<std::vector<std::optional<std::string>>> reports;
  std::vector<StageStats> stages;  ///< in the plan's order
  JobStats stats;
};

/// Runs `plan`. On an error (or a cancelled context) all running tasks are stopped, uncommitted
/// attempts aborted and blocks released; what was committed stays, and the journal remembers it.
/// Errors say stage and partition. The result does not depend on the backend, the number of nodes
/// or what fails underway.
Result<JobResult> RunJob(const Context& context, Backend& backend, const JobPlan& plan,
                         const JobOptions& options = {});

}  // namespace gnomon::runtime
