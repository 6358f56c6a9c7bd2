#include "tests/support/server_process.h"

#include <arpa/inet.h>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <random>
#include <signal.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "tests/support/status.h"

namespace gnomon::test {

namespace {

// Binds a socket to a port of the loopback interface (0: any) and gives the port; 0 when it is
// taken.
int Bind(int socket, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const bool bound =
      ::bind(socket, generic, size) == 0 && ::getsockname(socket, generic, &size) == 0;
  return bound ? ntohs(address.sin_port) : 0;
}

// A port below those that the system takes for clients; 0 where there are none.
int RandomServerPort() {
  constexpr int kFirst = 10'000;
  int first_of_clients = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first_of_clients;
  if (first_of_clients < 2 * kFirst) return 0;
  std::random_device random;
  return std::uniform_int_distribution(kFirst, first_of_clients - 1)(random);
}

}  // namespace

int FreePort() {
  for (int attempt = 0; attempt < 100; ++attempt) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int port = Bind(socket, RandomServerPort());
    ::close(socket);
    if (port != 0) return port;
  }
  FAIL("no free port on the loopback interface");
  return 0;
}

ClosedPort::ClosedPort()
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), port_(Bind(socket_, 0)) {
  if (port_ == 0) FAIL("no free port on the loopback interface");
}

ClosedPort::~ClosedPort() { ::close(socket_); }

std::string FindProgram(const std::string& name, const std::vector<std::string>& folders,
                        const std::string& debian_package) {
  std::vector<std::string> places = folders;
  const char* path = std::getenv("PATH");
  for (const std::string& place : Split(path == nullptr ? "" : path, ':')) places.push_back(place);
  for (const std::string& place : places) {
    std::string found = Concat(place, "/", name);
    if (::access(found.c_str(), X_OK) == 0) return found;
  }
  FAIL(Concat(name, " is not installed: `make setup` (or: apt-get install ", debian_package, ")"));
  return {};
}

std::vector<std::string> Supervised(const std::vector<std::string>& command,
                                    const std::string& user, const std::string& signal) {
  std::vector<std::string> words = {"setpriv", "--pdeathsig", signal};
  if (::geteuid() == 0 && !user.empty()) {
    words.insert(words.end(), {"--reuid", user, "--regid", user, "--init-groups"});
  }
  words.push_back("--");
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

Result<ServerProcess> ServerProcess::Start(const std::vector<std::string>& command,
                                           const std::function<bool()>& is_ready,
                                           const ServerProcessOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(Process process,
                          Process::Start(Supervised(command, options.user, "QUIT")));
  const double end = MonotonicSeconds() + options.timeout * TimeScale();
  while (!is_ready()) {
    if (process.Wait(0).ok()) {
      return Error(ErrorKind::kUnavailable, command[0], " ended at once: ", process.out(),
                   process.err());
    }
    if (MonotonicSeconds() > end) {
      return Error(ErrorKind::kDeadline, command[0], " was not ready in time: ", process.out(),
                   process.err());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return ServerProcess(std::move(process));
}

void ServerProcess::Stop(int signal) {
  process_.SendSignal(signal);
  if (process_.Wait(30).ok()) return;
  process_.SendSignal(SIGKILL);
  static_cast<void>(process_.Wait(30));
}

}  // namespace gnomon::test
