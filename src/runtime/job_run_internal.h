#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "runtime/backend.h"
#include "runtime/commit_internal.h"
#include "runtime/job.h"

namespace gnomon::runtime {

/// How many blocks of each partition of `from` the edge knows.
int NumOutputs(const StageEdge& edge, const StageSpec& from);

/// One partition of one stage.
struct PartitionState {
  // What is wanted. Renewed before each round.
  bool needed = false;  // by a consumer that is to run
  bool to_run = false;

  // What there is.
  bool has_blocks = false;
  bool finished = false;  // of a stage that ends the job: committed, fetched
  std::vector<BlockDescriptor> blocks;
  int64_t bytes = 0;  // of these
  int num_done = 0;   // attempts that won; more than one when blocks were lost

  // What happened.
  int32_t attempts = 0;
  int failures = 0;  // since an attempt won
  int lost = 0;      // the same
  int num_running = 0;
  double not_before = 0;
};

struct RunningTask {
  size_t stage = 0;
  int32_t partition = 0;
  int32_t attempt = 0;
  NodeId node = 0;
  double started = 0;
  int num_done = 0;  // of the partition, at the start
};

struct NodeState {
  Resources capacity;
  Resources free;
  int num_running = 0;
};

/// One run of a job: a loop of rounds on the caller's thread. Each round looks at the nodes, works
/// out from the unfinished ends of the graph backwards which partitions have to run (so lost blocks
/// are made again, and blocks without a consumer are released), submits what is ready and fits, and
/// waits for an outcome.
class JobRun {
 public:
  JobRun(const Context& context, Backend& backend, const JobPlan& plan, const JobOptions& options,
         Committer committer);

  Result<JobResult> Run();

 private:
  // job.cc
  Status Rounds();
  Status Handle(const TaskOutcome& outcome);
  Status Win(const RunningTask& task, const TaskOutcome& outcome);
  void KeepBlocks(PartitionState& state, const std::vector<BlockDescriptor>& blocks);
  // Counts the first attempt of a partition that wins.
  void Count(const RunningTask& task, const TaskOutput& output);
  Status Fail(const RunningTask& task, const TaskOutcome& outcome);
  Result<std::vector<BlockDescriptor>> FetchAll(const std::vector<BlockDescriptor>& blocks);
  void Drop(const RunningTask& task, const TaskOutput& output);
  void CancelOthers(size_t stage, int32_t partition);
  void Abandon();
  void Discard(const TaskOutcome& outcome);
  void ReleaseAll();

  // job_schedule.cc
  void LookAtNodes();
  void WorkOutNeeds();
  // Marks what a partition reads; all partitions of a source only for the `is_first` one.
  void Need(const StageSpec& stage, size_t partition, bool is_first);
  void ReleaseUnneeded();
  bool IsReady(const StageSpec& stage, size_t partition) const;
  std::vector<std::vector<BlockDescriptor>> InputsOf(const StageSpec& stage,
                                                     size_t partition) const;
  Status SubmitReady();
  Status SubmitSlow();
  // Submits an attempt; false when no node has room now.
  Result<bool> Submit(size_t stage, size_t partition, NodeId avoided);
  NodeId ChooseNode(const Resources& wanted,
                    const std::vector<std::vector<BlockDescriptor>>& inputs, NodeId avoided) const;
  Status CheckStuck() const;
  double SecondsToWait() const;
  bool IsEnd(size_t stage) const;

  const Context& context_;
  const Context cleanup_context_;  // works on after a cancellation
  Backend& backend_;
  const JobPlan& plan_;
  const JobOptions& options_;
  Committer committer_;
  JobResult result_;
  std::vector<bool> has_consumer_;                   // by stage
  std::vector<std::vector<PartitionState>> states_;  // by stage and partition
  std::map<TaskId, RunningTask> running_;
  std::map<NodeId, NodeState> nodes_;
  double without_nodes_since_ = 0;
  int64_t waiting_bytes_ = 0;
  int64_t max_waiting_bytes_ = 0;
  int64_t num_to_run_ = 0;
  int64_t num_counted_ = 0;
  Resources unplaceable_;  // what no node can ever take
  bool is_stuck_ = false;
};

}  // namespace gnomon::runtime
