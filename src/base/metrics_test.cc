#include "base/metrics.h"

#include <string_view>
#include <thread>

#include <doctest/doctest.h>

namespace gnomon {

namespace {

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a counter is exposed with help, type and labels") {
  Metrics metrics;
  metrics.GetCounter("gnomon_net_requests_total", "Requests.", {{"path", "/a"}}).Increment();
  metrics.GetCounter("gnomon_net_requests_total", "Requests.", {{"path", "/b"}}).Increment(2.5);
  const std::string text = metrics.Expose();
  CHECK(Contains(text, "# HELP gnomon_net_requests_total Requests.\n"));
  CHECK(Contains(text, "# TYPE gnomon_net_requests_total counter\n"));
  CHECK(Contains(text, "gnomon_net_requests_total{path=\"/a\"} 1\n"));
  CHECK(Contains(text, "gnomon_net_requests_total{path=\"/b\"} 2.5\n"));
}

TEST_CASE("the same name and labels give the same object, in any order of the labels") {
  Metrics metrics;
  Counter& counter = metrics.GetCounter("gnomon_a_total", "A.", {{"x", "1"}, {"y", "2"}});
  CHECK(&counter == &metrics.GetCounter("gnomon_a_total", "A.", {{"y", "2"}, {"x", "1"}}));
  CHECK(&counter != &metrics.GetCounter("gnomon_a_total", "A.", {{"x", "1"}, {"y", "3"}}));
  CHECK(&metrics.GetGauge("gnomon_b", "B.") == &metrics.GetGauge("gnomon_b", "B."));
}

TEST_CASE("a gauge shows the last value") {
  Metrics metrics;
  metrics.GetGauge("gnomon_a_bytes", "A.").Set(7);
  metrics.GetGauge("gnomon_a_bytes", "A.").Set(-3);
  CHECK(Contains(metrics.Expose(), "gnomon_a_bytes -3\n"));
}

TEST_CASE("a histogram counts in its buckets") {
  Metrics metrics;
  Histogram& histogram = metrics.GetHistogram("gnomon_a_seconds", "A.", {}, {1, 2});
  histogram.Observe(0.5);
  histogram.Observe(1.5);
  histogram.Observe(5);
  const std::string text = metrics.Expose();
  CHECK(Contains(text, "gnomon_a_seconds_bucket{le=\"1\"} 1\n"));
  CHECK(Contains(text, "gnomon_a_seconds_bucket{le=\"2\"} 2\n"));
  CHECK(Contains(text, "gnomon_a_seconds_bucket{le=\"+Inf\"} 3\n"));
  CHECK(Contains(text, "gnomon_a_seconds_sum 7\n"));
  CHECK(Contains(text, "gnomon_a_seconds_count 3\n"));
}

TEST_CASE("the buckets of latency reach from 50 microseconds to 10 seconds") {
  Metrics metrics;
  metrics.GetHistogram("gnomon_a_seconds", "A.").Observe(0.00005);
  const std::string text = metrics.Expose();
  CHECK(Contains(text, "gnomon_a_seconds_bucket{le=\"5e-05\"} 1\n"));
  CHECK(Contains(text, "le=\"10\""));
}

TEST_CASE("the process itself is exposed") {
  const std::string text = Metrics().Expose();
  CHECK(Contains(text, "# TYPE process_cpu_seconds_total counter\n"));
  CHECK(Contains(text, "\nprocess_resident_memory_bytes "));
  CHECK(Contains(text, "\nprocess_open_fds "));
  CHECK(Contains(text, "\nprocess_start_time_seconds "));
}

TEST_CASE("label values are escaped") {
  Metrics metrics;
  metrics.GetCounter("gnomon_a_total", "A.", {{"x", "a\"b\\c\nd"}}).Increment();
  CHECK(Contains(metrics.Expose(), "gnomon_a_total{x=\"a\\\"b\\\\c\\nd\"} 1\n"));
}

TEST_CASE("many threads count without loss") {
  Metrics metrics;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 1000; ++j) metrics.GetCounter("gnomon_a_total", "A.").Increment();
      });
    }
  }
  CHECK(Contains(metrics.Expose(), "gnomon_a_total 4000\n"));
}

}  // namespace gnomon
