// How requests and servers end before their time.

#include <condition_variable>
#include <mutex>
#include <thread>

#include <doctest/doctest.h>

#include "base/text.h"
#include "net/client.h"
#include "net/loopback_test.h"
#include "net/server.h"
#include "tests/support/status.h"

namespace gnomon::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ValueOf;

std::unique_ptr<HttpServer> StartServer(Router router, ServerOptions options = {}) {
  if (options.workers == 0) options.workers = 2;
  return ValueOf(HttpServer::Start(options, std::move(router), nullptr));
}

HttpResponse Echo(const Context&, const HttpRequest& request) {
  return TextResponse(200, Concat(request.method, " ", request.path, " ", request.body));
}

// A handler that waits until it is let go, or its stop token fires.
class Gate {
 public:
  HttpResponse operator()(const Context& context) {
    std::unique_lock lock(mutex_);
    ++entered_;
    changed_.notify_all();
    changed_.wait_for(lock, context.stop, seconds(kTestSeconds), [this] { return open_; });
    stopped_ = stopped_ || context.stop.stop_requested();
    changed_.notify_all();
    return TextResponse(200, context.stop.stop_requested() ? "stopped" : "done");
  }
  bool WaitUntilEntered(int times = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(kTestSeconds), [&] { return entered_ >= times; });
  }
  bool WaitUntilStopped() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, seconds(kTestSeconds), [&] { return stopped_; });
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  int entered_ = 0;
  bool open_ = false;
  bool stopped_ = false;
};

Router GatedRouter(Gate* gate) {
  Router router;
  router.Get("/gate",
             [gate](const Context& context, const HttpRequest&) { return (*gate)(context); },
             {.blocking = true});
  router.Get("/echo", Echo);
  return router;
}

constexpr std::string_view kGetEcho = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr std::string_view kGetGate = "GET /gate HTTP/1.1\r\nHost: h\r\n\r\n";

}  // namespace

TEST_CASE("a client that disconnects fires the stop token") {
  Gate gate;
  const auto server = StartServer(GatedRouter(&gate));
  RawClient client(server->port());
  REQUIRE(client.Send(kGetGate));
  REQUIRE(gate.WaitUntilEntered());
  client.Close();
  CHECK(gate.WaitUntilStopped());
}

TEST_CASE("stopping fires the stop token and waits for the handler") {
  Gate gate;
  const auto server = StartServer(GatedRouter(&gate));
  RawClient client(server->port());
  REQUIRE(client.Send(kGetGate));
  REQUIRE(gate.WaitUntilEntered());
  CHECK(server->in_flight() == 1);
  server->Stop();
  CHECK(gate.WaitUntilStopped());
  CHECK(server->in_flight() == 0);
  server->Stop();
}

TEST_CASE("the stop token of the server's context reaches its handlers") {
  Gate gate;
  std::stop_source source;
  ServerOptions options;
  options.context.stop = source.get_token();
  const auto server = StartServer(GatedRouter(&gate), options);
  RawClient client(server->port());
  REQUIRE(client.Send(kGetGate));
  REQUIRE(gate.WaitUntilEntered());
  source.request_stop();
  CHECK(client.Receive().body == "stopped");
}

TEST_CASE("draining finishes what is under way and refuses the rest") {
  Gate gate;
  const auto server = StartServer(GatedRouter(&gate));
  const int port = server->port();
  RawClient idle(port);
  CHECK(idle.Exchange(kGetEcho).status == 200);
  RawClient busy(port);
  REQUIRE(busy.Send(kGetGate));
  REQUIRE(gate.WaitUntilEntered());
  Status drained;
  std::jthread drain([&] { drained = server->Drain(seconds(kTestSeconds)); });
  CHECK(idle.IsClosedByPeer());
  CHECK(server->draining());
  CHECK(ConnectLoopback(port) == -1);
  gate.Open();
  const HttpReply reply = busy.Receive();
  CHECK(reply.status == 200);
  CHECK(reply.body == "done");
  CHECK(reply.Header("Connection") == "close");
  CHECK(busy.IsClosedByPeer());
  drain.join();
  CHECK_OK(drained);
}

TEST_CASE("draining ends at its time limit") {
  Gate gate;
  const auto server = StartServer(GatedRouter(&gate));
  RawClient client(server->port());
  REQUIRE(client.Send(kGetGate));
  REQUIRE(gate.WaitUntilEntered());
  CHECK_ERROR(server->Drain(milliseconds(20)), ErrorKind::kDeadline, "cut off");
  CHECK(gate.WaitUntilStopped());
}

}  // namespace gnomon::net
