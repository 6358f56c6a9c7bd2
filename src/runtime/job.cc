#include "runtime/job.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/progress.h"
#include "base/text.h"
#include "runtime/job_run_internal.h"

namespace gnomon::runtime {

namespace {

// How long a failed job waits for its tasks to look at their stop tokens.
constexpr double kSecondsToStop = 30;

Context WithoutEnd(Context context) {
  context.stop = {};
  context.deadline.reset();
  return context;
}

TaskOutcome LostOutcome(TaskId task, Status status) {
  return {.task = task, .status = std::move(status), .lost = true, .output = {}};
}

}  // namespace

JobRun::JobRun(const Context& context, Backend& backend, const JobPlan& plan,
               const JobOptions& options, Committer committer)
    : context_(context),
      cleanup_context_(WithoutEnd(context)),
      backend_(backend),
      plan_(plan),
      options_(options),
      committer_(std::move(committer)),
      has_consumer_(plan.stages.size(), false),
      states_(plan.stages.size()),
      without_nodes_since_(backend.Now()) {
  result_.outputs.resize(plan.stages.size());
  result_.reports.resize(plan.stages.size());
  result_.stats.resumed = committer_.num_resumed();
  for (size_t stage = 0; stage < plan.stages.size(); ++stage) {
    const StageSpec& spec = plan.stages[stage];
    for (const StageEdge& edge : spec.inputs) has_consumer_[static_cast<size_t>(edge.from)] = true;
    states_[stage].resize(static_cast<size_t>(spec.num_partitions));
    result_.reports[stage].resize(static_cast<size_t>(spec.num_partitions));
    result_.stages.push_back({.name = spec.name});
    if (spec.keep_output) result_.outputs[stage].resize(static_cast<size_t>(spec.num_partitions));
    for (int32_t partition = 0; partition < spec.num_partitions; ++partition) {
      const bool is_committed = committer_.IsCommitted(stage, partition);
      states_[stage][static_cast<size_t>(partition)].finished = !spec.keep_output && is_committed;
      if (!is_committed) continue;
      result_.reports[stage][static_cast<size_t>(partition)] =
          committer_.ReportOf(stage, partition);
    }
  }
}

Result<JobResult> JobRun::Run() {
  Status status = Rounds();
  if (!status.ok()) Abandon();
  ReleaseAll();
  const Status closed = committer_.Close(cleanup_context_, status.ok());
  if (status.ok()) status = closed;
  if (!status.ok()) {
    for (const auto& partitions : result_.outputs) {
      for (const auto& blocks : partitions) backend_.Release(blocks);
    }
    return status;
  }
  result_.tokens.resize(plan_.stages.size());
  for (size_t stage = 0; stage < plan_.stages.size(); ++stage) {
    if (plan_.stages[stage].sink == nullptr) continue;
    for (int32_t partition = 0; partition < plan_.stages[stage].num_partitions; ++partition) {
      result_.tokens[stage].push_back(committer_.TokenOf(stage, partition));
    }
  }
  return std::move(result_);
}

Status JobRun::Rounds() {
  WorkOutNeeds();
  ProgressPhase progress(context_.progress, plan_.name, num_to_run_, "tasks");
  while (true) {
    GNOMON_RETURN_NOT_OK(context_.Check());
    LookAtNodes();
    WorkOutNeeds();
    ReleaseUnneeded();
    if (num_to_run_ == 0) break;
    GNOMON_RETURN_NOT_OK(SubmitReady());
    GNOMON_RETURN_NOT_OK(SubmitSlow());
    GNOMON_RETURN_NOT_OK(CheckStuck());
    std::vector<TaskId> ids;
    for (const auto& [id, task] : running_) ids.push_back(id);
    GNOMON_ASSIGN_OR_RETURN(const auto outcomes,
                            backend_.Wait(context_, ids, WaitFor::kAny, SecondsToWait()));
    Status status;
    const int64_t counted = num_counted_;
    for (const TaskOutcome& outcome : outcomes) {
      // Each outcome comes once: those behind an error are not for Abandon to wait for.
      if (!status.ok()) {
        Discard(outcome);
        continue;
      }
      status = Handle(outcome);
    }
    if (num_counted_ > counted) progress.Advance(num_counted_ - counted);
    GNOMON_RETURN_NOT_OK(status);
  }
  // Slower attempts of finished partitions may still run.
  Abandon();
  return Status::OK();
}

Status JobRun::Handle(const TaskOutcome& outcome) {
  const auto found = running_.find(outcome.task);
  if (found == running_.end()) return Status::OK();
  const RunningTask task = found->second;
  running_.erase(found);
  PartitionState& state = states_[task.stage][static_cast<size_t>(task.partition)];
  state.num_running -= 1;
  if (const auto node = nodes_.find(task.node); node != nodes_.end()) {
    node->second.free.Add(plan_.stages[task.stage].resources);
    node->second.num_running -= 1;
  }
  if (state.to_run && outcome.status.ok()) return Win(task, outcome);
  // An attempt that another one has overtaken may have been cancelled, or have lost its inputs.
  if (state.to_run && task.num_done == state.num_done) return Fail(task, outcome);
  result_.stats.superseded += 1;
  if (outcome.status.ok()) Drop(task, outcome.output);
  return Status::OK();
}

Result<std::vector<BlockDescriptor>> JobRun::FetchAll(const std::vector<BlockDescriptor>& blocks) {
  std::vector<BlockDescriptor> fetched;
  for (const BlockDescriptor& block : blocks) {
    auto copy = backend_.Fetch(context_, block);
    if (!copy.ok()) {
      backend_.Release(fetched);
      return copy.status();
    }
    fetched.push_back(*copy);
  }
  return fetched;
}

Status JobRun::Win(const RunningTask& task, const TaskOutcome& outcome) {
  const StageSpec& spec = plan_.stages[task.stage];
  const auto partition = static_cast<size_t>(task.partition);
  PartitionState& state = states_[task.stage][partition];
  for (const BlockDescriptor& block : outcome.output.blocks) {
    if (block.node == kDriverNode || nodes_.contains(block.node)) continue;
    Drop(task, outcome.output);
    return Fail(task, LostOutcome(outcome.task, Error(ErrorKind::kUnavailable, "node ", block.node,
                                                      " died with its blocks")));
  }
  if (spec.keep_output && !state.finished) {
    auto fetched = FetchAll(outcome.output.blocks);
    if (!fetched.ok()) {
      Drop(task, outcome.output);
      return Fail(task, LostOutcome(outcome.task, fetched.status()));
    }
    result_.outputs[task.stage][partition] = std::move(*fetched);
  }
  if (state.num_done == 0) Count(task, outcome.output);
  KeepBlocks(state, outcome.output.blocks);
  if (spec.sink != nullptr && outcome.output.commit_token.empty()) {
    return Error(ErrorKind::kInternal, "stage ", Quoted(spec.name),
                 " has a sink but gave no token");
  }
  if (spec.sink != nullptr && committer_.IsCommitted(task.stage, task.partition)) {
    committer_.Abort(context_, task.stage, outcome.output.commit_token);
  } else if (spec.sink != nullptr) {
    GNOMON_RETURN_NOT_OK(
        committer_.Commit(context_, task.stage, task.partition, task.attempt, outcome.output));
    result_.stats.committed += 1;
  }
  state.finished = true;
  CancelOthers(task.stage, task.partition);
  return Status::OK();
}

void JobRun::KeepBlocks(PartitionState& state, const std::vector<BlockDescriptor>& blocks) {
  state.to_run = false;
  state.has_blocks = true;
  state.num_done += 1;
  state.failures = 0;
  state.lost = 0;
  state.blocks = blocks;
  state.bytes = 0;
  for (const BlockDescriptor& block : blocks) state.bytes += block.bytes;
}

void JobRun::Count(const RunningTask& task, const TaskOutput& output) {
  StageStats& stage = result_.stages[task.stage];
  stage.partitions += 1;
  for (const BlockDescriptor& block : output.blocks) {
    stage.rows += block.rows;
    stage.bytes += block.bytes;
    stage.spilled_bytes += block.spilled ? block.bytes : 0;
    result_.stats.rows += block.rows;
    result_.stats.bytes += block.bytes;
  }
  stage.seconds += output.seconds;
  stage.longest_seconds = std::max(stage.longest_seconds, output.seconds);
  // What was committed by an earlier run is what the rows are of.
  auto& report = result_.reports[task.stage][static_cast<size_t>(task.partition)];
  if (!report.has_value()) report = output.report;
  num_counted_ += 1;
}

Status JobRun::Fail(const RunningTask& task, const TaskOutcome& outcome) {
  const StageSpec& spec = plan_.stages[task.stage];
  PartitionState& state = states_[task.stage][static_cast<size_t>(task.partition)];
  const RetryPolicy& retry = options_.retry;
  const Status status =
      WithContext(outcome.status, Concat("stage ", Quoted(spec.name), ", partition ",
                                         task.partition, ", attempt ", task.attempt));
  if (outcome.lost) {
    result_.stats.lost += 1;
    if (++state.lost >= retry.max_lost_attempts) return status;
  } else {
    if (!IsRetryable(outcome.status) || ++state.failures >= retry.max_attempts) return status;
    result_.stats.failures += 1;
  }
  const int before = state.failures + state.lost - 1;
  state.not_before =
      backend_.Now() + std::min(retry.max_delay_seconds,
                                retry.first_delay_seconds * std::exp2(std::min(before, 30)));
  return Status::OK();
}

void JobRun::Drop(const RunningTask& task, const TaskOutput& output) {
  backend_.Release(output.blocks);
  committer_.Abort(cleanup_context_, task.stage, output.commit_token);
}

void JobRun::CancelOthers(size_t stage, int32_t partition) {
  for (const auto& [id, task] : running_) {
    if (task.stage == stage && task.partition == partition) backend_.Cancel(id);
  }
}

void JobRun::Abandon() {
  std::vector<TaskId> ids;
  for (const auto& [id, task] : running_) {
    backend_.Cancel(id);
    ids.push_back(id);
  }
  const double end = backend_.Now() + kSecondsToStop;
  while (!running_.empty() && backend_.Now() < end) {
    const auto outcomes = backend_.Wait(cleanup_context_, ids, WaitFor::kAny, end - backend_.Now());
    if (!outcomes.ok()) return;
    for (const TaskOutcome& outcome : *outcomes) {
      Discard(outcome);
      std::erase(ids, outcome.task);
    }
  }
}

void JobRun::Discard(const TaskOutcome& outcome) {
  const auto found = running_.find(outcome.task);
  if (found == running_.end()) return;
  if (outcome.status.ok()) Drop(found->second, outcome.output);
  running_.erase(found);
}

void JobRun::ReleaseAll() {
  for (auto& partitions : states_) {
    for (PartitionState& state : partitions) {
      backend_.Release(state.blocks);
      state.blocks.clear();
      state.has_blocks = false;
    }
  }
}

Result<JobResult> RunJob(const Context& context, Backend& backend, const JobPlan& plan,
                         const JobOptions& options) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_RETURN_NOT_OK(plan.Validate());
  GNOMON_ASSIGN_OR_RETURN(Committer committer, Committer::Open(context, plan, options));
  return JobRun(context, backend, plan, options, std::move(committer)).Run();
}

}  // namespace gnomon::runtime
