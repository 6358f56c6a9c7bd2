#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "tests/support/server_process.h"

namespace gnomon::test {

struct RedisOptions {
  std::string password = {};  ///< empty: none is asked for
  bool persistent = false;    ///< keep the data over Restart (an append-only file)
  /// Where server.crt, server.key and ca.crt lie (Authority makes them): the port then speaks TLS
  /// only.
  std::string tls_folder = {};
  std::vector<std::string> arguments = {};  ///< more of redis-server's
};

/// A redis-server of its own on a free port of 127.0.0.1 and a unix socket, in a temporary folder.
/// Stops at the end of the scope.
class RedisServer {
 public:
  /// Ends the test case when it cannot be started, and says what to install.
  static RedisServer Start(const RedisOptions& options = {});
  /// One for all test cases of a program, started at its first use.
  static RedisServer& Shared();
  RedisServer(RedisServer&&) noexcept = default;
  RedisServer& operator=(RedisServer&&) = delete;
  ~RedisServer();

  std::string host() const { return "127.0.0.1"; }
  int port() const { return port_; }
  /// "127.0.0.1:port", Feast's connection_string.
  std::string address() const;
  std::string socket_path() const;

  /// Removes everything that is stored.
  void FlushAll();
  /// The answer to one command in Redis' inline form; empty when nobody answers.
  std::string Ask(const std::string& command) const;
  void Stop();
  /// After Stop: on the same port.
  void StartAgain();
  void Restart();

 private:
  RedisServer() = default;
  std::vector<std::string> Command(const std::string& program, int port) const;
  RedisOptions options_;
  std::unique_ptr<TemporaryFolder> folder_;  // null after a move
  int port_ = 0;
  std::optional<ServerProcess> server_;
};

}  // namespace gnomon::test
