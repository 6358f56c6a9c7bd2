#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::net {

/// "http://host:port/path?query" in parts.
struct Url {
  std::string scheme = "http";  ///< http or https
  std::string host = {};        ///< without the brackets of IPv6
  int port = 80;
  std::string target = "/";  ///< path and query, as sent

  /// kUser for anything but an http or https URL with a host. User names in URLs are refused; a
  /// fragment is dropped.
  static Result<Url> Parse(std::string_view text);
  /// What the Host field says: the port only when it is not the scheme's own.
  std::string Authority() const;
};

struct HttpReply {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers = {};  ///< in the order received
  std::string body = {};

  /// The first field of that name (case is ignored); empty when there is none.
  std::string_view Header(std::string_view name) const;
};

struct HttpClientOptions {
  /// PEM file of the authorities to trust for https; empty: the system's.
  std::string ca_file = {};
  /// False accepts any certificate: for tests only.
  bool verify_tls = true;
  /// For connecting and the TLS handshake, in seconds; the Context's deadline counts too.
  double connect_timeout = 10;
  /// A longer body is kExhausted.
  size_t max_body_bytes = size_t{1} << 30;
  std::string user_agent = "gnomon";
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// A blocking HTTP/1.1 client that keeps one connection per origin open. Follows no redirects,
/// stores no cookies, asks for no compression. Time is limited by the Context's deadline; a stop
/// request is seen within 50 ms (but the name lookup cannot be interrupted). Not thread-safe: use
/// one per thread.
///
/// A reply with any status is a success. Errors: kUnavailable (refused, reset, name not found,
/// malformed reply), kDeadline, kCancelled, kUser (bad URL, or a line break in a header),
/// kUnauthenticated (the server's certificate is not trusted), kExhausted (body too long). A kept
/// connection that the server closed meanwhile is replaced silently; a request is sent twice only
/// when its method is idempotent and no byte of a reply came.
class HttpClient {
 public:
  explicit HttpClient(HttpClientOptions options = {});
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;

  /// Host, User-Agent, Content-Length are added unless `headers` has them.
  Result<HttpReply> Request(const Context& context, std::string_view method, const Url& url,
                            const HttpHeaders& headers = {}, std::string_view body = {});
  Result<HttpReply> Request(const Context& context, std::string_view method, std::string_view url,
                            const HttpHeaders& headers = {}, std::string_view body = {});

  Result<HttpReply> Get(const Context& context, std::string_view url);
  Result<HttpReply> PostJson(const Context& context, std::string_view url, std::string_view json);

  /// Closes the kept connections.
  void Close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::net
