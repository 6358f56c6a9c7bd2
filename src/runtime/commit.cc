#include <algorithm>
#include <set>

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"
#include "runtime/commit_internal.h"

namespace gnomon::runtime {

Result<Committer> Committer::Open(const Context& context, const JobPlan& plan,
                                  const JobOptions& options) {
  Committer committer(plan, options.retry.max_attempts);
  if (!options.journal.empty()) {
    GNOMON_ASSIGN_OR_RETURN(committer.journal_,
                            Journal::Open(options.journal, plan.name, plan.Fingerprint()));
    GNOMON_RETURN_NOT_OK(committer.Resume(context));
  }
  return committer;
}

Status Committer::Resume(const Context& context) {
  const JournalContents& contents = journal_->contents();
  std::set<std::pair<std::string, int32_t>> known;
  for (const JournalCommit& commit : contents.committed) {
    known.emplace(commit.stage, commit.partition);
  }
  for (const JournalCommit& commit : contents.prepared) {
    const auto stage = std::ranges::find(plan_->stages, commit.stage, &StageSpec::name);
    if (stage == plan_->stages.end() || stage->sink == nullptr || commit.partition < 0 ||
        commit.partition >= stage->num_partitions) {
      return Error(ErrorKind::kDataLoss,
                   "the journal names a partition that the job does not have: ",
                   Quoted(commit.stage), ", ", commit.partition);
    }
    const auto index = static_cast<size_t>(stage - plan_->stages.begin());
    num_resumed_ += 1;
    if (known.contains({commit.stage, commit.partition})) {
      committed_.emplace(std::pair(index, commit.partition), commit);
    } else {
      GNOMON_RETURN_NOT_OK(CommitChosen(context, index, commit));
    }
  }
  return Status::OK();
}

Status Committer::Commit(const Context& context, size_t stage, int32_t partition, int32_t attempt,
                         const TaskOutput& output) {
  GNOMON_CHECK(!IsCommitted(stage, partition), "a partition is committed once");
  const JournalCommit commit{.stage = plan_->stages[stage].name,
                             .partition = partition,
                             .attempt = attempt,
                             .token = output.commit_token,
                             .report = output.report};
  if (journal_ != nullptr) GNOMON_RETURN_NOT_OK(journal_->AppendPrepared(commit));
  return CommitChosen(context, stage, commit);
}

Status Committer::CommitChosen(const Context& context, size_t stage, const JournalCommit& commit) {
  if (journal_ != nullptr) pending_.emplace_back(stage, commit.token);
  GNOMON_RETURN_NOT_OK(FaultPoint("job.before_commit"));
  Sink& sink = *plan_->stages[stage].sink;
  Status status;
  for (int i = 0; i < max_attempts_; ++i) {
    status = sink.Commit(context, commit.token);
    if (status.ok() || !IsRetryable(status)) break;
  }
  GNOMON_RETURN_NOT_OK(WithContext(
      status, Concat("commit of stage ", Quoted(commit.stage), ", partition ", commit.partition)));
  GNOMON_RETURN_NOT_OK(FaultPoint("job.after_commit"));
  if (journal_ != nullptr) {
    GNOMON_RETURN_NOT_OK(journal_->AppendCommitted(commit));
    pending_.pop_back();
  }
  committed_.emplace(std::pair(stage, commit.partition), commit);
  return Status::OK();
}

void Committer::Abort(const Context& context, size_t stage, const std::string& token) const {
  if (plan_->stages[stage].sink == nullptr || token.empty()) return;
  const Status status = plan_->stages[stage].sink->Abort(context, token);
  if (!status.ok()) {
    LogWarning("runtime", "an attempt could not be aborted",
               {{"stage", plan_->stages[stage].name}, {"error", status.message()}});
  }
}

Status Committer::Close(const Context& context, bool finished) {
  Status first;
  for (size_t stage = 0; stage < plan_->stages.size(); ++stage) {
    if (plan_->stages[stage].sink == nullptr) continue;
    std::vector<std::string> pending;
    for (const auto& [owner, token] : pending_) {
      if (owner == stage) pending.push_back(token);
    }
    const Status status = plan_->stages[stage].sink->Clean(context, pending);
    if (first.ok()) first = status;
  }
  if (finished && first.ok() && journal_ != nullptr && !journal_->contents().finished) {
    first = journal_->AppendFinished();
  }
  return first;
}

}  // namespace gnomon::runtime
