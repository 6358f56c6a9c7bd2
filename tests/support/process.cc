#include "tests/support/process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "tests/support/status.h"

namespace gnomon::test {

namespace {

// The number of the ready descriptor in the child.
constexpr int kReadyFd = 3;
// How long to wait for the end of the output after the child's end: a grandchild may hold the
// pipes.
constexpr double kSecondsToDrain = 2;

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  ~Fd() { Close(); }
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> MakePipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<Fd> MakeInput(const std::string& text) {
  Fd file(::memfd_create("input", MFD_CLOEXEC));
  if (file.get() < 0) return ErrnoError(errno, "memfd_create");
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = ::write(file.get(), text.data() + done, text.size() - done);
    if (written < 0) return ErrnoError(errno, "write");
    done += static_cast<size_t>(written);
  }
  if (::lseek(file.get(), 0, SEEK_SET) < 0) return ErrnoError(errno, "lseek");
  return file;
}

std::vector<std::string> MakeEnvironment(const ProcessOptions& options) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!options.environment.contains(std::string(text.substr(0, text.find('=')))))
      out.emplace_back(text);
  }
  for (const auto& [name, value] : options.environment) {
    if (value) out.push_back(Concat(name, '=', *value));
  }
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> out;
  for (std::string& text : *texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// Whether `fd` becomes readable (or is closed at the other end) before `end` on MonotonicSeconds.
bool WaitReadable(int fd, double end) {
  for (;;) {
    const double left = std::max(0.0, end - MonotonicSeconds());
    pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::ceil(std::min(left, 1e6) * 1000)));
    if (ready > 0) return true;
    if (ready == 0 && MonotonicSeconds() >= end) return false;
  }
}

}  // namespace

double TimeScale() {
  const char* variable = std::getenv("GNOMON_TEST_TIME_SCALE");
  const double scale = variable == nullptr ? 1 : std::strtod(variable, nullptr);
  return scale > 0 ? scale : 1;
}

struct Process::State {
  pid_t pid = -1;
  std::string program;
  std::optional<int> exit_code;
  Fd pid_fd;
  Fd ready;
  std::string ready_buffer;
  Pipe stop;     // closing its write end stops the collector
  Pipe drained;  // its write end is closed at the end of both outputs

  mutable Mutex mutex;
  std::string out GNOMON_GUARDED_BY(mutex);
  std::string err GNOMON_GUARDED_BY(mutex);
  std::jthread collector;

  ~State() {
    if (!exit_code) {
      ::kill(pid, SIGKILL);
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    stop.write.Close();
  }

  // The body of `collector`.
  void Collect(Fd out_fd, Fd err_fd) {
    std::array<pollfd, 3> entries = {{{.fd = out_fd.get(), .events = POLLIN, .revents = 0},
                                      {.fd = err_fd.get(), .events = POLLIN, .revents = 0},
                                      {.fd = stop.read.get(), .events = POLLIN, .revents = 0}}};
    std::array<char, 65536> buffer;
    while (entries[0].fd >= 0 || entries[1].fd >= 0) {
      if (::poll(entries.data(), entries.size(), -1) < 0) continue;
      if (entries[2].revents != 0) break;
      for (size_t i = 0; i < 2; ++i) {
        if (entries[i].fd < 0 || entries[i].revents == 0) continue;
        const ssize_t got = ::read(entries[i].fd, buffer.data(), buffer.size());
        if (got <= 0) {
          entries[i].fd = -1;
          continue;
        }
        const MutexLock lock(mutex);
        (i == 0 ? out : err).append(buffer.data(), static_cast<size_t>(got));
      }
    }
    drained.write.Close();
  }
};

Result<Process> Process::Start(const std::vector<std::string>& arguments,
                               const ProcessOptions& options) {
  GNOMON_CHECK(!arguments.empty());
  auto state = std::make_unique<State>();
  state->program = arguments[0];
  GNOMON_ASSIGN_OR_RETURN(Fd input, MakeInput(options.input));
  GNOMON_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  GNOMON_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  GNOMON_ASSIGN_OR_RETURN(Pipe ready, MakePipe());
  GNOMON_ASSIGN_OR_RETURN(state->stop, MakePipe());
  GNOMON_ASSIGN_OR_RETURN(state->drained, MakePipe());

  std::vector<std::string> words = arguments;
  std::ranges::replace(words, std::string("{ready_fd}"), Concat(kReadyFd));
  std::vector<std::string> environment = MakeEnvironment(options);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  // The sources of 0, 1 and 2 come first: one of them may itself have the number of the ready
  // descriptor.
  ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err.write.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ready.write.get(), kReadyFd);
  if (!options.folder.empty()) {
    ::posix_spawn_file_actions_addchdir_np(&actions, options.folder.c_str());
  }
  const int error = ::posix_spawnp(&state->pid, words[0].c_str(), &actions, nullptr,
                                   Pointers(&words).data(), Pointers(&environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    state->exit_code = -1;  // nothing to kill
    return ErrnoError(error, Concat("cannot start ", words[0]));
  }
  state->pid_fd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, state->pid, 0)));
  state->ready = std::move(ready.read);
  State* borrowed = state.get();
  state->collector = std::jthread(
      [borrowed, out_fd = std::move(out.read), err_fd = std::move(err.read)]() mutable {
        borrowed->Collect(std::move(out_fd), std::move(err_fd));
      });
  return Process(std::move(state));
}

Process::Process(std::unique_ptr<State> state) : state_(std::move(state)) {}
Process::Process(Process&&) noexcept = default;
Process& Process::operator=(Process&&) noexcept = default;
Process::~Process() = default;

pid_t Process::pid() const { return state_->pid; }

void Process::SendSignal(int signal) {
  // After the end the number may belong to another process.
  if (!state_->exit_code) ::kill(state_->pid, signal);
}

Result<int> Process::Wait(double seconds) {
  if (state_->exit_code) return *state_->exit_code;
  const double end = MonotonicSeconds() + seconds * TimeScale();
  if (state_->pid_fd.get() < 0) return Error(ErrorKind::kUnsupported, "no pidfd_open here");
  if (!WaitReadable(state_->pid_fd.get(), end)) {
    return Error(ErrorKind::kDeadline, state_->program, " did not end in time; stderr: ", err());
  }
  int status = 0;
  while (::waitpid(state_->pid, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoError(errno, "waitpid");
  }
  state_->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  WaitReadable(state_->drained.read.get(), MonotonicSeconds() + kSecondsToDrain * TimeScale());
  return *state_->exit_code;
}

Result<std::string> Process::ReadReadyLine(double seconds) {
  const double end = MonotonicSeconds() + seconds * TimeScale();
  std::string& buffer = state_->ready_buffer;
  for (;;) {
    if (const size_t line_end = buffer.find('\n'); line_end != std::string::npos) {
      std::string line = buffer.substr(0, line_end);
      buffer.erase(0, line_end + 1);
      return line;
    }
    if (!WaitReadable(state_->ready.get(), end)) {
      return Error(ErrorKind::kDeadline, state_->program,
                   " was not ready in time; stderr: ", err());
    }
    std::array<char, 4096> bytes;
    const ssize_t got = ::read(state_->ready.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return Error(ErrorKind::kUnavailable, state_->program,
                   " closed its ready descriptor; stderr: ", err());
    }
    buffer.append(bytes.data(), static_cast<size_t>(got));
  }
}

std::string Process::out() const {
  const MutexLock lock(state_->mutex);
  return state_->out;
}

std::string Process::err() const {
  const MutexLock lock(state_->mutex);
  return state_->err;
}

CommandResult RunCommand(const std::vector<std::string>& arguments, const ProcessOptions& options) {
  Process process = ValueOf(Process::Start(arguments, options));
  const int exit_code = ValueOf(process.Wait(options.timeout));
  return {exit_code, process.out(), process.err()};
}

}  // namespace gnomon::test
