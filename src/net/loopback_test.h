#pragma once

#include <arpa/inet.h>
#include <functional>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/time.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>

#include "net/client.h"
#include "net/http_parser_internal.h"

/// Bare sockets for the tests of this module: to send what no proper client or server would.
namespace gnomon::net {

/// Long enough never to be reached by a test that passes.
inline constexpr int kTestSeconds = 30;

class RawSocket {
 public:
  explicit RawSocket(int descriptor) : descriptor_(descriptor) {
    const timeval limit{.tv_sec = kTestSeconds, .tv_usec = 0};
    setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  ~RawSocket() { Close(); }
  RawSocket(const RawSocket&) = delete;
  RawSocket& operator=(const RawSocket&) = delete;

  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  /// The next response; status 0 when the connection ended before one was complete.
  HttpReply Receive(bool head_request = false) {
    ResponseParser parser(64 << 10, size_t{1} << 30, head_request);
    while (true) {
      const size_t used = parser.Put(received_);
      received_.erase(0, used);
      if (parser.state() == ParseState::kComplete) break;
      REQUIRE(parser.state() != ParseState::kFailed);
      if (!Fill()) return {};
    }
    HttpReply reply{.status = parser.status(), .headers = {}, .body = {}};
    for (const HttpField& field : parser.fields()) {
      reply.headers.emplace_back(field.name, field.value);
    }
    reply.body = parser.TakeBody();
    return reply;
  }

  /// Reads until `end` was received; the bytes up to it.
  std::string ReceiveUntil(std::string_view end) {
    size_t found = received_.find(end);
    while (found == std::string::npos && Fill()) found = received_.find(end);
    const std::string bytes =
        received_.substr(0, found == std::string::npos ? found : found + end.size());
    received_.erase(0, bytes.size());
    return bytes;
  }

  /// True when the peer closes, or resets, before sending more.
  bool IsClosedByPeer() { return received_.empty() && !Fill(); }

  void ShutdownSend() { shutdown(descriptor_, SHUT_WR); }
  void Close() {
    if (descriptor_ >= 0) close(descriptor_);
    descriptor_ = -1;
  }

 private:
  bool Fill() {
    char buffer[4096];
    const ssize_t size = recv(descriptor_, buffer, sizeof buffer, 0);
    if (size <= 0) return false;
    received_.append(buffer, static_cast<size_t>(size));
    return true;
  }

  int descriptor_;
  std::string received_;
};

inline sockaddr_in LoopbackAddress(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// A descriptor, or -1 when refused.
inline int ConnectLoopback(int port) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = LoopbackAddress(port);
  if (connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return descriptor;
  }
  close(descriptor);
  return -1;
}

class RawClient : public RawSocket {
 public:
  explicit RawClient(int port) : RawSocket(ConnectLoopback(port)) {}

  HttpReply Exchange(std::string_view request) {
    REQUIRE(Send(request));
    return Receive();
  }
};

/// A server whose every connection is handled by `script`, one after the other, on one thread.
class ScriptedServer {
 public:
  using Script = std::function<void(int connection, RawSocket& socket)>;

  explicit ScriptedServer(int num_connections, Script script) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = LoopbackAddress(0);
    socklen_t size = sizeof address;
    REQUIRE(bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) == 0);
    REQUIRE(listen(listener_, 16) == 0);
    REQUIRE(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this, num_connections, script = std::move(script)] {
      for (int connection = 0; connection < num_connections; ++connection) {
        const int accepted = accept(listener_, nullptr, nullptr);
        if (accepted < 0) return;
        RawSocket socket(accepted);
        script(connection, socket);
      }
    });
  }
  ~ScriptedServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_ = {};
    close(listener_);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  int port() const { return port_; }
  std::string Url(std::string_view target = "/") const {
    return Concat("http://127.0.0.1:", port_, target);
  }

 private:
  int listener_ = -1;
  int port_ = 0;
  std::jthread thread_;
};

}  // namespace gnomon::net
