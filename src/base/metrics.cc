#include "base/metrics.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>
#include <sys/resource.h>
#include <unistd.h>

#include <dirent.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "base/error.h"
#include "base/mutex.h"
#include "base/text.h"

namespace gnomon {

namespace {

class PrometheusCounter : public Counter {
 public:
  explicit PrometheusCounter(prometheus::Counter& counter) : counter_(counter) {}
  void Increment(double by) override { counter_.Increment(by); }

 private:
  prometheus::Counter& counter_;
};

class PrometheusGauge : public Gauge {
 public:
  explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void Set(double value) override { gauge_.Set(value); }

 private:
  prometheus::Gauge& gauge_;
};

class PrometheusHistogram : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void Observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

const std::vector<double>& LatencyBounds() {
  static const std::vector<double> bounds = {50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3,
                                             5e-3,  10e-3,  25e-3,  50e-3,  0.1,  0.25,
                                             0.5,   1,      2.5,    5,      10};
  return bounds;
}

// A name and its labels in the order of their names, as the key of a map.
using Identity = std::pair<std::string, prometheus::Labels>;

Identity IdentityOf(const std::string& name, const MetricLabels& labels) {
  return {name, prometheus::Labels(labels.begin(), labels.end())};
}

prometheus::MetricFamily MakeFamily(const char* name, const char* help, prometheus::MetricType type,
                                    double value) {
  prometheus::ClientMetric metric;
  metric.counter.value = value;
  metric.gauge.value = value;
  return {name, help, type, {metric}};
}

// Field `index` (from 3) of /proc/self/stat. The second is the program's name in brackets, with any
// letters in it.
std::optional<double> StatField(int index) {
  std::ifstream in("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  const std::vector<std::string> fields = Split(std::string_view(text).substr(name_end + 1), ' ');
  // The first part is empty: a space follows the bracket.
  const auto place = static_cast<size_t>(index - 2);
  if (place >= fields.size()) return std::nullopt;
  return std::strtod(fields[place].c_str(), nullptr);
}

std::optional<double> BootTimeSeconds() {
  std::ifstream in("/proc/stat");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("btime ")) return std::strtod(line.c_str() + 6, nullptr);
  }
  return std::nullopt;
}

std::optional<double> NumOpenFiles() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return std::nullopt;
  int64_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  // "." and "..", and the descriptor of the folder itself.
  return static_cast<double>(std::max<int64_t>(0, count - 3));
}

double CpuSeconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::vector<prometheus::MetricFamily> ProcessFamilies() {
  using prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  families.push_back(MakeFamily("process_cpu_seconds_total", "User and system CPU time in seconds.",
                                MetricType::Counter, CpuSeconds()));
  if (const auto pages = StatField(24)) {
    families.push_back(MakeFamily("process_resident_memory_bytes", "Resident memory in bytes.",
                                  MetricType::Gauge,
                                  *pages * static_cast<double>(::sysconf(_SC_PAGESIZE))));
  }
  if (const auto files = NumOpenFiles()) {
    families.push_back(
        MakeFamily("process_open_fds", "Open file descriptors.", MetricType::Gauge, *files));
  }
  const auto ticks = StatField(22);
  const auto boot = BootTimeSeconds();
  if (ticks && boot) {
    families.push_back(MakeFamily("process_start_time_seconds",
                                  "Start of the process in seconds since 1970.", MetricType::Gauge,
                                  *boot + *ticks / static_cast<double>(::sysconf(_SC_CLK_TCK))));
  }
  return families;
}

// prometheus-cpp throws on a bad name, and on a name that is taken by another type: bugs of ours.
template <typename Function>
auto& CheckThrowsNothing(const std::string& name, const Function& function) {
  try {
    return function();
  } catch (const std::exception& exception) {
    GNOMON_CHECK(false, "metric ", name, ": ", exception.what());
    std::abort();
  }
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  Mutex mutex;
  std::map<Identity, std::unique_ptr<Counter>> counters GNOMON_GUARDED_BY(mutex);
  std::map<Identity, std::unique_ptr<Gauge>> gauges GNOMON_GUARDED_BY(mutex);
  std::map<Identity, std::unique_ptr<Histogram>> histograms GNOMON_GUARDED_BY(mutex);
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}

Metrics::~Metrics() = default;

Counter& Metrics::GetCounter(const std::string& name, const std::string& help,
                             const MetricLabels& labels) {
  const Identity identity = IdentityOf(name, labels);
  const MutexLock lock(impl_->mutex);
  auto& counter = impl_->counters[identity];
  if (counter == nullptr) {
    auto& made = CheckThrowsNothing(name, [&]() -> prometheus::Counter& {
      return prometheus::BuildCounter()
          .Name(name)
          .Help(help)
          .Register(impl_->registry)
          .Add(identity.second);
    });
    counter = std::make_unique<PrometheusCounter>(made);
  }
  return *counter;
}

Gauge& Metrics::GetGauge(const std::string& name, const std::string& help,
                         const MetricLabels& labels) {
  const Identity identity = IdentityOf(name, labels);
  const MutexLock lock(impl_->mutex);
  auto& gauge = impl_->gauges[identity];
  if (gauge == nullptr) {
    auto& made = CheckThrowsNothing(name, [&]() -> prometheus::Gauge& {
      return prometheus::BuildGauge()
          .Name(name)
          .Help(help)
          .Register(impl_->registry)
          .Add(identity.second);
    });
    gauge = std::make_unique<PrometheusGauge>(made);
  }
  return *gauge;
}

Histogram& Metrics::GetHistogram(const std::string& name, const std::string& help,
                                 const MetricLabels& labels, const std::vector<double>& bounds) {
  const Identity identity = IdentityOf(name, labels);
  const MutexLock lock(impl_->mutex);
  auto& histogram = impl_->histograms[identity];
  if (histogram == nullptr) {
    auto& made = CheckThrowsNothing(name, [&]() -> prometheus::Histogram& {
      auto& family = prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->registry);
      return family.Add(identity.second, bounds.empty() ? LatencyBounds() : bounds);
    });
    histogram = std::make_unique<PrometheusHistogram>(made);
  }
  return *histogram;
}

std::string Metrics::Expose() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  std::ranges::sort(families, {}, &prometheus::MetricFamily::name);
  std::ranges::move(ProcessFamilies(), std::back_inserter(families));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace gnomon
