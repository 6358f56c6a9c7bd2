#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "net/router.h"

namespace gnomon {
class Metrics;
}

/// The one HTTP server core: HTTP/1.1 (keep-alive, pipelining, chunked bodies, Expect:
/// 100-continue) and HTTP/1.0, with TLS, limits and metrics. Boost.Asio and OpenSSL stand behind it
/// and are not visible here.
namespace gnomon::net {

struct ServerOptions {
  // Where.

  /// In logs and in the Server field.
  std::string name = "gnomon";
  /// A numeric address or a name; "0.0.0.0" for all IPv4 interfaces.
  std::string host = "127.0.0.1";
  /// 0: any free port; HttpServer::port() tells which.
  int port = 0;
  /// PEM files of the certificate chain and its key; both or none. With them the port speaks TLS
  /// (1.2 or later) only.
  std::string tls_cert_file = {};
  std::string tls_key_file = {};

  // Threads.

  /// I/O threads, which also run the handlers of routes that do not block. 0: NumCpus().
  int workers = 0;
  /// Threads for blocking routes, started when the router has one. 0: max(4, 2 * NumCpus()).
  int blocking_workers = 0;

  // Limits. What exceeds them is refused with the status named; nothing here ends the process.

  /// 413, without reading the rest of the body. A connection holds at most this and the headers in
  /// memory.
  size_t max_body_bytes = size_t{16} << 20;
  /// 431. Of the request line and of the fields, each.
  size_t max_header_bytes = size_t{16} << 10;
  /// Further connections are answered with 503 and closed.
  int max_connections = 10'000;
  /// Requests in handlers or waiting for a blocking worker; further ones get 429 with
  /// Retry-After: 1.
  int max_in_flight = 1'000;

  // Time limits.

  /// From the first byte of a request (or from connecting) to the end of its header: 408.
  std::chrono::milliseconds header_timeout = std::chrono::seconds(15);
  /// From the end of the header to the end of the body: 408.
  std::chrono::milliseconds body_timeout = std::chrono::seconds(60);
  /// To write a response to a client that reads slowly; then the connection is closed.
  std::chrono::milliseconds write_timeout = std::chrono::seconds(60);
  /// An idle kept-alive connection is closed silently. Above the 60 s of common load balancers.
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(65);
  /// Sets the deadline of the handler's Context; 0: none.
  std::chrono::milliseconds request_timeout = std::chrono::milliseconds(0);

  // Observation.

  /// Logs one line a request at level info: method, path, status, seconds, bytes, peer, request_id.
  bool access_log = false;
  /// Adds GET /metrics unless the router has it.
  bool metrics_route = true;

  /// What the Context of each request is copied from: memory, clock, progress. Its stop token ends
  /// every request.
  Context context = {};
};

/// A running server. Thread-safe.
///
/// Metrics: gnomon_net_request_seconds{route, method, status} (histogram; route is the pattern, or
/// "none"; status is "2xx" and so on), gnomon_net_requests_in_flight, gnomon_net_connections,
/// gnomon_net_requests_rejected_total{reason}.
class HttpServer {
 public:
  /// Binds, starts the threads and returns; connections are accepted from then on. `metrics` may be
  /// null and outlives the server. Errors: kConflict when the port is in use, kDenied for a
  /// privileged port, kUser for a host that cannot be resolved, TLS files that cannot be used, or
  /// options out of range.
  static Result<std::unique_ptr<HttpServer>> Start(const ServerOptions& options, Router router,
                                                   Metrics* metrics);
  /// Stop().
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  /// "http://127.0.0.1:8080" or "https://...".
  std::string url() const;
  /// Requests in handlers now.
  int in_flight() const;
  /// Open connections now.
  int connections() const;
  /// After Drain or Stop began; readiness probes answer 503 then.
  bool draining() const;

  /// Refuses new connections, closes idle ones, lets the requests under way finish (their responses
  /// carry Connection: close), then stops. kDeadline when some had to be cut off at `timeout`. Not
  /// to be called by a handler.
  Status Drain(std::chrono::milliseconds timeout);

  /// Fires the stop tokens, waits for the handlers that run, closes everything. May be called
  /// again. Not to be called by a handler.
  void Stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::net
