#include "pit/exact_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "pit/test_random.h"

namespace gnomon::pit {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kMax = std::numeric_limits<double>::max();
constexpr double kTiny = std::numeric_limits<double>::denorm_min();

uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }

ExactSum SumOf(const std::vector<double>& values) {
  ExactSum sum;
  for (const double value : values) sum.Add(value);
  return sum;
}

/// Shewchuk's growing expansion with the final half-even step, as in Python's math.fsum: exact
/// without overflow.
double ExpansionSum(const std::vector<double>& values) {
  std::vector<double> partials;
  for (double x : values) {
    size_t kept = 0;
    for (double y : partials) {
      if (std::fabs(x) < std::fabs(y)) std::swap(x, y);
      const double high = x + y;
      const double low = y - (high - x);
      if (low != 0) partials[kept++] = low;
      x = high;
    }
    partials.resize(kept);
    partials.push_back(x);
  }
  if (partials.empty()) return 0;
  double high = partials.back();
  double low = 0;
  partials.pop_back();
  while (!partials.empty()) {
    const double x = high;
    const double y = partials.back();
    partials.pop_back();
    high = x + y;
    low = y - (high - x);
    if (low != 0) break;
  }
  if (!partials.empty() && ((low < 0) == (partials.back() < 0))) {
    const double y = low * 2;
    const double x = high + y;
    if (y == x - high) high = x;
  }
  return high + 0.0;
}

double RandomDouble(TestRandom* random, int min_exponent, int max_exponent) {
  const auto mantissa = static_cast<uint64_t>(random->Int(0, (int64_t{1} << 52) - 1));
  // Few set bits now and then, for exact ties.
  const uint64_t kept =
      random->Chance(0.3) ? mantissa & (uint64_t{0xf} << random->Int(0, 48)) : mantissa;
  const auto exponent = static_cast<uint64_t>(random->Int(min_exponent, max_exponent));
  const uint64_t sign = random->Chance(0.5) ? uint64_t{1} << 63 : 0;
  return std::bit_cast<double>(sign | (exponent << 52) | kept);
}

TEST_CASE("an empty sum and a sum of signed zeros are plus zero") {
  CHECK(Bits(ExactSum().Round()) == Bits(0.0));
  CHECK(Bits(SumOf({-0.0, -0.0}).Round()) == Bits(0.0));
  CHECK(Bits(SumOf({1e300, -1e300}).Round()) == Bits(0.0));
  CHECK(Bits(SumOf({-kTiny, kTiny}).Round()) == Bits(0.0));
}

TEST_CASE("sums are those of math.fsum") {
  CHECK(SumOf({0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}).Round() == 1.0);
  CHECK(SumOf({1e16, 1.0, 1e-16}).Round() == 10000000000000002.0);
  CHECK(SumOf({1e16 - 2.0, 1.0 - 0x1p-53, -(1e16 - 2.0), -(1.0 - 0x1p-53)}).Round() == 0.0);
  CHECK(SumOf({1e308, 1e-308, -1e308}).Round() == 1e-308);
  CHECK(SumOf({0x1p53, -0.5, -0x1p-54}).Round() == 0x1p53 - 1);
  CHECK(SumOf({0x1p53, 1.0, 0x1p-100}).Round() == 0x1p53 + 2.0);
  CHECK(SumOf({0x1p53 + 10.0, 1.0, 0x1p-100}).Round() == 0x1p53 + 12.0);
  CHECK(SumOf({0x1p53 - 4.0, 0.5, 0x1p-54}).Round() == 0x1p53 - 3.0);
  CHECK(SumOf({0x1p1023 - 0x1p970, -1.0, 0x1p1023}).Round() == 0x1.fffffffffffffp1023);
}

TEST_CASE("a sum is rounded to nearest even once") {
  CHECK(SumOf({1.0, 0x1p-53}).Round() == 1.0);
  CHECK(SumOf({1.0, 0x1p-53, kTiny}).Round() == 1.0 + 0x1p-52);
  CHECK(SumOf({1.0 + 0x1p-52, 0x1p-53}).Round() == 1.0 + 0x1p-51);
  CHECK(SumOf({-1.0, -0x1p-53, -kTiny}).Round() == -(1.0 + 0x1p-52));
  CHECK(SumOf({1.0, -0x1p-54}).Round() == 1.0);
  CHECK(SumOf({1.0, -0x1p-54, -kTiny}).Round() == 1.0 - 0x1p-53);
}

TEST_CASE("subnormal sums are exact") {
  CHECK(SumOf({kTiny, kTiny, kTiny}).Round() == 3 * kTiny);
  CHECK(SumOf({0x1p-1022, -kTiny}).Round() == 0x1p-1022 - kTiny);
  CHECK(SumOf({0x1p-1022 - kTiny, kTiny}).Round() == 0x1p-1022);
  CHECK(SumOf({-0x1p-1021, kTiny}).Round() == -(0x1p-1021 - kTiny));
}

TEST_CASE("a sum beyond the largest double is infinite, and comes back when values are taken out") {
  CHECK(SumOf({kMax, kMax}).Round() == kInfinity);
  CHECK(SumOf({-kMax, -kMax}).Round() == -kInfinity);
  CHECK(SumOf({kMax, 0x1p970}).Round() == kInfinity);
  CHECK(SumOf({kMax, 0x1p969}).Round() == kMax);
  CHECK(SumOf({kMax, 0x1p970, -kTiny}).Round() == kMax);
  ExactSum sum = SumOf({kMax, kMax, kMax, 3.0});
  for (int i = 0; i < 3; ++i) sum.Subtract(kMax);
  CHECK(sum.Round() == 3.0);
}

TEST_CASE("NaN and infinities win as in IEEE and can be taken out") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ExactSum sum = SumOf({1.0, kInfinity});
  CHECK(sum.Round() == kInfinity);
  sum.Add(-kInfinity);
  CHECK(std::isnan(sum.Round()));
  sum.Subtract(kInfinity);
  CHECK(sum.Round() == -kInfinity);
  sum.Add(nan);
  CHECK(std::isnan(sum.Round()));
  sum.Subtract(nan);
  sum.Subtract(-kInfinity);
  CHECK(sum.Round() == 1.0);
}

TEST_CASE("random sums equal the exact oracle in every order, grouping and after taking out") {
  TestRandom random(101);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (int round = 0; round < 3000; ++round) {
    const int widths[] = {0, 2, 60, 500, 2030};
    const int width = widths[random.Int(0, 4)];
    const int low = static_cast<int>(random.Int(0, 2030 - width));
    std::vector<double> values(static_cast<size_t>(random.Int(0, 60)));
    for (double& value : values) value = RandomDouble(&random, low, low + width);
    for (size_t i = 1; i < values.size(); ++i) {  // cancellations
      if (random.Chance(0.3))
        values[i] = -values[static_cast<size_t>(random.Int(0, static_cast<int64_t>(i) - 1))];
    }
    const double expected = ExpansionSum(values);
    ExactSum sum = SumOf(values);
    REQUIRE(Bits(sum.Round()) == Bits(expected));

    std::vector<double> shuffled = values;
    std::shuffle(shuffled.begin(), shuffled.end(), random.engine);
    std::vector<ExactSum> parts(4);
    for (const double value : shuffled) parts[static_cast<size_t>(random.Int(0, 3))].Add(value);
    ExactSum merged;
    for (const ExactSum& part : parts) merged.Merge(part);
    REQUIRE(Bits(merged.Round()) == Bits(expected));

    std::vector<double> more(20);
    for (double& value : more) value = RandomDouble(&random, 0, 2030);
    for (const double value : more) sum.Add(value);
    std::shuffle(more.begin(), more.end(), random.engine);
    for (const double value : more) sum.Subtract(value);
    REQUIRE(Bits(sum.Round()) == Bits(expected));
    sum.Clear();
    for (const double value : shuffled) sum.Add(value);
    REQUIRE(Bits(sum.Round()) == Bits(expected));
  }
}

TEST_CASE("carries between limbs keep the value") {
  // Merging with itself doubles the sum and the count of pending additions: 2^45 additions' worth.
  ExactSum positive = SumOf({1.0 + 0x1p-52, 0x1p-1000});
  ExactSum negative = SumOf({-3.0, 0x1p-40});
  for (int i = 0; i < 45; ++i) {
    positive.Merge(ExactSum(positive));
    negative.Merge(ExactSum(negative));
  }
  CHECK(positive.Round() == std::ldexp(1.0 + 0x1p-52, 45));
  CHECK(negative.Round() == std::ldexp(-3.0 + 0x1p-40, 45));
  positive.Subtract(std::ldexp(1.0 + 0x1p-52, 45));
  CHECK(positive.Round() == 0x1p-955);
  negative.Add(std::ldexp(3.0, 45));
  CHECK(negative.Round() == 0x1p5);
}

}  // namespace
}  // namespace gnomon::pit
