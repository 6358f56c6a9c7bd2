#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include <doctest/doctest.h>

#include "pit/bytes_internal.h"
#include "pit/test_random.h"
#include "pit/value_order_internal.h"

namespace gnomon::pit {
namespace {

/// Events with values, and their order as it is stored.
struct Ordered {
  std::vector<int64_t> values;  ///< by event
  std::string narrow;
  std::string wide;
};

Ordered RandomOrder(TestRandom* random) {
  Ordered ordered;
  ordered.values.resize(static_cast<size_t>(random->Int(0, 700)));
  const int64_t num_values = random->Chance(0.3) ? 3 : random->Int(1, 900);
  for (int64_t& value : ordered.values) value = random->Int(1, num_values);
  std::vector<size_t> events(ordered.values.size());
  std::iota(events.begin(), events.end(), size_t{0});
  std::ranges::stable_sort(events, {}, [&](size_t event) { return ordered.values[event]; });
  int64_t last = 0;
  for (const size_t event : events) {
    const bool is_new = ordered.values[event] != last;
    last = ordered.values[event];
    AppendNumber(static_cast<uint16_t>(event | (is_new ? 1U << 15 : 0)), &ordered.narrow);
    AppendNumber(static_cast<uint32_t>(event | (is_new ? 1U << 31 : 0)), &ordered.wide);
  }
  return ordered;
}

void CheckRange(const Ordered& ordered, int64_t begin, int64_t end, ValueOrder* order) {
  CAPTURE(begin);
  CAPTURE(end);
  std::vector<int64_t> sorted(ordered.values.begin() + begin, ordered.values.begin() + end);
  std::ranges::sort(sorted);
  std::map<int64_t, int64_t> counts;
  for (const int64_t value : sorted) ++counts[value];
  const auto value_of = [&](std::optional<int64_t> event) {
    return event ? std::optional(ordered.values[static_cast<size_t>(*event)]) : std::nullopt;
  };
  order->Select(begin, end);
  CHECK(order->CountDistinct() == static_cast<int64_t>(counts.size()));
  for (size_t k = 0; k < sorted.size(); k += 1 + sorted.size() / 9)
    CHECK(value_of(order->Kth(static_cast<int64_t>(k))) == sorted[k]);
  CHECK_FALSE(order->Kth(end - begin).has_value());
  if (sorted.empty()) {
    CHECK_FALSE(order->Last().has_value());
    CHECK_FALSE(order->MostFrequent().has_value());
    return;
  }
  const auto most = std::ranges::max_element(counts, {}, [](const auto& c) { return c.second; });
  CHECK(value_of(order->Last()) == sorted.back());
  CHECK(value_of(order->MostFrequent()) == most->first);
}

TEST_CASE("an order of values says of any range what its values in their order say") {
  TestRandom random(20240813);
  CAPTURE(random.seed);
  for (int round = 0; round < 300; ++round) {
    CAPTURE(round);
    const Ordered ordered = RandomOrder(&random);
    const auto count = static_cast<int64_t>(ordered.values.size());
    ValueOrder narrow(ordered.narrow, false);
    ValueOrder wide(ordered.wide, true);
    CheckRange(ordered, 0, count, &narrow);
    for (int i = 0; i < 4; ++i) {
      const int64_t begin = random.Int(0, count);
      const int64_t end = random.Int(begin, count);
      CheckRange(ordered, begin, end, &narrow);
      CheckRange(ordered, begin, end, &wide);
    }
  }
}

TEST_CASE("a value that most have is found across any number of words of marks") {
  std::string entries;
  for (uint16_t event = 0; event < 1000; ++event) {
    const bool is_new = event == 0 || event == 100 || event == 400 || event == 999;
    AppendNumber(static_cast<uint16_t>(event | (is_new ? 1U << 15 : 0)), &entries);
  }
  ValueOrder order(entries, false);
  order.Select(0, 1000);
  CHECK(order.CountDistinct() == 4);
  CHECK(*order.MostFrequent() >= 400);
  order.Select(0, 700);
  CHECK((*order.MostFrequent() >= 100 && *order.MostFrequent() < 400));  // 300 as well, but smaller
  order.Select(0, 200);
  CHECK(*order.MostFrequent() < 100);
}

}  // namespace
}  // namespace gnomon::pit
