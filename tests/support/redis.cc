#include "tests/support/redis.h"

#include <array>
#include <cstring>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

#include "base/text.h"
#include "tests/support/status.h"

namespace gnomon::test {

RedisServer RedisServer::Start(const RedisOptions& options) {
  RedisServer server;
  server.options_ = options;
  server.folder_ = std::make_unique<TemporaryFolder>(ValueOf(TemporaryFolder::Make("redis")));
  server.StartAgain();
  return server;
}

RedisServer& RedisServer::Shared() {
  static RedisServer server = Start();
  return server;
}

RedisServer::~RedisServer() {
  if (folder_ != nullptr) Stop();
}

std::string RedisServer::address() const { return Concat(host(), ":", port_); }

std::string RedisServer::socket_path() const { return folder_->path() + "/redis.sock"; }

std::string RedisServer::Ask(const std::string& command) const {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket_path();
  GNOMON_CHECK(path.size() < sizeof(address.sun_path), path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  std::string answer;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    std::string request = Concat(command, "\r\nQUIT\r\n");
    if (!options_.password.empty()) {
      // Not inline: a password may have spaces and quotes.
      request = Concat("*2\r\n$4\r\nAUTH\r\n$", options_.password.size(), "\r\n", options_.password,
                       "\r\n", request);
    }
    std::array<char, 512> bytes;
    ssize_t got = ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    while (got > 0) {
      got = ::recv(fd, bytes.data(), bytes.size(), 0);
      if (got > 0) answer.append(bytes.data(), static_cast<size_t>(got));
    }
  }
  ::close(fd);
  return answer;
}

void RedisServer::FlushAll() {
  const std::string answer = Ask("FLUSHALL");
  if (answer.find("+OK") == std::string::npos) FAIL(Concat("FLUSHALL: ", answer));
}

void RedisServer::Stop() {
  if (server_.has_value()) server_->Stop(SIGTERM);
  server_.reset();
}

std::vector<std::string> RedisServer::Command(const std::string& program, int port) const {
  const bool tls = !options_.tls_folder.empty();
  std::vector<std::string> command = {program, "--port", Concat(tls ? 0 : port)};
  const auto add = [&](std::initializer_list<std::string> words) {
    command.insert(command.end(), words);
  };
  if (tls) {
    add({"--tls-port", Concat(port), "--tls-cert-file", options_.tls_folder + "/server.crt"});
    add({"--tls-key-file", options_.tls_folder + "/server.key"});
    add({"--tls-ca-cert-file", options_.tls_folder + "/ca.crt", "--tls-auth-clients", "no"});
  }
  add({"--bind", host(), "--unixsocket", socket_path(), "--dir", folder_->path(), "--save", ""});
  add({"--appendonly", options_.persistent ? "yes" : "no"});
  if (!options_.password.empty()) add({"--requirepass", options_.password});
  command.insert(command.end(), options_.arguments.begin(), options_.arguments.end());
  return command;
}

void RedisServer::StartAgain() {
  const std::string program = FindProgram("redis-server", {}, "redis-server");
  for (int attempt = 0; !server_.has_value(); ++attempt) {
    const int port = port_ != 0 ? port_ : FreePort();
    const auto command = Command(program, port);
    auto started = ServerProcess::Start(
        command, [&] { return Ask("PING").find("+PONG") != std::string::npos; });
    // Somebody else may have taken the port meanwhile.
    if (!started.ok() && (port_ != 0 || attempt == 3)) RequireOk(started.status());
    if (!started.ok()) continue;
    server_.emplace(*std::move(started));
    port_ = port;
  }
}

void RedisServer::Restart() {
  Stop();
  StartAgain();
}

}  // namespace gnomon::test
