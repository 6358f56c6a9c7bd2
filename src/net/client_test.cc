#include "net/client.h"

#include <semaphore>
#include <stop_token>

#include <doctest/doctest.h>

#include "base/text.h"
#include "net/loopback_test.h"
#include "tests/support/status.h"

namespace gnomon::net {
namespace {

using test::ValueOf;

std::string Parts(std::string_view text) {
  const auto url = Url::Parse(text);
  if (!url.ok()) return "error";
  return Concat(url->scheme, " ", url->host, " ", url->port, " ", url->target, " ",
                url->Authority());
}

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

}  // namespace

TEST_CASE("urls are taken apart") {
  CHECK(Parts("http://h") == "http h 80 / h");
  CHECK(Parts("HTTPS://h:8443/a?b#c") == "https h 8443 /a?b h:8443");
  CHECK(Parts("https://h:443") == "https h 443 / h");
  CHECK(Parts("http://h?x=1") == "http h 80 /?x=1 h");
  CHECK(Parts("http://[::1]:81/") == "http ::1 81 / [::1]:81");
  for (const std::string_view bad :
       {"", "h:80", "ftp://h", "http://", "http://:80", "http://h:x", "http://h:0",
        "http://h:70000", "http://[::1", "http://u:p@h", "http://a b/"}) {
    CHECK(Parts(bad) == "error");
  }
}

TEST_CASE("a refused connection is unavailable") {
  int port = 0;
  { port = ScriptedServer(0, {}).port(); }
  HttpClient client;
  CHECK_ERROR(client.Get({}, Concat("http://127.0.0.1:", port, "/")), ErrorKind::kUnavailable,
              "cannot connect");
  CHECK_ERROR(client.Get({}, "http://host.invalid/"), ErrorKind::kUnavailable, "host.invalid");
  CHECK_ERROR(client.Get({}, "nonsense"), ErrorKind::kUser, "nonsense");
}

TEST_CASE("a request says what it has to") {
  std::string seen;
  ScriptedServer server(1, [&](int, RawSocket& socket) {
    seen = socket.ReceiveUntil("{}");
    socket.Send(kOk);
  });
  HttpClient client;
  const HttpReply reply =
      ValueOf(client.Request({}, "POST", server.Url("/p?q=1"), {{"X-A", "b"}}, "{}"));
  CHECK(reply.status == 200);
  CHECK(reply.body == "ok");
  CHECK(seen ==
        Concat("POST /p?q=1 HTTP/1.1\r\nHost: 127.0.0.1:", server.port(),
               "\r\nUser-Agent: gnomon\r\nAccept: */*\r\nContent-Length: 2\r\nX-A: b\r\n\r\n{}"));
  CHECK_ERROR(client.Request({}, "GET", server.Url(), {{"A", "b\r\nC: d"}}), ErrorKind::kUser,
              "header");
  CHECK_ERROR(client.Request({}, "GET", server.Url("/a b")), ErrorKind::kUser, "path");
}

TEST_CASE("replies end by length, by chunks or by the connection's end") {
  ScriptedServer server(2, [](int connection, RawSocket& socket) {
    socket.ReceiveUntil("\r\n\r\n");
    if (connection == 0) {
      socket.Send(
          "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      socket.Send("3\r\nabc\r\n0\r\n\r\n");
      socket.ReceiveUntil("\r\n\r\n");
      socket.Send("HTTP/1.1 404 Not Found\r\nX: 1\r\n\r\nuntil the end");
      return;
    }
    socket.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    socket.ReceiveUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 204 No Content\r\n\r\n");
    socket.ReceiveUntil("\r\n\r\n");
    socket.Send(kOk);
  });
  HttpClient client;
  CHECK(ValueOf(client.Get({}, server.Url())).body == "abc");
  const HttpReply ended = ValueOf(client.Get({}, server.Url()));
  CHECK(ended.status == 404);
  CHECK(ended.body == "until the end");
  CHECK(ended.Header("x") == "1");
  const HttpReply head = ValueOf(client.Request({}, "HEAD", server.Url()));
  CHECK(head.Header("Content-Length") == "10");
  CHECK(head.body.empty());
  CHECK(ValueOf(client.Get({}, server.Url())).status == 204);
  CHECK(ValueOf(client.Get({}, server.Url())).body == "ok");
}

TEST_CASE("a kept connection that the server closed is replaced") {
  std::counting_semaphore<3> closed(0);
  ScriptedServer server(3, [&](int, RawSocket& socket) {
    socket.ReceiveUntil("\r\n\r\n");
    socket.Send(kOk);
    socket.Close();
    closed.release();
  });
  HttpClient client;
  for (int round = 0; round < 3; ++round) {
    CHECK(ValueOf(client.PostJson({}, server.Url(), "")).body == "ok");
    closed.acquire();
  }
}

TEST_CASE("only an idempotent request is sent again when its reply does not come") {
  const auto run = [](std::string_view method, int connections) {
    ScriptedServer server(connections, [](int connection, RawSocket& socket) {
      socket.ReceiveUntil("\r\n\r\n");
      socket.Send(kOk);
      if (connection == 0) socket.ReceiveUntil("\r\n\r\n");  // and closes without a reply
    });
    HttpClient client;
    CHECK_OK(client.Get({}, server.Url()));
    return client.Request({}, method, server.Url());
  };
  CHECK_OK(run("GET", 2));
  CHECK_ERROR(run("POST", 1), ErrorKind::kUnavailable, "closed");
}

TEST_CASE("malformed, cut and long replies are errors") {
  const auto get = [](std::string_view reply) {
    ScriptedServer server(1, [=](int, RawSocket& socket) {
      socket.ReceiveUntil("\r\n\r\n");
      socket.Send(reply);
    });
    HttpClient client({.max_body_bytes = 100});
    return client.Get({}, server.Url());
  };
  CHECK_ERROR(get("nonsense\r\n\r\n"), ErrorKind::kUnavailable, "malformed reply");
  CHECK_ERROR(get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), ErrorKind::kUnavailable,
              "closed");
  CHECK_ERROR(get("HTTP/1.1 200"), ErrorKind::kUnavailable, "closed");
  CHECK_ERROR(get(""), ErrorKind::kUnavailable, "closed");
  CHECK_ERROR(get("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"), ErrorKind::kExhausted,
              "too long");
  CHECK_ERROR(get(Concat("HTTP/1.1 200 OK\r\n\r\n", std::string(200, 'x'))), ErrorKind::kExhausted,
              "too long");
}

TEST_CASE("deadlines and stop requests end a request") {
  ScriptedServer server(2, [](int, RawSocket& socket) { socket.ReceiveUntil("never"); });
  HttpClient client;
  CHECK_ERROR(client.Get(Context().WithTimeout(0.05), server.Url()), ErrorKind::kDeadline, "");
  std::stop_source source;
  const std::jthread stopper([&] { source.request_stop(); });
  CHECK_ERROR(client.Get(Context().WithStop(source.get_token()), server.Url()),
              ErrorKind::kCancelled, "");
}

}  // namespace gnomon::net
