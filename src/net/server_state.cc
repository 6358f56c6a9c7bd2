#include <algorithm>
#include <utility>

#include "base/ids.h"
#include "net/server_state_internal.h"

namespace gnomon::net {
namespace {

constexpr std::array<std::string_view, 8> kMethods = {"GET",    "POST",  "HEAD",    "PUT",
                                                      "DELETE", "PATCH", "OPTIONS", "other"};
constexpr std::array<const char*, 5> kClasses = {"1xx", "2xx", "3xx", "4xx", "5xx"};

size_t MethodIndex(std::string_view method) {
  const auto found = std::ranges::find(kMethods, method);
  return found == kMethods.end() ? kMethods.size() - 1
                                 : static_cast<size_t>(found - kMethods.begin());
}

}  // namespace

void BlockingPool::Start(int num_threads) {
  for (int index = 0; index < num_threads; ++index) {
    threads_.emplace_back([this](const std::stop_token& stop) { Work(stop); });
  }
}

void BlockingPool::Submit(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  ready_.notify_one();
}

void BlockingPool::Stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();  // joins
}

void BlockingPool::Discard() {
  const std::lock_guard lock(mutex_);
  jobs_.clear();
}

void BlockingPool::Work(const std::stop_token& stop) {
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, stop, [this] { return !jobs_.empty(); });
      if (stop.stop_requested()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

RequestMetrics::RequestMetrics(Metrics* metrics, const Router& router)
    : metrics_(metrics), router_(router), cells_(router.routes().size() + 1) {}

void RequestMetrics::Observe(int route, std::string_view method, int status, double seconds) {
  if (metrics_ == nullptr) return;
  const size_t method_index = MethodIndex(method);
  const auto class_index = static_cast<size_t>(std::clamp(status / 100, 1, 5) - 1);
  Cell& cell = cells_[static_cast<size_t>(route + 1)][method_index * kNumClasses + class_index];
  Histogram* histogram = cell.load(std::memory_order_acquire);
  if (histogram == nullptr) {
    const std::string pattern =
        route < 0 ? "none" : router_.routes()[static_cast<size_t>(route)].pattern;
    histogram = &metrics_->GetHistogram("gnomon_net_request_seconds",
                                        "Time to answer an HTTP request, in seconds.",
                                        {{"route", pattern},
                                         {"method", std::string(kMethods[method_index])},
                                         {"status", kClasses[class_index]}});
    cell.store(histogram, std::memory_order_release);
  }
  histogram->Observe(seconds);
}

void RequestMetrics::Reject(std::string_view reason) {
  if (metrics_ == nullptr) return;
  metrics_
      ->GetCounter("gnomon_net_requests_rejected_total",
                   "Requests and connections refused because of a limit.",
                   {{"reason", std::string(reason)}})
      .Increment();
}

void RequestMetrics::SetGauges(int connections, int in_flight) {
  if (metrics_ == nullptr) return;
  metrics_->GetGauge("gnomon_net_connections", "Open HTTP connections.").Set(connections);
  metrics_->GetGauge("gnomon_net_requests_in_flight", "HTTP requests in handlers.").Set(in_flight);
}

ServerState::ServerState(ServerOptions the_options, Router the_router, Metrics* metrics)
    : options(std::move(the_options)),
      router(std::move(the_router)),
      base_context(options.context),
      request_metrics(metrics, router),
      id_prefix(RandomUuid().substr(0, 6) + "-") {
  base_context.stop = stop.get_token();
  base_context.metrics = metrics;
}

void ServerState::ConnectionClosed() {
  if (connections.fetch_sub(1) != 1 || !draining.load()) return;
  const std::lock_guard lock(mutex_);
  closed_.notify_all();
}

bool ServerState::WaitUntilClosed(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return closed_.wait_for(lock, timeout, [this] { return connections.load() == 0; });
}

}  // namespace gnomon::net
