#include "net/router.h"

#include <doctest/doctest.h>

namespace gnomon::net {
namespace {

HttpResponse Nothing(const Context&, const HttpRequest&) { return {}; }

// "GET /pattern name=value", or "404", or "405 GET, HEAD".
std::string Found(const Router& router, std::string_view method, std::string_view path) {
  RouteMatch match;
  router.Find(method, path, &match);
  if (match.route == RouteMatch::kNone) {
    return match.allow.empty() ? "404" : "405 " + match.allow;
  }
  const Route& route = router.routes()[static_cast<size_t>(match.route)];
  std::string text = route.method + " " + route.pattern;
  for (const HttpField& param : match.params) text += Concat(" ", param.name, "=", param.value);
  return text;
}

}  // namespace

TEST_CASE("a router finds literal paths and patterns") {
  Router router;
  router.Get("/health", Nothing)
      .Get("/v1/models", Nothing)
      .Get("/v1/models/{model}", Nothing)
      .Post("/v1/models/{model}:predict", Nothing)
      .Post("/v1/models/{model}:explain", Nothing)
      .Get("/v1/models/special", Nothing)
      .Get("/v1/models/{model}/versions/{version}", Nothing);
  CHECK(Found(router, "GET", "/health") == "GET /health");
  CHECK(Found(router, "GET", "/v1/models") == "GET /v1/models");
  CHECK(Found(router, "GET", "/v1/models/sales") == "GET /v1/models/{model} model=sales");
  CHECK(Found(router, "GET", "/v1/models/special") == "GET /v1/models/special");
  CHECK(Found(router, "POST", "/v1/models/sales:predict") ==
        "POST /v1/models/{model}:predict model=sales");
  CHECK(Found(router, "POST", "/v1/models/a:b:explain") ==
        "POST /v1/models/{model}:explain model=a:b");
  CHECK(Found(router, "GET", "/v1/models/m/versions/3") ==
        "GET /v1/models/{model}/versions/{version} model=m version=3");

  CHECK(Found(router, "GET", "/") == "404");
  CHECK(Found(router, "GET", "") == "404");
  CHECK(Found(router, "GET", "*") == "404");
  CHECK(Found(router, "GET", "/health/") == "404");
  CHECK(Found(router, "GET", "/v1/models/") == "404");
  CHECK(Found(router, "GET", "/v1/models/m/versions/") == "404");
  CHECK(Found(router, "GET", "/v1/models/m/versions/3/4") == "404");
  CHECK(Found(router, "POST", "/v1/models/:predict") == "405 GET, HEAD");
  CHECK(Found(router, "GET", "/v1/models/sales:predict") == "405 POST");
  CHECK(Found(router, "HEAD", "/v1/models/special:predict") == "405 POST");
  CHECK(Found(router, "GET", "/v1/models/sales:forecast") ==
        "GET /v1/models/{model} model=sales:forecast");
}

TEST_CASE("another method is told which ones a path has, and HEAD is a GET") {
  Router router;
  router.Get("/x", Nothing)
      .Post("/x", Nothing)
      .Get("/{any}", Nothing)
      .Add("PUT", "/{any}", Nothing);
  CHECK(Found(router, "HEAD", "/x") == "GET /x");
  CHECK(Found(router, "HEAD", "/y") == "GET /{any} any=y");
  CHECK(Found(router, "DELETE", "/x") == "405 GET, HEAD, POST, PUT");
  CHECK(Found(router, "DELETE", "/y") == "405 GET, HEAD, PUT");
  CHECK(Found(router, "PUT", "/x") == "PUT /{any} any=x");
  CHECK(Found(router, "get", "/x") == "405 GET, HEAD, POST, PUT");
  CHECK(router.Has("GET", "/x"));
  CHECK_FALSE(router.Has("HEAD", "/x"));
}

TEST_CASE("paths are matched after percent-decoding") {
  Router router;
  router.Get("/a b", Nothing).Get("/v/{name}", Nothing);
  CHECK(Found(router, "GET", "/a%20b") == "GET /a b");
  CHECK(Found(router, "GET", "/v/x%2Fy") == "GET /v/{name} name=x/y");
  CHECK(Found(router, "GET", "/v/%zz") == "404");
}

}  // namespace gnomon::net
