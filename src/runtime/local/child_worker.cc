#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "runtime/local/child_worker_internal.h"
#include "runtime/local/protocol_internal.h"
#include "runtime/message_internal.h"

namespace gnomon::runtime {

namespace {

// The number of the socket in the child.
constexpr int kWorkerFd = 3;
constexpr double kStartSeconds = 60;

// Becomes readable when a stop is requested.
class StopEvent {
 public:
  explicit StopEvent(const std::stop_token& stop)
      : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(stop, [this] { Raise(); }) {}
  int fd() const { return event_.get(); }

 private:
  void Raise() const {
    const uint64_t one = 1;
    // An eventfd that is full is readable, too.
    (void)!::write(event_.get(), &one, sizeof(one));
  }

  FileDescriptor event_;
  std::stop_callback<std::function<void()>> callback_;
};

// Waits for a socket while a worker may still be expected to read or write it.
class Patience {
 public:
  // `grace` is asked once, when `context` ends: how many seconds it may still take. With
  // `stall_seconds` above 0 each wait ends after these as well.
  Patience(const Context& context, int socket, std::function<double()> grace,
           double stall_seconds = 0)
      : context_(context),
        socket_(socket),
        grace_(std::move(grace)),
        stall_seconds_(stall_seconds) {}

  Status Wait(short events) {
    if (!stop_.has_value()) stop_.emplace(context_.stop);
    const double begun = MonotonicSeconds();
    while (true) {
      const double now = MonotonicSeconds();
      const Status ended = context_.Check();
      if (!ended.ok() && !give_up_at_.has_value()) give_up_at_ = now + grace_();
      if (give_up_at_.has_value() && now >= *give_up_at_) return GiveUp(ended);
      if (stall_seconds_ > 0 && now >= begun + stall_seconds_) {
        return GiveUp(Error(ErrorKind::kUnavailable, "a worker process took nothing for ",
                            stall_seconds_, " s and was killed"));
      }
      double wake = give_up_at_.value_or(context_.deadline.value_or(now + kLongestWait));
      if (stall_seconds_ > 0) wake = std::min(wake, begun + stall_seconds_);
      GNOMON_ASSIGN_OR_RETURN(const bool ready, Poll(events, wake - now));
      if (ready) return Status::OK();
    }
  }

  // The error that Wait ended with; OK when it did not.
  const Status& given_up() const { return given_up_; }

 private:
  // Also when there was no descriptor left for the event.
  static constexpr double kLongestWait = 1;

  Status GiveUp(Status why) {
    given_up_ = why;
    return why;
  }

  Result<bool> Poll(short events, double seconds) const {
    const int timeout =
        static_cast<int>(std::clamp(seconds, 0.0, kLongestWait) * 1000) + 1;  // milliseconds
    std::array<pollfd, 2> polled = {
        {{.fd = socket_, .events = events, .revents = 0},
         {.fd = give_up_at_.has_value() ? -1 : stop_->fd(), .events = POLLIN, .revents = 0}}};
    if (::poll(polled.data(), polled.size(), timeout) < 0) {
      if (errno != EINTR) return ErrnoError(errno, "poll");
      return false;
    }
    return (polled[0].revents & (events | POLLHUP | POLLERR)) != 0;
  }

  const Context& context_;
  const int socket_;
  const std::function<double()> grace_;
  const double stall_seconds_;
  std::optional<StopEvent> stop_;
  std::optional<double> give_up_at_;
  Status given_up_;
};

struct SpawnSetup {
  SpawnSetup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

Result<pid_t> Spawn(std::vector<std::string> command, int socket) {
  SpawnSetup setup;
  posix_spawn_file_actions_adddup2(&setup.actions, socket, kWorkerFd);
  // A process group of its own: Ctrl-C in a terminal is the driver's to handle. No blocked signals.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&setup.attributes, &none);
  posix_spawnattr_setpgroup(&setup.attributes, 0);
  posix_spawnattr_setflags(&setup.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  std::vector<char*> arguments;
  for (std::string& argument : command) {
    if (argument == "{fd}") argument = std::to_string(kWorkerFd);
    arguments.push_back(argument.data());
  }
  arguments.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, arguments[0], &setup.actions, &setup.attributes,
                                   arguments.data(), environ);
  if (error != 0) return ErrnoError(error, Concat("cannot start worker ", Quoted(command[0])));
  return pid;
}

}  // namespace

Result<std::unique_ptr<ChildWorker>> ChildWorker::Start(const Context& context,
                                                        const ChildWorkerOptions& options) {
  GNOMON_CHECK(!options.command.empty(), "a worker has a command");
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return ErrnoError(errno, "cannot make a socket pair");
  }
  FileDescriptor ours(ends[0]);
  FileDescriptor theirs(ends[1]);
  GNOMON_ASSIGN_OR_RETURN(const pid_t pid, Spawn(options.command, theirs.get()));
  // The worker alone holds its end: its death is the end of the stream.
  theirs.Close();
  std::unique_ptr<ChildWorker> worker(new ChildWorker(pid, std::move(ours), options));
  proto::WorkerRequest request;
  request.mutable_settings()->set_protocol(kWorkerProtocol);
  request.mutable_settings()->set_memory_limit(options.memory_limit);
  request.mutable_settings()->set_spill_folder(options.spill_folder);
  request.mutable_settings()->set_num_threads(options.num_threads);
  for (const auto& [service, access] : options.access)
    (*request.mutable_settings()->mutable_access())[service] = access.Reveal();
  GNOMON_RETURN_NOT_OK(worker->Send(context, request));
  std::vector<FileDescriptor> files;
  auto received = worker->Receive(context.WithTimeout(kStartSeconds), 0, &files);
  if (!received.ok() && KindOf(received.status()) == ErrorKind::kDeadline && context.Check().ok()) {
    return Error(ErrorKind::kUnavailable, "worker ", Quoted(options.command[0]),
                 " did not answer within ", kStartSeconds, " s");
  }
  GNOMON_ASSIGN_OR_RETURN(const auto reply, std::move(received));
  if (!reply.has_ready() || reply.ready().protocol() != kWorkerProtocol) {
    return Error(ErrorKind::kUnsupported, "worker ", Quoted(options.command[0]),
                 " is of another build");
  }
  GNOMON_RETURN_NOT_OK(FromMessage(reply.ready().error()));
  return worker;
}

ChildWorker::~ChildWorker() { Reap(); }

std::string ChildWorker::Reap() {
  if (pid_ <= 0) return "was ended";
  const pid_t pid = std::exchange(pid_, 0);
  // One that ended by itself keeps its own exit status.
  ::kill(pid, SIGKILL);
  socket_.Close();
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return Concat("exited with code ", WEXITSTATUS(status));
  return Concat("was killed by signal ", WTERMSIG(status));
}

Status ChildWorker::Send(const Context& context, const proto::WorkerRequest& request,
                         std::span<const FileDescriptor> files) {
  if (!is_alive()) return Error(ErrorKind::kUnavailable, "the worker process has ended");
  // What is sent in part cannot be taken back: no grace.
  Patience patience(
      context, socket_.get(), [] { return 0.0; }, options_.stall_seconds);
  const Status status = SendFrame(socket_.get(), request.SerializeAsString(), files,
                                  [&](short events) { return patience.Wait(events); });
  if (status.ok()) return status;
  const std::string end = Reap();
  if (!patience.given_up().ok()) return patience.given_up();
  // Too much for a frame: not the worker's fault.
  if (KindOf(status) == ErrorKind::kExhausted) return status;
  return Error(ErrorKind::kUnavailable, "a worker process ", end);
}

Status ChildWorker::SendCancel(TaskId task) {
  proto::WorkerRequest request;
  request.set_cancel(task);
  return SendFrame(socket_.get(), request.SerializeAsString(), {}, [](short) {
    return Error(ErrorKind::kUnavailable, "the worker process does not read");
  });
}

Result<proto::WorkerReply> ChildWorker::Receive(const Context& context, TaskId task,
                                                std::vector<FileDescriptor>* files) {
  Patience patience(context, socket_.get(), [&] {
    return task != 0 && SendCancel(task).ok() ? options_.cancel_grace_seconds : 0.0;
  });
  auto frame = ReceiveFrame(socket_.get(), [&](short events) { return patience.Wait(events); });
  if (!frame.ok() || !frame->has_value()) {
    const std::string end = Reap();
    if (!patience.given_up().ok()) return patience.given_up();
    // This process could not take what the worker sent.
    if (!frame.ok() && KindOf(frame.status()) == ErrorKind::kExhausted) return frame.status();
    return Error(ErrorKind::kUnavailable, "a worker process ", end);
  }
  *files = std::move((*frame)->files);
  return ParseMessage<proto::WorkerReply>((*frame)->payload, "reply of a worker");
}

Result<TaskOutcome> ChildWorker::Exchange(const Context& context, TaskId id, const Task& task,
                                          BlockStore& store) {
  proto::WorkerRequest request;
  request.mutable_run()->set_task_id(id);
  ToMessage(task, request.mutable_run()->mutable_task());
  std::vector<FileDescriptor> files;
  for (const auto& edge : task.inputs) {
    for (const BlockDescriptor& block : edge) {
      GNOMON_ASSIGN_OR_RETURN(FileDescriptor file, store.Share(block));
      files.push_back(std::move(file));
    }
  }
  GNOMON_RETURN_NOT_OK(Send(context, request, files));
  files.clear();
  GNOMON_ASSIGN_OR_RETURN(const auto reply, Receive(context, id, &files));
  TaskOutcome outcome = FromMessage(reply.outcome());
  auto& blocks = outcome.output.blocks;
  if (!reply.has_outcome() || outcome.task != id || blocks.size() != files.size()) {
    Reap();
    return Error(ErrorKind::kDataLoss, "a worker answered what was not asked");
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    auto adopted = store.Adopt(std::move(files[i]), blocks[i]);
    if (!adopted.ok()) {
      store.Release(std::span(blocks).first(i));
      return adopted.status();
    }
    blocks[i] = *adopted;
  }
  return outcome;
}

TaskOutcome ChildWorker::Run(const Context& context, TaskId id, const Task& task,
                             BlockStore& store) {
  auto outcome = Exchange(context, id, task, store);
  if (outcome.ok()) return std::move(*outcome);
  // Killed because it did not stop: that is what the caller wanted.
  const bool lost = !is_alive() && context.Check().ok();
  return {.task = id, .status = outcome.status(), .lost = lost, .output = {}};
}

Result<std::string> ChildWorker::ActorReply(const Context& context,
                                            const proto::WorkerRequest& request) {
  GNOMON_RETURN_NOT_OK(Send(context, request));
  std::vector<FileDescriptor> files;
  GNOMON_ASSIGN_OR_RETURN(auto reply, Receive(context, 0, &files));
  GNOMON_RETURN_NOT_OK(FromMessage(reply.actor().error()));
  return std::move(*reply.mutable_actor()->mutable_payload());
}

Status ChildWorker::CreateActor(const Context& context, const std::string& type,
                                std::string_view arguments) {
  proto::WorkerRequest request;
  request.mutable_create_actor()->set_type(type);
  request.mutable_create_actor()->set_arguments(std::string(arguments));
  return ActorReply(context, request).status();
}

Result<std::string> ChildWorker::CallActor(const Context& context, std::string_view method,
                                           std::string_view payload) {
  proto::WorkerRequest request;
  request.mutable_call_actor()->set_method(std::string(method));
  request.mutable_call_actor()->set_payload(std::string(payload));
  return ActorReply(context, request);
}

}  // namespace gnomon::runtime
