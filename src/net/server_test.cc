#include "net/server.h"

#include <algorithm>
#include <atomic>
#include <latch>
#include <set>
#include <thread>

#include <doctest/doctest.h>

#include "base/metrics.h"
#include "base/text.h"
#include "net/client.h"
#include "net/loopback_test.h"
#include "tests/support/status.h"

namespace gnomon::net {
namespace {

using std::chrono::seconds;
using test::ValueOf;

HttpResponse Echo(const Context&, const HttpRequest& request) {
  return TextResponse(200, Concat(request.method, " ", request.path, " ", request.body));
}

std::unique_ptr<HttpServer> StartServer(Router router, ServerOptions options = {},
                                        Metrics* metrics = nullptr) {
  if (options.workers == 0) options.workers = 2;
  return ValueOf(HttpServer::Start(options, std::move(router), metrics));
}

constexpr std::string_view kGetEcho = "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n";

}  // namespace

TEST_CASE("a server answers by route") {
  Router router;
  router.Post("/echo", Echo);
  router.Get("/v1/models/{model}", [](const Context&, const HttpRequest& request) {
    return JsonResponse(201, Concat("[\"", request.Param("model"), "\"]"));
  });
  router.Get("/error", [](const Context&, const HttpRequest&) {
    return ErrorResponse(Error(ErrorKind::kConflict, "taken"));
  });
  const auto server = StartServer(std::move(router));
  HttpClient client;
  const Context context;
  const auto get = [&](std::string_view target) {
    return ValueOf(client.Get(context, Concat(server->url(), target)));
  };
  const HttpReply posted = ValueOf(client.PostJson(context, server->url() + "/echo?q=1", "{}"));
  CHECK(posted.status == 200);
  CHECK(posted.body == "POST /echo {}");
  CHECK(posted.Header("content-type") == "text/plain; charset=utf-8");
  CHECK(posted.Header("server") == "gnomon");
  CHECK(posted.Header("date").ends_with(" GMT"));
  CHECK(get("/v1/models/a%20b").body == "[\"a b\"]");
  CHECK(get("/v1/models/a").status == 201);
  CHECK(get("/error").status == 409);
  CHECK(get("/error").body == R"({"error":"taken","kind":"conflict"})");
  const HttpReply missing = get("/nowhere");
  CHECK(missing.status == 404);
  CHECK(missing.body == R"({"error":"no such path: /nowhere","kind":"not_found"})");
  const HttpReply wrong = get("/echo");
  CHECK(wrong.status == 405);
  CHECK(wrong.Header("Allow") == "POST");
  CHECK(server->connections() == 1);  // all of it on one
}

TEST_CASE("HEAD is a GET without its body") {
  Router router;
  router.Get("/echo", Echo);
  const auto server = StartServer(std::move(router));
  RawClient client(server->port());
  REQUIRE(client.Send("HEAD /echo HTTP/1.1\r\nHost: h\r\n\r\n"));
  const HttpReply reply = client.Receive(true);
  CHECK(reply.status == 200);
  CHECK(reply.Header("Content-Length") == "11");
  CHECK(client.Exchange(kGetEcho).body == "GET /echo ");
}

TEST_CASE("pipelined requests are answered in order, blocking ones too") {
  Router router;
  router.Post("/echo", Echo);
  router.Post("/slow", Echo, {.blocking = true});
  const auto server = StartServer(std::move(router));
  RawClient client(server->port());
  std::string requests;
  constexpr int kRequests = 2000;
  for (int index = 0; index < kRequests; ++index) {
    const std::string body(static_cast<size_t>(index % 300), 'b');
    requests += Concat("POST /", index % 5 == 0 ? "slow" : "echo",
                       " HTTP/1.1\r\nHost: h\r\nX-Request-Id: ", index,
                       "\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
  }
  std::jthread sender([&] { client.Send(requests); });
  for (int index = 0; index < kRequests; ++index) {
    const HttpReply reply = client.Receive();
    REQUIRE(reply.status == 200);
    REQUIRE(reply.Header("X-Request-Id") == std::to_string(index));
    REQUIRE(reply.body.size() == 11 + static_cast<size_t>(index % 300));
  }
}

TEST_CASE("HTTP/1.0 connections end after a response unless they are kept") {
  Router router;
  router.Get("/echo", Echo);
  const auto server = StartServer(std::move(router));
  RawClient kept(server->port());
  const HttpReply first = kept.Exchange("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CHECK(first.Header("Connection") == "keep-alive");
  const HttpReply second = kept.Exchange("GET /echo HTTP/1.0\r\n\r\n");
  CHECK(second.status == 200);
  CHECK(second.Header("Connection") == "close");
  CHECK(kept.IsClosedByPeer());
  RawClient closing(server->port());
  CHECK(closing.Exchange("GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").status ==
        200);
  CHECK(closing.IsClosedByPeer());
}

TEST_CASE("a chunked body arrives whole and 100-continue is answered") {
  Router router;
  router.Post("/echo", Echo);
  const auto server = StartServer(std::move(router));
  RawClient client(server->port());
  CHECK(client
            .Exchange("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n")
            .body == "POST /echo abcde");
  REQUIRE(client.Send(
      "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
  CHECK(client.Receive().status == 100);
  CHECK(client.Exchange("ab").body == "POST /echo ab");
  // Nobody waits for the permission when the body is there already.
  CHECK(client
            .Exchange("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "
                      "2\r\n\r\ncd")
            .body == "POST /echo cd");
}

TEST_CASE("a client that ends its direction still gets the response") {
  Router router;
  router.Get("/echo", Echo);
  const auto server = StartServer(std::move(router));
  RawClient client(server->port());
  REQUIRE(client.Send(Concat("\r\n", kGetEcho, kGetEcho)));
  client.ShutdownSend();
  CHECK(client.Receive().status == 200);
  CHECK(client.Receive().status == 200);
  CHECK(client.IsClosedByPeer());
}

TEST_CASE("large bodies pass in both directions") {
  Router router;
  router.Post("/echo", Echo);
  const auto server = StartServer(std::move(router));
  HttpClient client;
  std::string body(size_t{10} << 20, 'x');
  for (size_t index = 0; index < body.size(); index += 1000) body[index] = '0';
  for (int round = 0; round < 3; ++round) {
    const HttpReply reply = ValueOf(client.PostJson({}, server->url() + "/echo", body));
    CHECK(reply.body.size() == body.size() + 11);
    CHECK(reply.body.ends_with(body));
  }
}

TEST_CASE("request ids are the client's or unique, and are the trace id") {
  Router router;
  router.Get("/id", [](const Context& context, const HttpRequest& request) {
    return TextResponse(200, Concat(context.trace_id, " ", request.request_id, " ", request.peer));
  });
  const auto server = StartServer(std::move(router));
  HttpClient client;
  const std::string url = server->url() + "/id";
  const HttpReply own = ValueOf(client.Request({}, "GET", url, {{"X-Request-Id", "abc"}}));
  CHECK(own.body == "abc abc 127.0.0.1");
  CHECK(own.Header("x-request-id") == "abc");
  const HttpReply too_long =
      ValueOf(client.Request({}, "GET", url, {{"X-Request-Id", std::string(500, 'a')}}));
  CHECK(too_long.Header("x-request-id").size() == 15);
  std::set<std::string> ids;
  for (int round = 0; round < 100; ++round) {
    if (round % 10 == 0) client.Close();
    ids.emplace(ValueOf(client.Get({}, url)).Header("X-Request-Id"));
  }
  CHECK(ids.size() == 100);
}

TEST_CASE("a handler's exception and its bad headers do not reach the client") {
  Router router;
  router.Get("/throw", [](const Context&, const HttpRequest&) -> HttpResponse {
    throw std::runtime_error("secret");
  });
  router.Get("/split", [](const Context&, const HttpRequest&) {
    HttpResponse response = TextResponse(204, "not sent");
    response.headers = {{"Good", "1"}, {"Bad", "1\r\nInjected: 1"}};
    return response;
  });
  const auto server = StartServer(std::move(router));
  HttpClient client;
  const HttpReply thrown = ValueOf(client.Get({}, server->url() + "/throw"));
  CHECK(thrown.status == 500);
  CHECK(thrown.body.find("secret") == std::string::npos);
  const HttpReply split = ValueOf(client.Get({}, server->url() + "/split"));
  CHECK(split.status == 204);
  CHECK(split.body.empty());
  CHECK(split.Header("Good") == "1");
  CHECK(split.Header("Bad").empty());
  CHECK(split.Header("Injected").empty());
  CHECK(split.Header("Content-Length").empty());
}

TEST_CASE("malformed requests are refused and the connection closed") {
  const auto server = StartServer(Router());
  for (const std::string_view text :
       {"nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01 tls",
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n"}) {
    RawClient client(server->port());
    CHECK(client.Exchange(text).status == 400);
    CHECK(client.IsClosedByPeer());
  }
}

TEST_CASE("a port that is in use is a conflict") {
  const auto server = StartServer(Router());
  ServerOptions options;
  options.port = server->port();
  CHECK_ERROR(HttpServer::Start(options, Router(), nullptr), ErrorKind::kConflict,
              Concat("port ", server->port(), " of 127.0.0.1 is in use"));
  server->Stop();
  CHECK_OK(HttpServer::Start(options, Router(), nullptr));
}

TEST_CASE("options out of range are refused") {
  CHECK_ERROR(HttpServer::Start({.port = 70000}, Router(), nullptr), ErrorKind::kUser, "port");
  CHECK_ERROR(HttpServer::Start({.host = "no host"}, Router(), nullptr), ErrorKind::kUser,
              "resolve");
  CHECK_ERROR(HttpServer::Start({.tls_cert_file = "x"}, Router(), nullptr), ErrorKind::kUser,
              "both");
  CHECK_ERROR(
      HttpServer::Start({.tls_cert_file = "/none", .tls_key_file = "/none"}, Router(), nullptr),
      ErrorKind::kUser, "/none");
}

TEST_CASE("metrics count requests by route, method and status class") {
  Metrics metrics;
  Router router;
  router.Get("/v/{name}", Echo);
  const auto server = StartServer(std::move(router), {}, &metrics);
  HttpClient client;
  for (const std::string_view target : {"/v/a", "/v/b", "/none", "/v/c?x"}) {
    CHECK_OK(client.Get({}, server->url() + std::string(target)));
  }
  const HttpReply reply = ValueOf(client.Get({}, server->url() + "/metrics"));
  CHECK(reply.Header("Content-Type").starts_with("text/plain; version=0.0.4"));
  const auto has = [&](std::string_view line) {
    return reply.body.find(line) != std::string::npos;
  };
  CHECK(has(R"(gnomon_net_request_seconds_count{method="GET",route="/v/{name}",status="2xx"} 3)"));
  CHECK(has(R"(gnomon_net_request_seconds_count{method="GET",route="none",status="4xx"} 1)"));
  CHECK(has("gnomon_net_requests_in_flight 1\n"));
  CHECK(has("gnomon_net_connections 1\n"));
}

TEST_CASE("the request timeout is the handler's deadline") {
  Router router;
  router.Get("/left", [](const Context& context, const HttpRequest&) {
    const double left = context.deadline.value_or(0) - MonotonicSeconds();
    return TextResponse(200, left > 50 && left <= 60 ? "good" : Concat(left));
  });
  ServerOptions options;
  options.request_timeout = seconds(60);
  const auto server = StartServer(std::move(router), options);
  HttpClient client;
  CHECK(ValueOf(client.Get({}, server->url() + "/left")).body == "good");
}

TEST_CASE("many clients at once each get their own answers") {
  Router router;
  router.Post("/echo", Echo);
  router.Post("/slow", Echo, {.blocking = true});
  Metrics metrics;
  const auto server = StartServer(std::move(router), {.access_log = true}, &metrics);
  constexpr int kClients = 16;
  constexpr int kRequests = 150;
  std::atomic<int> good = 0;
  std::vector<std::jthread> threads;
  for (int number = 0; number < kClients; ++number) {
    threads.emplace_back([&, number] {
      HttpClient client;
      for (int round = 0; round < kRequests; ++round) {
        if (round % 50 == 49) client.Close();
        const std::string path = round % 3 == 0 ? "/slow" : "/echo";
        const std::string body = Concat(number, "-", round);
        const auto reply = client.PostJson({}, server->url() + path, body);
        if (reply.ok() && reply->body == Concat("POST ", path, " ", body)) ++good;
      }
    });
  }
  threads.clear();
  CHECK(good == kClients * kRequests);
}

}  // namespace gnomon::net
