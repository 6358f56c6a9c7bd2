#include "net/http.h"

#include <random>

#include <doctest/doctest.h>

#include "base/text.h"
#include "net/http_parser_internal.h"

namespace gnomon::net {
namespace {

RequestParser Parsed(std::string_view text, size_t max_header = 1024, size_t max_body = 1024) {
  RequestParser parser(max_header, max_body);
  parser.Put(text);
  return parser;
}

int FailureOf(std::string_view text) {
  const RequestParser parser = Parsed(text);
  return parser.state() == ParseState::kFailed ? parser.failure().status : 0;
}

// What a parsed request is, in one line.
std::string Summary(const RequestParser& parser) {
  if (parser.state() == ParseState::kFailed) return Concat("failed ", parser.failure().status);
  if (parser.state() != ParseState::kComplete) return "incomplete";
  std::string text = Concat(parser.method(), " ", parser.path(), " ?", parser.query());
  for (const HttpField& field : parser.fields()) text += Concat("|", field.name, "=", field.value);
  return Concat(text, "|", parser.keep_alive(), "|", parser.body());
}

constexpr std::string_view kChunked =
    "POST /a%20b?x=1&y=%41 HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: t\r\n\r\n";

}  // namespace

TEST_CASE("a request is the same however its bytes are cut") {
  const std::string whole = Summary(Parsed(kChunked));
  CHECK(whole == "POST /a b ?x=1&y=%41|Host=here|Transfer-Encoding=chunked|true|hello world");
  for (size_t step = 1; step < kChunked.size(); ++step) {
    RequestParser parser(1024, 1024);
    std::string buffer;
    for (size_t begin = 0; begin < kChunked.size(); begin += step) {
      buffer.append(kChunked.substr(begin, step));
      buffer.erase(0, parser.Put(buffer));
    }
    CHECK(Summary(parser) == whole);
    CHECK(buffer.empty());
  }
}

TEST_CASE("a parser stops at the end of its request and begins the next") {
  const std::string two = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.0\r\n\r\n";
  RequestParser parser(1024, 1024);
  const size_t used = parser.Put(two);
  CHECK(Summary(parser) == "GET /1 ?|Host=h|true|");
  parser.Reset();
  CHECK(parser.Put(std::string_view(two).substr(used)) == two.size() - used);
  CHECK(Summary(parser) == "GET /2 ?|false|");
  CHECK(parser.http_1_0());
}

TEST_CASE("targets may be absolute") {
  CHECK(Summary(Parsed("GET http://h:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n")) ==
        "GET /p ?q|Host=h|true|");
  CHECK(Summary(Parsed("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n")) == "GET / ?|Host=h|true|");
  CHECK(Summary(Parsed("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")) == "OPTIONS * ?|Host=h|true|");
  CHECK(FailureOf("GET h HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(FailureOf("GET http://h?x HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
}

TEST_CASE("what is malformed, ambiguous or too long is refused with its status") {
  CHECK(FailureOf("nonsense\r\n\r\n") == 400);
  CHECK(FailureOf("\x16\x03\x01\x02") == 400);
  CHECK(FailureOf("GET / HTTP/1.1\r\n\r\n") == 400);  // no Host
  CHECK(FailureOf("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n") == 400);
  CHECK(FailureOf("GET /%2 HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(FailureOf("GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n") == 400);
  CHECK(FailureOf("GET / HTTP/1.1\r\nHost : h\r\n\r\n") == 400);
  CHECK(FailureOf("GET / HTTP/1.1\r\nHost: h\r\nA\x01: b\r\n\r\n") == 400);
  CHECK(FailureOf("GET / HTTP/2.0\r\nHost: h\r\n\r\n") == 505);
  CHECK(FailureOf("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 505);
  const auto post = [](std::string_view fields) {
    return FailureOf(Concat("POST / HTTP/1.1\r\nHost: h\r\n", fields, "\r\n\r\n0\r\n\r\n"));
  };
  CHECK(post("Content-Length: 5\r\nTransfer-Encoding: chunked") == 400);
  CHECK(post("Transfer-Encoding: chunked\r\nContent-Length: 5") == 400);
  CHECK(post("Content-Length: 1\r\nContent-Length: 2") == 400);
  CHECK(post("Content-Length: -1") == 400);
  CHECK(post("Content-Length: 99999999999999999999") == 400);
  CHECK(post("Content-Length: 1025") == 413);
  CHECK(post("Transfer-Encoding: gzip") == 501);
  CHECK(post("Expect: something") == 417);
  CHECK(FailureOf("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == 400);
  CHECK(FailureOf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "401\r\n") == 413);
  CHECK(FailureOf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "zz\r\n") == 400);
  CHECK(FailureOf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "FFFFFFFFFFFFFFFFF\r\n") == 400);
  CHECK(FailureOf(Concat("GET / HTTP/1.1\r\nHost: ", std::string(2000, 'h'))) == 431);
  CHECK(FailureOf(Concat("GET /", std::string(2000, 'h'))) == 431);
}

TEST_CASE("no mutation of a request breaks the parser") {
  const uint64_t seed = 77;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  constexpr std::string_view kBytes = "\r\n :;%0123456789abcdefHTTP/.\0\xff";
  for (int round = 0; round < 20'000; ++round) {
    std::string text(kChunked);
    for (size_t change = 1 + random() % 4; change > 0; --change) {
      const size_t place = random() % text.size();
      const char byte = kBytes[random() % kBytes.size()];
      if (random() % 3 == 0) {
        text.erase(place, 1 + random() % 8);
      } else if (random() % 2 == 0) {
        text.insert(place, 1, byte);
      } else {
        text[place] = byte;
      }
      if (text.empty()) text = "x";
    }
    RequestParser whole(256, 64);
    whole.Put(text);
    // In two parts it must end in the same way.
    RequestParser parts(256, 64);
    const size_t cut = random() % text.size();
    const size_t used = parts.Put(std::string_view(text).substr(0, cut));
    if (parts.state() != ParseState::kFailed) parts.Put(std::string_view(text).substr(used));
    CAPTURE(text);
    // An error in the header may be seen only at the header's end when it comes in parts.
    const bool later = whole.state() == ParseState::kFailed && Summary(parts) == "incomplete";
    if (!later) CHECK(Summary(whole) == Summary(parts));
  }
}

TEST_CASE("fields, parameters and the query are looked up") {
  const std::vector<HttpField> fields = {{"Content-Type", "a"}, {"content-type", "b"}};
  const std::vector<HttpField> params = {{"model", "m"}};
  HttpRequest request;
  request.headers = fields;
  request.params = params;
  request.query = "a=1&b=x+y%21&a=2&c&=d&e=%zz";
  CHECK(request.Header("CONTENT-TYPE") == "a");
  CHECK(request.Header("other") == "");
  CHECK(request.Param("model") == "m");
  CHECK(request.Param("Model") == "");
  CHECK(request.QueryParam("a") == "1");
  CHECK(request.QueryParam("b") == "x y!");
  CHECK(request.QueryParam("c") == "");
  CHECK(request.QueryParam("e") == std::nullopt);
  CHECK(request.QueryParam("f") == std::nullopt);
}

TEST_CASE("percent-encoding is undone by decoding") {
  std::string all;
  for (int byte = 1; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  CHECK(PercentDecode(PercentEncode(all)) == all);
  CHECK(PercentEncode("a-b_c.d~e/f g") == "a-b_c.d~e%2Ff%20g");
  CHECK(PercentDecode("+%2b", true) == " +");
  CHECK(PercentDecode("+%2b") == "++");
}

TEST_CASE("an error becomes JSON with its kind and hint") {
  const HttpResponse plain = ErrorResponse(Error(ErrorKind::kNotFound, "no view \"x\""));
  CHECK(plain.status == 404);
  CHECK(plain.content_type == "application/json");
  CHECK(plain.body == R"({"error":"no view \"x\"","kind":"not_found"})");
  const HttpResponse busy = ErrorResponse(
      WithHint(Error(ErrorKind::kUnavailable, "the store does not answer"), "try again"));
  CHECK(busy.status == 503);
  CHECK(busy.body ==
        R"({"error":"the store does not answer","kind":"unavailable","hint":"try again"})");
  REQUIRE(busy.headers.size() == 1);
  CHECK(busy.headers[0].first == "Retry-After");
}

}  // namespace gnomon::net
