#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <new>
#include <thread>
#include <utility>

#include <arrow/record_batch.h>

#include "base/mutex.h"
#include "dataset/distributed/branch_task_internal.h"
#include "dataset/distributed/operator_marks_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/distributed/stage_output_internal.h"

namespace gnomon::dataset::internal {

namespace {

using BatchPtr = std::shared_ptr<arrow::RecordBatch>;

// Batches that a branch has not taken yet.
constexpr size_t kMostWaiting = 2;

/// Batches from one reader to several branches. Thread-safe.
class SharedBatches {
 public:
  explicit SharedBatches(size_t num_branches) : branches_(num_branches) {}

  /// Waits until every branch has room. False when nobody wants more.
  bool Put(const BatchPtr& batch) {
    const MutexLock lock(mutex_);
    while (!stopped_ && std::ranges::any_of(branches_, IsFull)) changed_.wait(mutex_);
    bool wanted = false;
    for (Waiting& each : branches_) {
      if (each.left) continue;
      each.batches.push_back(batch);
      wanted = true;
    }
    changed_.notify_all();
    return wanted && !stopped_;
  }

  /// No more batches come; branches take what is there.
  void End() {
    const MutexLock lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  /// The branches shall end, too: the first reason is that of all.
  void Stop(const Status& why) {
    const MutexLock lock(mutex_);
    if (!stopped_) why_ = why;
    stopped_ = true;
    changed_.notify_all();
  }

  /// Null at the end.
  Result<BatchPtr> Take(size_t branch) {
    const MutexLock lock(mutex_);
    std::deque<BatchPtr>& batches = branches_[branch].batches;
    while (batches.empty() && !ended_ && !stopped_) changed_.wait(mutex_);
    if (stopped_) return why_;
    if (batches.empty()) return nullptr;
    BatchPtr batch = std::move(batches.front());
    batches.pop_front();
    changed_.notify_all();
    return batch;
  }

  /// The branch takes no more.
  void Leave(size_t branch) {
    const MutexLock lock(mutex_);
    branches_[branch].left = true;
    branches_[branch].batches.clear();
    changed_.notify_all();
  }

  /// Why it was stopped.
  Status status() {
    const MutexLock lock(mutex_);
    return why_;
  }

 private:
  struct Waiting {
    std::deque<BatchPtr> batches;
    bool left = false;
  };
  static bool IsFull(const Waiting& branch) {
    return !branch.left && branch.batches.size() >= kMostWaiting;
  }

  Mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Waiting> branches_ GNOMON_GUARDED_BY(mutex_);
  bool ended_ GNOMON_GUARDED_BY(mutex_) = false;
  bool stopped_ GNOMON_GUARDED_BY(mutex_) = false;
  Status why_ GNOMON_GUARDED_BY(mutex_);
};

class SharedSource : public BatchSource {
 public:
  SharedSource(SharedBatches& batches, size_t branch) : batches_(batches), branch_(branch) {}
  Result<BatchPtr> Next() override { return batches_.Take(branch_); }

 private:
  SharedBatches& batches_;
  const size_t branch_;
};

/// What is made of the rows for one consumer.
struct Branch {
  std::unique_ptr<Execution> execution;
  std::unique_ptr<StageOutput> output;
  int num_nodes = 0;
};

Status Drain(Branch& branch) {
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const BatchPtr batch, branch.execution->Next());
    if (batch == nullptr) return Status::OK();
    GNOMON_RETURN_NOT_OK(branch.output->Write(*batch));
  }
}

Status DrainGuarded(Branch& branch) {
  try {
    return Drain(branch);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory");
  } catch (const std::exception& exception) {
    return Error(ErrorKind::kInternal, "exception in a stage function: ", exception.what());
  } catch (...) {
    return Error(ErrorKind::kInternal, "exception in a stage function");
  }
}

/// Threads that drain the branches; joined at the end, whatever happens.
class BranchThreads {
 public:
  explicit BranchThreads(SharedBatches& batches) : batches_(batches) {}
  ~BranchThreads() {
    batches_.Stop(Error(ErrorKind::kCancelled, "reading ended early"));
    Join();
  }
  BranchThreads(const BranchThreads&) = delete;
  BranchThreads& operator=(const BranchThreads&) = delete;

  void Start(std::vector<Branch>& branches) {
    for (size_t i = 0; i < branches.size(); ++i) {
      threads_.emplace_back([this, i, &branch = branches[i]] {
        const Status status = DrainGuarded(branch);
        if (!status.ok()) batches_.Stop(status);
        batches_.Leave(i);
      });
    }
  }
  void Join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  SharedBatches& batches_;
  std::vector<std::thread> threads_;
};

Status ReadFor(Execution& source, SharedBatches& batches, std::vector<Branch>& branches) {
  BranchThreads threads(batches);
  threads.Start(branches);
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const BatchPtr batch, source.Next());
    if (batch == nullptr || !batches.Put(batch)) break;
  }
  batches.End();
  threads.Join();
  return batches.status();
}

/// The nodes of the source, then those of each branch. A branch waits for the reader, which is no
/// work.
std::string ReportOf(const Execution& source, int num_nodes, const std::vector<Branch>& branches) {
  std::vector<OperatorStats> all = source.Stats();
  for (const Branch& branch : branches) {
    for (OperatorStats& each : branch.execution->Stats()) {
      if (each.name == "input") each.seconds = 0;
      each.node += num_nodes;
      all.push_back(std::move(each));
    }
    num_nodes += branch.num_nodes;
  }
  return MakeReport(all);
}

}  // namespace

Result<runtime::TaskOutput> RunBranches(
    runtime::TaskContext& task, const proto::StageFragment& fragment, const Plan& source,
    const ExecutionOptions& options, const std::function<Result<Plan>(const std::string&)>& parse) {
  SharedBatches batches(static_cast<size_t>(fragment.branches_size()));
  // Progress is that of reading.
  Context quiet = task.context();
  quiet.progress = nullptr;
  std::vector<Branch> branches;
  for (const proto::StageFragment& each : fragment.branches()) {
    GNOMON_ASSIGN_OR_RETURN(const Plan plan, parse(each.plan()));
    ExecutionOptions own = options;
    own.operators = {each.operators().begin(), each.operators().end()};
    own.inputs[kSourceInput] = [&batches,
                                place = branches.size()]() -> Result<std::unique_ptr<BatchSource>> {
      return std::make_unique<SharedSource>(batches, place);
    };
    Branch& branch = branches.emplace_back();
    branch.num_nodes = each.operators_size();
    GNOMON_ASSIGN_OR_RETURN(branch.execution, Execution::Start(quiet, plan, std::move(own)));
    GNOMON_ASSIGN_OR_RETURN(branch.output, OpenStageOutput(task, each, plan->schema()));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto reader, Execution::Start(task.context(), source, options));
  GNOMON_RETURN_NOT_OK(ReadFor(*reader, batches, branches));
  runtime::TaskOutput output;
  for (const Branch& branch : branches) {
    GNOMON_ASSIGN_OR_RETURN(const auto finished, branch.output->Finish());
    output.blocks.insert(output.blocks.end(), finished.blocks.begin(), finished.blocks.end());
  }
  output.report = ReportOf(*reader, fragment.operators_size(), branches);
  return output;
}

}  // namespace gnomon::dataset::internal
