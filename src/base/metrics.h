#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

/// Prometheus metrics, named gnomon_<module>_<noun>_<unit>, in seconds and bytes. No entity values
/// in labels. (prometheus-cpp stands behind it and is not visible here.)
namespace gnomon {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void Increment(double by = 1) = 0;
};

class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void Set(double value) = 0;
};

class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void Observe(double value) = 0;
};

/// A set of metrics and their text exposition. Thread-safe; the returned references live as long as
/// the Metrics. Asking twice for the same name and labels gives the same object.
class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter& GetCounter(const std::string& name, const std::string& help,
                      const MetricLabels& labels = {});
  Gauge& GetGauge(const std::string& name, const std::string& help,
                  const MetricLabels& labels = {});
  /// Empty `bounds` means the latency buckets, 50 us to 10 s.
  Histogram& GetHistogram(const std::string& name, const std::string& help,
                          const MetricLabels& labels = {}, const std::vector<double>& bounds = {});

  /// The Prometheus text format 0.0.4, with process metrics (resident memory, CPU seconds, open
  /// files, start time).
  std::string Expose() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon
