#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "runtime/job.h"
#include "runtime/journal.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

/// Commits one attempt of each partition of the stages with sinks: the choice is in the journal
/// before the sink's Commit begins, the commit after it ended. Not thread-safe.
class Committer {
 public:
  /// Opens the journal and finishes the commits that an earlier run had chosen.
  static Result<Committer> Open(const Context& context, const JobPlan& plan,
                                const JobOptions& options);

  bool IsCommitted(size_t stage, int32_t partition) const {
    return committed_.contains({stage, partition});
  }
  /// REQUIRES: committed.
  const std::string& TokenOf(size_t stage, int32_t partition) const {
    return committed_.at({stage, partition}).token;
  }
  /// Of a committed partition; absent when the journal does not say. REQUIRES: committed.
  const std::optional<std::string>& ReportOf(size_t stage, int32_t partition) const {
    return committed_.at({stage, partition}).report;
  }
  /// Partitions that an earlier run had chosen.
  int64_t num_resumed() const { return num_resumed_; }

  /// REQUIRES: not committed yet.
  Status Commit(const Context& context, size_t stage, int32_t partition, int32_t attempt,
                const TaskOutput& output);
  /// Removes a losing attempt; what fails is left to Clean.
  void Abort(const Context& context, size_t stage, const std::string& token) const;
  /// Ends all sinks. `finished` when every partition is committed.
  Status Close(const Context& context, bool finished);

 private:
  Committer(const JobPlan& plan, int max_attempts) : plan_(&plan), max_attempts_(max_attempts) {}
  Status Resume(const Context& context);
  Status CommitChosen(const Context& context, size_t stage, const JournalCommit& commit);

  const JobPlan* plan_;
  int max_attempts_;
  std::unique_ptr<Journal> journal_;
  std::map<std::pair<size_t, int32_t>, JournalCommit> committed_;
  std::vector<std::pair<size_t, std::string>> pending_;  // chosen, commit not known: stage, token
  int64_t num_resumed_ = 0;
};

}  // namespace gnomon::runtime
