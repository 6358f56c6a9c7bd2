#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace gnomon::test {

/// A TCP port of the loopback interface that nobody listens on at the moment, and that the system
/// gives to no client meanwhile.
int FreePort();

/// A TCP port of the loopback interface that refuses connections for as long as this lives.
class ClosedPort {
 public:
  ClosedPort();
  ~ClosedPort();
  ClosedPort(const ClosedPort&) = delete;
  ClosedPort& operator=(const ClosedPort&) = delete;
  int port() const { return port_; }

 private:
  int socket_;
  int port_;
};

/// The path of a program in `folders` or PATH; ends the test case with what to install when there
/// is none.
std::string FindProgram(const std::string& name, const std::vector<std::string>& folders,
                        const std::string& debian_package);

struct ServerProcessOptions {
  std::string user;  ///< to run as when this process is root's; empty: this one's
  double timeout = 60;
};

/// A server that this process started: ends with it, also when this process is killed. It ends with
/// the thread that started it, too.
class ServerProcess {
 public:
  /// Starts a command and waits until `is_ready`; kUnavailable with its messages when it ends
  /// before.
  static Result<ServerProcess> Start(const std::vector<std::string>& command,
                                     const std::function<bool()>& is_ready,
                                     const ServerProcessOptions& options = {});
  pid_t pid() const { return process_.pid(); }
  /// Asks it to end by `signal` and waits; kills it when it does not.
  void Stop(int signal);

 private:
  explicit ServerProcess(Process process) : process_(std::move(process)) {}
  Process process_;
};

/// `command` as it must be called to run as `user` and to get `signal` when this process ends.
std::vector<std::string> Supervised(const std::vector<std::string>& command,
                                    const std::string& user, const std::string& signal);

}  // namespace gnomon::test
