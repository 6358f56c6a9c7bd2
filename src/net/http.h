#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/error.h"

/// HTTP messages as handlers see them.
namespace gnomon::net {

struct HttpField {
  std::string_view name;
  std::string_view value;
};

/// Bytes that may be read behind HttpRequest::body, so that simdjson parses it in place
/// (`simdjson::padded_string_view(body.data(), body.size(), body.size() + kBodyPadding)`).
inline constexpr size_t kBodyPadding = 64;

/// One request. All views are valid until the handler returns.
struct HttpRequest {
  std::string_view
      method;  ///< as sent, upper case by convention; HEAD reaches a GET handler as "HEAD"
  std::string_view path;        ///< percent-decoded, without query
  std::string_view query;       ///< raw, without '?'
  std::string_view body;        ///< of chunked requests too; kBodyPadding readable bytes follow it
  std::string_view request_id;  ///< the client's X-Request-Id, or one of ours; sent back and logged
  std::string_view peer;        ///< the client's address without port
  std::span<const HttpField> headers;  ///< in the order sent, names as sent
  std::span<const HttpField> params;   ///< the pattern's {name} segments, percent-decoded

  /// The first field of that name (ASCII case is ignored); empty when there is none.
  std::string_view Header(std::string_view name) const;
  /// The value of `{name}` in the route's pattern; empty when the pattern has no such segment.
  std::string_view Param(std::string_view name) const;
  /// The first value of `name` in the query, decoded (%XX and '+').
  std::optional<std::string> QueryParam(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = {};  ///< empty: no Content-Type
  std::string body = {};
  /// Further fields. The server writes Content-Length, Content-Type, Connection, Date, Server and
  /// X-Request-Id itself. Fields with line breaks in them are left out.
  std::vector<std::pair<std::string, std::string>> headers = {};
};

/// Answers one request. Called concurrently from several threads. The context's stop token fires
/// when the server stops and, on blocking routes, when the client disconnects; its trace_id is the
/// request id. An exception is logged and answered with 500.
using Handler = std::function<HttpResponse(const Context&, const HttpRequest&)>;

HttpResponse JsonResponse(int status, std::string json);
HttpResponse TextResponse(int status, std::string text);

/// HttpStatusOf(KindOf(status)) and {"error": "message", "kind": "not_found", "hint": "..."}; hint
/// only when there is one; Retry-After for retryable errors. REQUIRES: !status.ok().
HttpResponse ErrorResponse(const Status& status);

/// The same JSON for a status of HTTP's own, such as 405 or 431.
HttpResponse HttpErrorResponse(int status, std::string_view message, std::string_view kind);

/// "Not Found" for 404; "Unknown" for a status that we do not know.
std::string_view ReasonOf(int status);

/// Compares ASCII letters without case, as header names are.
bool EqualsIgnoringCase(std::string_view left, std::string_view right);

/// Decodes %XX, and '+' to a blank when `plus_is_blank`. Nothing when a '%' is not followed by two
/// hex digits or stands for NUL.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_blank = false);
/// Encodes all but RFC 3986's unreserved characters (letters, digits, "-._~").
std::string PercentEncode(std::string_view text);

}  // namespace gnomon::net
