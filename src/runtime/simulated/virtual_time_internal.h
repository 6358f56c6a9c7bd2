#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <utility>

namespace gnomon::runtime {

/// Events in virtual time: those of the same time happen in the order of their making.
class VirtualTime {
 public:
  double now() const { return now_; }
  bool is_empty() const { return events_.empty(); }
  double next() const { return events_.begin()->first.first; }

  void After(double seconds, std::function<void()> event) {
    events_.emplace(std::pair(now_ + seconds, ++last_), std::move(event));
  }
  void RunNext() {
    auto event = events_.extract(events_.begin());
    now_ = event.key().first;
    event.mapped()();
  }
  void PassTo(double time) { now_ = time > now_ ? time : now_; }

 private:
  double now_ = 0;
  int64_t last_ = 0;
  std::map<std::pair<double, int64_t>, std::function<void()>> events_;
};

/// Random numbers that are the same with every standard library.
class SeededRandom {
 public:
  explicit SeededRandom(uint64_t seed) : engine_(seed) {}
  /// In [0, 1).
  double Uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  double Between(double low, double high) { return low + (high - low) * Uniform(); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace gnomon::runtime
