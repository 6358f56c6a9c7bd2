#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/files.h"
#include "tests/support/server_process.h"

namespace gnomon::test {

/// A PostgreSQL server of its own in a temporary folder: on a free port of 127.0.0.1 (password) and
/// on a unix socket (no password), without fsync. Stops at the end of the scope.
class PostgresServer {
 public:
  /// Ends the test case when it cannot be started, and says what to install.
  static PostgresServer Start();
  /// One for all test cases of a program, started at its first use.
  static PostgresServer& Shared();
  PostgresServer(PostgresServer&&) noexcept = default;
  PostgresServer& operator=(PostgresServer&&) = delete;
  ~PostgresServer();

  std::string host() const { return "127.0.0.1"; }
  int port() const { return port_; }
  std::string user() const { return "gnomon"; }  ///< a superuser
  std::string password() const { return "correct horse"; }
  std::string database() const { return "postgres"; }
  const std::string& socket_folder() const { return folder_->path(); }

  /// Closes all connections ("terminating connection due to administrator command") and ends.
  void Stop();
  /// After Stop: the same data on the same port.
  void StartAgain();
  void Restart();

 private:
  PostgresServer() = default;
  std::unique_ptr<TemporaryFolder> folder_;  // null after a move
  int port_ = 0;
  std::optional<ServerProcess> server_;
};

}  // namespace gnomon::test
