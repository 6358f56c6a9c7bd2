#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "gnomon/runtime.pb.h"
#include "runtime/block.h"
#include "runtime/file_descriptor.h"
#include "runtime/local/frame_internal.h"
#include "runtime/message.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

struct ChildWorkerOptions {
  std::vector<std::string> command;  ///< "{fd}" stands for the socket
  std::string spill_folder;
  int64_t memory_limit = 0;
  int num_threads = 1;
  double cancel_grace_seconds = 2;
  double stall_seconds = 60;
  std::map<std::string, Secret> access = {};
};

/// The driver's end of one worker process. Not thread-safe; one task or call at a time.
class ChildWorker {
 public:
  /// Starts the process and waits until it is ready.
  static Result<std::unique_ptr<ChildWorker>> Start(const Context& context,
                                                    const ChildWorkerOptions& options);
  /// Kills it.
  ~ChildWorker();
  ChildWorker(const ChildWorker&) = delete;
  ChildWorker& operator=(const ChildWorker&) = delete;

  /// False once the process has died or was killed: start another one.
  bool is_alive() const { return pid_ > 0; }

  /// Runs a task whose inputs lie in `store`, where its outputs go. A stop of `context` is passed
  /// on; a worker that does not heed it in time is killed.
  TaskOutcome Run(const Context& context, TaskId id, const Task& task, BlockStore& store);

  Status CreateActor(const Context& context, const std::string& type, std::string_view arguments);
  Result<std::string> CallActor(const Context& context, std::string_view method,
                                std::string_view payload);

 private:
  ChildWorker(pid_t pid, FileDescriptor socket, const ChildWorkerOptions& options)
      : pid_(pid), socket_(std::move(socket)), options_(options) {}

  // Ends with `context`, and when the worker takes nothing of it for too long: then it is killed.
  Status Send(const Context& context, const proto::WorkerRequest& request,
              std::span<const FileDescriptor> files = {});
  // Without waiting: the error of a worker that has not read what came before.
  Status SendCancel(TaskId task);
  // The next reply. When `context` ends, `task` (if not 0) is cancelled first.
  Result<proto::WorkerReply> Receive(const Context& context, TaskId task,
                                     std::vector<FileDescriptor>* files);
  Result<std::string> ActorReply(const Context& context, const proto::WorkerRequest& request);
  Result<TaskOutcome> Exchange(const Context& context, TaskId id, const Task& task,
                               BlockStore& store);
  // Ends the process and says how it ended.
  std::string Reap();

  pid_t pid_;
  FileDescriptor socket_;
  const ChildWorkerOptions options_;
};

}  // namespace gnomon::runtime
