#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/log.h"
#include "net/connection_internal.h"

namespace gnomon::net {

/// One I/O thread's loop with its connections. Included by server.cc only: Asio is large.
/// Post and io().stop() may be called from anywhere, the rest on the loop's thread.
class IoLoop : public ConnectionLoop {
 public:
  IoLoop(ServerState* state, uint32_t index, uint32_t num_loops)
      : state_(state), next_number_(index), number_step_(num_loops), io_(1), timer_(io_) {}

  boost::asio::io_context& io() { return io_; }

  void Run() {
    BeginTicks();
    while (true) {
      try {
        io_.run();
        return;
      } catch (const std::exception& error) {
        LogError("net", "an exception reached the I/O thread", {{"problem", error.what()}});
      }
    }
  }

  void Add(std::unique_ptr<Stream> stream, std::string peer) {
    auto connection =
        std::make_shared<Connection>(state_, this, std::move(stream), std::move(peer));
    connection->place_in_loop = connections_.size();
    connections_.push_back(connection);
    connection->Start();
  }

  void Drain() {
    ForEach([](Connection& connection) { connection.BeginDrain(); });
  }

  // REQUIRES: the thread ended.
  void Clear() { connections_.clear(); }

  void Post(std::function<void()> task) override { boost::asio::post(io_, std::move(task)); }

  void Forget(Connection* connection) override {
    const size_t place = connection->place_in_loop;
    connections_.back()->place_in_loop = place;
    std::swap(connections_[place], connections_.back());
    connections_.pop_back();
    state_->ConnectionClosed();
  }

  std::string_view Date() override {
    const int64_t now = state_->base_context.clock->NowMicros() / 1'000'000;
    if (now != date_second_) {
      date_second_ = now;
      const auto seconds = static_cast<std::time_t>(now);
      std::tm parts{};
      gmtime_r(&seconds, &parts);
      char text[40];
      date_.assign(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts));
    }
    return date_;
  }

  uint32_t NextRequestNumber() override { return next_number_ += number_step_; }

 private:
  // Connections may close, and so leave the list, meanwhile: hence from the back and with a share
  // of each.
  template <typename Function>
  void ForEach(Function function) {
    for (size_t place = connections_.size(); place-- > 0;) {
      if (place >= connections_.size()) continue;
      const std::shared_ptr<Connection> connection = connections_[place];
      function(*connection);
    }
  }

  // Often enough for the shortest time limit to be kept within a quarter of it.
  std::chrono::milliseconds Tick() const {
    constexpr std::chrono::milliseconds kShortest{5};
    constexpr std::chrono::milliseconds kLongest{500};
    const ServerOptions& options = state_->options;
    const auto limit = std::min({options.header_timeout, options.body_timeout,
                                 options.write_timeout, options.idle_timeout});
    return std::clamp(limit / 4, kShortest, kLongest);
  }

  void BeginTicks() {
    timer_.expires_after(Tick());
    timer_.async_wait([this](const boost::system::error_code& ec) {
      if (ec) return;
      const double now = MonotonicSeconds();
      ForEach([now](Connection& connection) { connection.Tick(now); });
      BeginTicks();
    });
  }

  ServerState* const state_;
  uint32_t next_number_;
  const uint32_t number_step_;
  std::vector<std::shared_ptr<Connection>> connections_;
  int64_t date_second_ = -1;
  std::string date_;
  boost::asio::io_context io_;  // destroyed before the list, whose connections it may still hold
  boost::asio::steady_timer timer_;
};

}  // namespace gnomon::net
