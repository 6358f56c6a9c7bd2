#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "base/error.h"

namespace gnomon::test {

/// GNOMON_TEST_TIME_SCALE, by which every deadline of a test is multiplied; 1 when it is not set.
double TimeScale();

struct ProcessOptions {
  /// Added to the environment of this process; nullopt removes a variable.
  std::map<std::string, std::optional<std::string>> environment = {};
  /// The working folder; empty means this process's.
  std::string folder = {};
  /// What the child reads from its standard input.
  std::string input = {};
  /// For RunCommand: seconds (times TimeScale) until the child is killed and the test case ends.
  double timeout = 60;
};

/// A child process whose standard output and error are collected. An argument "{ready_fd}" stands
/// for the number of a descriptor, to be read by ReadReadyLine. Killed by SIGKILL at the end of the
/// scope when it still runs.
class Process {
 public:
  /// The program is searched in PATH.
  static Result<Process> Start(const std::vector<std::string>& arguments,
                               const ProcessOptions& options = {});
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  pid_t pid() const;
  void SendSignal(int signal);

  /// Waits for the end; the exit code, or 128 + the signal that ended it. kDeadline after `seconds`
  /// times TimeScale.
  Result<int> Wait(double seconds = 30);

  /// The next line that the child writes to its ready descriptor, without the line feed. kDeadline
  /// when none comes, kUnavailable when the child closes it (or dies) before.
  Result<std::string> ReadReadyLine(double seconds = 30);

  /// What the child has written up to now; all of it after Wait.
  std::string out() const;
  std::string err() const;

 private:
  struct State;
  explicit Process(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct CommandResult {
  int exit_code;
  std::string out;
  std::string err;
};

/// Runs a command to its end. Ends the test case when it cannot be started or does not end in time.
CommandResult RunCommand(const std::vector<std::string>& arguments,
                         const ProcessOptions& options = {});

}  // namespace gnomon::test
