#include <atomic>
#include <latch>
#include <thread>

#include <doctest/doctest.h>

#include "base/metrics.h"
#include "base/text.h"
#include "net/loopback_test.h"
#include "net/server.h"
#include "tests/support/status.h"

namespace gnomon::net {
namespace {

using std::chrono::milliseconds;
using test::ValueOf;

HttpResponse Size(const Context&, const HttpRequest& request) {
  return TextResponse(200, std::to_string(request.body.size()));
}

std::unique_ptr<HttpServer> StartServer(const ServerOptions& options, Metrics* metrics = nullptr) {
  Router router;
  router.Post("/", Size).Get("/", Size, {.unlimited = true});
  return ValueOf(HttpServer::Start(options, std::move(router), metrics));
}

std::string Post(std::string_view fields, std::string_view body = "") {
  return Concat("POST / HTTP/1.1\r\nHost: h\r\n", fields, "\r\n\r\n", body);
}

}  // namespace

TEST_CASE("a body above the limit is refused before it is sent") {
  Metrics metrics;
  const auto server = StartServer({.workers = 1, .max_body_bytes = 1000}, &metrics);
  RawClient client(server->port());
  const HttpReply reply = client.Exchange(Post("Content-Length: 104857600"));
  CHECK(reply.status == 413);
  CHECK(reply.Header("Connection") == "close");
  CHECK(reply.body.find("\"kind\":\"exhausted\"") != std::string::npos);
  CHECK(client.IsClosedByPeer());
  CHECK(RawClient(server->port())
            .Exchange(Post("Content-Length: 1000", std::string(1000, 'x')))
            .body == "1000");
  CHECK(metrics.Expose().find("gnomon_net_requests_rejected_total{reason=\"body_bytes\"} 1") !=
        std::string::npos);
}

TEST_CASE("a client that sends 100 MB all the same can read the refusal") {
  const auto server = StartServer({.workers = 1});
  HttpClient client;
  const std::string body(size_t{100} << 20, 'x');
  const HttpReply reply = ValueOf(client.PostJson({}, server->url() + "/", body));
  CHECK(reply.status == 413);
  CHECK(ValueOf(client.PostJson({}, server->url() + "/", "12")).body == "2");
}

TEST_CASE("a chunked body is refused when it passes the limit") {
  const auto server = StartServer({.workers = 1, .max_body_bytes = 1000});
  RawClient client(server->port());
  REQUIRE(client.Send(Post("Transfer-Encoding: chunked")));
  for (int chunk = 0; chunk < 10; ++chunk) {
    REQUIRE(client.Send(Concat("64\r\n", std::string(100, 'x'), "\r\n")));
  }
  CHECK(client.Exchange("1\r\nx\r\n").status == 413);
  CHECK(client.IsClosedByPeer());
}

TEST_CASE("a header above the limit is refused") {
  const auto server = StartServer({.workers = 1, .max_header_bytes = 1000});
  const std::string filler(600, 'f');
  CHECK(RawClient(server->port())
            .Exchange(Post(Concat("A: ", filler, "\r\nContent-Length: 0")))
            .status == 200);
  CHECK(RawClient(server->port()).Exchange(Post(Concat("A: ", filler, "\r\nB: ", filler))).status ==
        431);
  CHECK(RawClient(server->port()).Exchange(Concat("GET /", filler, filler)).status == 431);
  // A chunk's header and the trailer have no end either.
  const std::string endless(200'000, 'f');
  CHECK(RawClient(server->port())
            .Exchange(Post("Transfer-Encoding: chunked", Concat("1;", endless)))
            .status == 400);
  CHECK(RawClient(server->port())
            .Exchange(Post("Transfer-Encoding: chunked", Concat("0\r\nA: ", endless)))
            .status == 400);
}

TEST_CASE("a request that is half sent is ended in time") {
  const ServerOptions options{.workers = 1,
                              .header_timeout = milliseconds(40),
                              .body_timeout = milliseconds(40),
                              .idle_timeout = milliseconds(20'000)};
  const auto server = StartServer(options);
  // A connection whose time is up before its first byte is sent just ends: then once more.
  const auto answer = [&](std::string_view part) {
    for (int attempt = 0; attempt < 50; ++attempt) {
      RawClient client(server->port());
      if (!client.Send(part)) continue;
      const HttpReply reply = client.Receive();
      if (reply.status == 0) continue;
      CHECK(client.IsClosedByPeer());
      return reply;
    }
    return HttpReply{};
  };
  const HttpReply no_head = answer("POST / HTTP/1.1\r\nHost:");
  CHECK(no_head.status == 408);
  CHECK(no_head.body.find("header") != std::string::npos);
  const HttpReply no_body = answer(Post("Content-Length: 10", "12345"));
  CHECK(no_body.status == 408);
  CHECK(no_body.body.find("body") != std::string::npos);
  // A connection without any byte just ends.
  CHECK(RawClient(server->port()).IsClosedByPeer());
}

TEST_CASE("an idle connection is closed silently") {
  const auto server = StartServer({.workers = 1, .idle_timeout = milliseconds(30)});
  RawClient client(server->port());
  CHECK(client.Exchange(Post("Content-Length: 0")).status == 200);
  CHECK(client.IsClosedByPeer());
}

TEST_CASE("a client that does not read its response is cut off") {
  std::latch entered(1);
  Router router;
  router.Get("/", [&](const Context&, const HttpRequest&) {
    entered.count_down();
    return TextResponse(200, std::string(size_t{64} << 20, 'x'));
  });
  const ServerOptions options{.workers = 1, .write_timeout = milliseconds(50)};
  const auto server = ValueOf(HttpServer::Start(options, std::move(router), nullptr));
  RawClient client(server->port());
  REQUIRE(client.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
  entered.wait();
  while (server->connections() > 0) std::this_thread::yield();
  CHECK(client.Receive().status == 0);
}

TEST_CASE("requests beyond the limit get 429, except those to unlimited routes") {
  std::latch entered(2);
  std::latch leave(1);
  Router router;
  router.Get("/slow",
             [&](const Context&, const HttpRequest&) {
               entered.count_down();
               leave.wait();
               return TextResponse(200, "slow");
             },
             {.blocking = true});
  router.Get("/health", Size, {.unlimited = true});
  const ServerOptions options{.workers = 1, .blocking_workers = 2, .max_in_flight = 2};
  const auto server = ValueOf(HttpServer::Start(options, std::move(router), nullptr));
  const std::string_view slow = "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n";
  RawClient first(server->port());
  RawClient second(server->port());
  RawClient third(server->port());
  REQUIRE(first.Send(slow));
  REQUIRE(second.Send(slow));
  entered.wait();
  const HttpReply refused = third.Exchange(slow);
  CHECK(refused.status == 429);
  CHECK(refused.Header("Retry-After") == "1");
  CHECK(third.Exchange("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").status == 200);
  leave.count_down();
  CHECK(first.Receive().body == "slow");
  CHECK(second.Receive().body == "slow");
  CHECK(third.Exchange("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").status == 200);
}

TEST_CASE("connections beyond the limit are told so") {
  const auto server = StartServer({.workers = 1, .max_connections = 1});
  RawClient first(server->port());
  CHECK(first.Exchange(Post("Content-Length: 0")).status == 200);
  RawClient second(server->port());
  const HttpReply refused = second.Receive();
  CHECK(refused.status == 503);
  CHECK(refused.body == R"({"error":"too many connections","kind":"unavailable"})");
  CHECK(second.IsClosedByPeer());
  first.Close();
  while (server->connections() > 0) std::this_thread::yield();
  CHECK(RawClient(server->port()).Exchange(Post("Content-Length: 0")).status == 200);
}

}  // namespace gnomon::net
