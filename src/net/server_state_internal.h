#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "net/router.h"
#include "net/server.h"

namespace gnomon::net {

/// Threads for the handlers of blocking routes. Thread-safe.
class BlockingPool {
 public:
  ~BlockingPool() { Stop(); }
  void Start(int num_threads);
  void Submit(std::function<void()> job);
  /// Waits for the jobs that run; those that wait are kept, but not run.
  void Stop();
  /// Destroys the jobs that were not run. REQUIRES: stopped.
  void Discard();

 private:
  void Work(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  std::vector<std::jthread> threads_;       // touched by Start and Stop only
};

/// The metrics of requests, looked up once and then kept. Thread-safe.
class RequestMetrics {
 public:
  /// `metrics` may be null.
  RequestMetrics(Metrics* metrics, const Router& router);
  /// `route` is an index of the router, or RouteMatch::kNone.
  void Observe(int route, std::string_view method, int status, double seconds);
  void Reject(std::string_view reason);
  void SetGauges(int connections, int in_flight);

 private:
  static constexpr size_t kNumMethods = 8;
  static constexpr size_t kNumClasses = 5;
  using Cell = std::atomic<Histogram*>;
  using RouteCells = std::array<Cell, kNumMethods * kNumClasses>;

  Metrics* metrics_;
  const Router& router_;
  std::vector<RouteCells> cells_;  // [route + 1]
};

/// What all connections of a server share. Options, router and base context are constant after
/// construction; the rest is thread-safe.
struct ServerState {
  ServerState(ServerOptions options, Router router, Metrics* metrics);

  const ServerOptions options;
  const Router router;
  std::stop_source stop;
  Context base_context;  ///< of every request; its token is that of `stop`
  RequestMetrics request_metrics;
  BlockingPool pool;
  std::atomic<int> connections = 0;
  std::atomic<int> in_flight = 0;
  std::atomic<bool> draining = false;
  std::string id_prefix;  ///< of the request ids of this server

  /// Counts one connection less and wakes WaitUntilClosed.
  void ConnectionClosed();
  /// False when connections are open at the end of `timeout`.
  bool WaitUntilClosed(std::chrono::milliseconds timeout);
  void RefreshGauges() { request_metrics.SetGauges(connections.load(), in_flight.load()); }

 private:
  std::mutex mutex_;
  std::condition_variable closed_;
};

}  // namespace gnomon::net
