#include "runtime/local/worker.h"

#include <condition_variable>
#include <memory>
#include <stop_token>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/memory.h"
#include "base/mutex.h"
#include "base/parallel.h"
#include "base/text.h"
#include "base/version.h"
#include "runtime/local/frame_internal.h"
#include "runtime/local/protocol_internal.h"
#include "runtime/message_internal.h"

namespace gnomon::runtime {

namespace {

constexpr auto kGraceAfterDriver = std::chrono::seconds(5);

class WorkerSession {
 public:
  WorkerSession(const StageRegistry& registry, int socket) : registry_(registry), socket_(socket) {}
  ~WorkerSession() { EndTask(); }

  Status Serve() {
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto frame, ReceiveFrame(socket_));
      if (!frame.has_value()) return Status::OK();
      GNOMON_ASSIGN_OR_RETURN(auto request,
                              ParseMessage<proto::WorkerRequest>(frame->payload, "request"));
      GNOMON_RETURN_NOT_OK(Answer(request, std::move(frame->files)));
    }
  }

 private:
  Status Answer(const proto::WorkerRequest& request, std::vector<FileDescriptor> files) {
    switch (request.request_case()) {
      case proto::WorkerRequest::kSettings:
        return SetUp(request.settings());
      case proto::WorkerRequest::kRun:
        return StartTask(request.run(), std::move(files));
      case proto::WorkerRequest::kCancel:
        if (request.cancel() == task_id_) stop_.request_stop();
        return Status::OK();
      case proto::WorkerRequest::kCreateActor:
        return CreateActor(request.create_actor());
      case proto::WorkerRequest::kCallActor:
        return CallActor(request.call_actor());
      case proto::WorkerRequest::REQUEST_NOT_SET:
        break;
    }
    return Error(ErrorKind::kUnsupported, "the driver asks for what this worker does not know");
  }

  Status SetUp(const proto::WorkerSettings& settings) {
    if (settings.num_threads() > 0) SetNumThreads(settings.num_threads());
    memory_ = std::make_unique<MemoryBudget>("worker", settings.memory_limit());
    store_ = std::make_unique<BlockStore>(
        BlockStoreOptions{.memory = memory_.get(), .spill_folder = settings.spill_folder()});
    proto::WorkerReply reply;
    reply.mutable_ready()->set_protocol(kWorkerProtocol);
    reply.mutable_ready()->set_writer_build(kVersion);
    ToMessage(TakeAccess(settings), reply.mutable_ready()->mutable_error());
    return Reply(reply, {});
  }

  Status TakeAccess(const proto::WorkerSettings& settings) {
    for (const auto& [service, bytes] : settings.access()) {
      GNOMON_ASSIGN_OR_RETURN(const AccessFunction* take, registry_.FindAccess(service));
      GNOMON_RETURN_NOT_OK((*take)(bytes));
    }
    return Status::OK();
  }

  Status StartTask(const proto::RunRequest& run, std::vector<FileDescriptor> files) {
    GNOMON_RETURN_NOT_OK(CheckSetUp());
    if (task_thread_.joinable()) task_thread_.join();
    task_id_ = run.task_id();
    stop_ = std::stop_source();
    Task task = FromMessage(run.task());
    size_t next = 0;
    for (auto& edge : task.inputs) {
      for (BlockDescriptor& block : edge) {
        if (next == files.size()) return Error(ErrorKind::kDataLoss, "a block came without file");
        // What the driver lends is in its books, not in ours.
        const BlockDescriptor lent{.rows = block.rows, .bytes = block.bytes, .spilled = true};
        GNOMON_ASSIGN_OR_RETURN(block, store_->Adopt(std::move(files[next++]), lent));
      }
    }
    {
      const MutexLock lock(mutex_);
      is_running_ = true;
    }
    task_thread_ = std::thread([this, task = std::move(task), id = task_id_] { Run(task, id); });
    return Status::OK();
  }

  // On the task's thread.
  void Run(const Task& task, TaskId id) {
    Context context;
    context.stop = stop_.get_token();
    context.memory = memory_.get();
    TaskOutcome outcome{.task = id, .status = {}, .lost = false, .output = {}};
    auto output = RunTask(context, registry_, task, *store_);
    std::vector<FileDescriptor> files;
    if (output.ok()) {
      outcome.output = std::move(*output);
      for (const BlockDescriptor& block : outcome.output.blocks) {
        auto file = store_->Share(block);
        if (!file.ok()) {
          outcome.status = file.status();
          files.clear();
          break;
        }
        files.push_back(std::move(*file));
      }
    } else {
      outcome.status = output.status();
    }
    if (!outcome.status.ok()) outcome.output = {};
    proto::WorkerReply reply;
    ToMessage(outcome, reply.mutable_outcome());
    // A driver that is gone is seen by Serve.
    (void)Reply(reply, files);
    store_->Clear();
    const MutexLock lock(mutex_);
    is_running_ = false;
    ended_.notify_all();
  }

  Status CreateActor(const proto::ActorCreation& creation) {
    GNOMON_RETURN_NOT_OK(CheckSetUp());
    const auto create = [&]() -> Status {
      GNOMON_ASSIGN_OR_RETURN(const ActorFactory* factory, registry_.FindActor(creation.type()));
      GNOMON_ASSIGN_OR_RETURN(actor_, (*factory)(ActorContext(), creation.arguments()));
      return Status::OK();
    };
    proto::WorkerReply reply;
    ToMessage(create(), reply.mutable_actor()->mutable_error());
    return Reply(reply, {});
  }

  Status CallActor(const proto::ActorCall& call) {
    if (actor_ == nullptr) return Error(ErrorKind::kInternal, "this worker has no actor");
    proto::WorkerReply reply;
    auto answer = actor_->Call(ActorContext(), call.method(), call.payload());
    ToMessage(answer.status(), reply.mutable_actor()->mutable_error());
    if (answer.ok()) reply.mutable_actor()->set_payload(std::move(*answer));
    return Reply(reply, {});
  }

  Context ActorContext() const {
    Context context;
    context.memory = memory_.get();
    return context;
  }

  Status CheckSetUp() const {
    if (store_ != nullptr) return Status::OK();
    return Error(ErrorKind::kInternal, "the driver sent no settings");
  }

  Status Reply(const proto::WorkerReply& reply, std::span<const FileDescriptor> files) {
    const MutexLock lock(send_mutex_);
    return SendFrame(socket_, reply.SerializeAsString(), files);
  }

  void EndTask() {
    stop_.request_stop();
    {
      const MutexLock lock(mutex_);
      // Nobody is left to read what a task makes that does not look at its stop token.
      if (!ended_.wait_for(mutex_, kGraceAfterDriver, [&] { return !is_running_; })) {
        ::_exit(ExitCodeOf(ErrorKind::kUnavailable));
      }
    }
    if (task_thread_.joinable()) task_thread_.join();
  }

  const StageRegistry& registry_;
  const int socket_;
  std::unique_ptr<MemoryBudget> memory_;
  std::unique_ptr<BlockStore> store_;
  std::unique_ptr<Actor> actor_;
  TaskId task_id_ = 0;
  std::stop_source stop_;
  std::thread task_thread_;
  Mutex send_mutex_;
  Mutex mutex_;
  std::condition_variable_any ended_;
  bool is_running_ GNOMON_GUARDED_BY(mutex_) = false;
};

}  // namespace

Status RunWorker(const StageRegistry& registry, int socket) {
  RaiseOpenFileLimit();
  return WorkerSession(registry, socket).Serve();
}

}  // namespace gnomon::runtime
