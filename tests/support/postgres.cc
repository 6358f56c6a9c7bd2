#include "tests/support/postgres.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <signal.h>
#include <unistd.h>
#include <vector>

#include <pwd.h>

#include "base/text.h"
#include "tests/support/status.h"

namespace gnomon::test {

namespace {

// PostgreSQL refuses to run as root.
constexpr const char* kServerUser = "postgres";

std::string Program(const std::string& name) {
  std::vector<std::string> folders;
  std::error_code ignored;
  for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored))
    folders.push_back((version.path() / "bin").string());
  std::ranges::sort(folders, std::ranges::greater());
  return FindProgram(name, folders, "postgresql-15");
}

void GiveToServer(const std::string& path) {
  if (::geteuid() != 0) return;
  const passwd* user = ::getpwnam(kServerUser);
  if (user == nullptr || ::chown(path.c_str(), user->pw_uid, user->pw_gid) != 0)
    FAIL(Concat("cannot give ", path, " to the user ", kServerUser, ": `make setup`"));
}

// The last line of postmaster.pid is the server's state.
bool IsReady(const std::string& pid_file) {
  std::ifstream in(pid_file);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return text.find("\nready") != std::string::npos;
}

}  // namespace

PostgresServer PostgresServer::Start() {
  PostgresServer server;
  server.folder_ = std::make_unique<TemporaryFolder>(ValueOf(TemporaryFolder::Make("pg")));
  const std::string& folder = server.folder_->path();
  GiveToServer(folder);
  const std::string password_file = folder + "/password";
  RequireOk(WriteFileAtomic(password_file, server.password()));
  GiveToServer(password_file);
  const CommandResult made = RunCommand(
      Supervised({Program("initdb"), "-D", folder + "/data", "-U", server.user(), "-E", "UTF8",
                  "--locale=C", "--no-sync", "--no-instructions", "--auth-local=trust",
                  "--auth-host=scram-sha-256", "--pwfile", password_file},
                 kServerUser, "KILL"),
      {.folder = folder});
  if (made.exit_code != 0) FAIL(Concat("initdb failed: ", made.out, made.err));
  server.StartAgain();
  return server;
}

PostgresServer& PostgresServer::Shared() {
  static PostgresServer server = Start();
  return server;
}

PostgresServer::~PostgresServer() {
  if (folder_ != nullptr) Stop();
}

void PostgresServer::Stop() {
  if (server_.has_value()) server_->Stop(SIGINT);  // fast: does not wait for clients
  server_.reset();
}

void PostgresServer::StartAgain() {
  const std::string data = folder_->path() + "/data";
  for (int attempt = 0; !server_.has_value(); ++attempt) {
    const int port = port_ != 0 ? port_ : FreePort();
    auto started = ServerProcess::Start({Program("postgres"),
                                         "-D",
                                         data,
                                         "-p",
                                         Concat(port),
                                         "-k",
                                         folder_->path(),
                                         "-c",
                                         "listen_addresses=127.0.0.1",
                                         "-c",
                                         "fsync=off",
                                         "-c",
                                         "full_page_writes=off",
                                         "-c",
                                         "shared_buffers=32MB",
                                         "-c",
                                         "max_connections=50",
                                         "-c",
                                         "max_wal_size=256MB",
                                         "-c",
                                         "lc_messages=C"},
                                        [&] { return IsReady(data + "/postmaster.pid"); },
                                        {.user = kServerUser});
    // Somebody else may have taken the port meanwhile.
    if (!started.ok() && (port_ != 0 || attempt == 3)) RequireOk(started.status());
    if (!started.ok()) continue;
    server_.emplace(*std::move(started));
    port_ = port;
  }
}

void PostgresServer::Restart() {
  Stop();
  StartAgain();
}

}  // namespace gnomon::test
