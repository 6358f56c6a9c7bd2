#include "runtime/local/local_backend.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <optional>
#include <stop_token>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/parallel.h"
#include "base/text.h"
#include "runtime/local/child_worker_internal.h"
#include "runtime/local/local_actor_internal.h"

namespace gnomon::runtime {

namespace {

constexpr NodeId kLocalNode = 1;

struct Entry {
  Task task;
  Context context;
  std::stop_source stop;
  std::optional<TaskOutcome> outcome;
};

class LocalBackend : public Backend {
 public:
  LocalBackend(const StageRegistry& registry, const LocalOptions& options,
               ChildWorkerOptions worker_options)
      : registry_(registry),
        options_(options),
        worker_options_(std::move(worker_options)),
        store_(
            {.node = kDriverNode, .memory = options.memory, .spill_folder = options.spill_folder}) {
    for (int i = 0; i < options_.max_workers; ++i) {
      workers_.emplace_back([this](const std::stop_token& stop) { Work(stop); });
    }
  }

  ~LocalBackend() override {
    {
      const MutexLock lock(mutex_);
      for (auto& [id, entry] : entries_) entry->stop.request_stop();
    }
    // Members go in reverse order: the threads first.
    for (std::jthread& worker : workers_) worker.request_stop();
  }

  std::string name() const override {
    return options_.isolation == Isolation::kThread ? "local (threads)" : "local (processes)";
  }

  std::vector<NodeInfo> Nodes() const override {
    return {{.id = kLocalNode,
             .name = "local",
             .capacity = {.cpus = static_cast<double>(options_.max_workers),
                          .gpus = options_.gpus,
                          .memory_bytes = options_.memory_bytes,
                          .custom = options_.custom}}};
  }

  double Now() const override { return MonotonicSeconds(); }

  Result<TaskId> Submit(const Context& context, NodeId node, const Task& task) override {
    if (node != kLocalNode) return Error(ErrorKind::kUnavailable, "no such node: ", node);
    auto entry =
        std::make_shared<Entry>(Entry{.task = task, .context = context, .stop = {}, .outcome = {}});
    // What the context borrows may be gone before the task ends: only values and what outlives the
    // backend go along.
    entry->context.stop = entry->stop.get_token();
    entry->context.memory = options_.memory;
    entry->context.clock = &RealClock();
    entry->context.metrics = nullptr;
    entry->context.progress = nullptr;
    const MutexLock lock(mutex_);
    const TaskId id = ++last_task_;
    entries_.emplace(id, std::move(entry));
    queue_.push_back(id);
    queued_.notify_one();
    return id;
  }

  Result<std::vector<TaskOutcome>> Wait(const Context& context, std::span<const TaskId> tasks,
                                        WaitFor wait_for, double seconds) override {
    const MutexLock lock(mutex_);
    const auto has_ended = [&](TaskId id) {
      const auto found = entries_.find(id);
      return found != entries_.end() && found->second->outcome.has_value();
    };
    const auto is_enough = [&] {
      return wait_for == WaitFor::kAny ? std::ranges::any_of(tasks, has_ended)
                                       : std::ranges::all_of(tasks, [&](TaskId id) {
                                           return has_ended(id) || !entries_.contains(id);
                                         });
    };
    const double end = MonotonicSeconds() + seconds;
    const double wake = context.deadline.has_value() ? std::min(end, *context.deadline) : end;
    const auto time =
        std::chrono::steady_clock::now() +
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(
            std::chrono::duration<double>(std::clamp(wake - MonotonicSeconds(), 0.0, 1e6)));
    // With nothing to wait for, the time passes.
    ended_.wait_until(mutex_, context.stop, time, [&] { return !tasks.empty() && is_enough(); });
    GNOMON_RETURN_NOT_OK(context.Check());
    std::vector<TaskOutcome> outcomes;
    for (const TaskId id : tasks) {
      if (!has_ended(id)) continue;
      outcomes.push_back(std::move(*entries_.at(id)->outcome));
      entries_.erase(id);
    }
    return outcomes;
  }

  void Cancel(TaskId task) override {
    std::shared_ptr<Entry> entry;
    {
      const MutexLock lock(mutex_);
      const auto found = entries_.find(task);
      if (found == entries_.end()) return;
      entry = found->second;
    }
    entry->stop.request_stop();
  }

  BlockStore& blocks() override { return store_; }
  Result<BlockDescriptor> Fetch(const Context&, const BlockDescriptor& block) override {
    return store_.Duplicate(block);
  }
  void Release(std::span<const BlockDescriptor> blocks) override { store_.Release(blocks); }

  Result<ActorId> CreateActor(const Context& context, NodeId node, const std::string& type,
                              std::string_view arguments) override {
    if (node != kLocalNode) return Error(ErrorKind::kUnavailable, "no such node: ", node);
    return actors_.Create(context,
                          options_.isolation == Isolation::kThread
                              ? MakeThreadActor(context, registry_, type, arguments)
                              : MakeProcessActor(context, worker_options_, type, arguments));
  }
  Result<std::string> CallActor(const Context& context, ActorId actor, std::string_view method,
                                std::string_view payload) override {
    return actors_.Call(context, actor, method, payload);
  }
  void KillActor(ActorId actor) override { actors_.Kill(actor); }

 private:
  // The life of one worker's thread.
  void Work(const std::stop_token& stop) {
    std::unique_ptr<ChildWorker> child;
    while (true) {
      TaskId id = 0;
      std::shared_ptr<Entry> entry;
      {
        const MutexLock lock(mutex_);
        if (!queued_.wait(mutex_, stop, [&] { return !queue_.empty(); })) return;
        id = queue_.front();
        queue_.pop_front();
        entry = entries_.at(id);
      }
      TaskOutcome outcome = options_.isolation == Isolation::kThread
                                ? RunInThread(id, *entry)
                                : RunInProcess(id, *entry, &child);
      const MutexLock lock(mutex_);
      entry->outcome = std::move(outcome);
      ended_.notify_all();
    }
  }

  TaskOutcome RunInThread(TaskId id, const Entry& entry) {
    auto output = RunTask(entry.context, registry_, entry.task, store_);
    TaskOutcome outcome{.task = id, .status = output.status(), .lost = false, .output = {}};
    if (output.ok()) outcome.output = std::move(*output);
    return outcome;
  }

  TaskOutcome RunInProcess(TaskId id, const Entry& entry, std::unique_ptr<ChildWorker>* child) {
    Status status = entry.context.Check();
    if (status.ok() && (*child == nullptr || !(*child)->is_alive())) {
      auto started = ChildWorker::Start(entry.context, worker_options_);
      status = started.status();
      if (started.ok()) *child = std::move(*started);
    }
    if (!status.ok()) return {.task = id, .status = status, .lost = false, .output = {}};
    return (*child)->Run(entry.context, id, entry.task, store_);
  }

  const StageRegistry& registry_;
  const LocalOptions options_;
  const ChildWorkerOptions worker_options_;
  BlockStore store_;
  LocalActors actors_;
  Mutex mutex_;
  std::condition_variable_any queued_;
  std::condition_variable_any ended_;
  std::deque<TaskId> queue_ GNOMON_GUARDED_BY(mutex_);
  std::map<TaskId, std::shared_ptr<Entry>> entries_ GNOMON_GUARDED_BY(mutex_);
  TaskId last_task_ GNOMON_GUARDED_BY(mutex_) = 0;
  std::vector<std::jthread> workers_;
};

Result<std::string> PathOfThisProgram() {
  std::string path(4096, '\0');
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  if (size < 0) return ErrnoError(errno, "cannot find this program's file");
  path.resize(static_cast<size_t>(size));
  return path;
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeLocalBackend(const StageRegistry& registry,
                                                  const LocalOptions& given) {
  LocalOptions options = given;
  if (options.max_workers <= 0) options.max_workers = NumCpus();
  if (options.memory_bytes <= 0) {
    const bool is_limited = options.memory != nullptr && options.memory->limit() > 0;
    options.memory_bytes = is_limited ? options.memory->limit() : AvailableMemory();
  }
  // Each block is an open file.
  RaiseOpenFileLimit();
  ChildWorkerOptions worker;
  if (options.isolation == Isolation::kProcess) {
    worker = {.command = options.worker_command,
              .spill_folder = options.spill_folder,
              .memory_limit = options.memory_bytes / options.max_workers,
              .num_threads = std::max(1, NumCpus() / options.max_workers),
              .cancel_grace_seconds = options.cancel_grace_seconds,
              .stall_seconds = options.stall_seconds,
              .access = options.access};
    if (worker.command.empty()) {
      GNOMON_ASSIGN_OR_RETURN(std::string program, PathOfThisProgram());
      worker.command = {std::move(program), "worker", "--fd", "{fd}"};
    }
  }
  return std::make_unique<LocalBackend>(registry, options, std::move(worker));
}

}  // namespace gnomon::runtime
