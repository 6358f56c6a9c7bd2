#include "pit/exact_variance.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "pit/test_random.h"

namespace gnomon::pit {
namespace {

__extension__ using Quad = __float128;

uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }

double TwoPassVariance(const std::vector<double>& values, int64_t ddof) {
  Quad sum = 0;
  for (const double value : values) sum += value;
  const Quad mean = sum / static_cast<Quad>(values.size());
  Quad squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return static_cast<double>(squares /
                             static_cast<Quad>(static_cast<int64_t>(values.size()) - ddof));
}

ExactVariance VarianceOf(const std::vector<double>& values) {
  ExactVariance variance;
  for (const double value : values) variance.Add(value);
  return variance;
}

TEST_CASE("the variance of equal values is exactly zero") {
  CHECK(Bits(VarianceOf({0.1, 0.1, 0.1}).Variance(1)) == Bits(0.0));
  CHECK(Bits(VarianceOf({0.0, -0.0}).Variance(1)) == Bits(0.0));
  CHECK(Bits(VarianceOf({-1e300}).StandardDeviation(0)) == Bits(0.0));
}

TEST_CASE("a large offset does not cost the variance a digit") {
  for (const double offset : {0.0, 1e9, 1e15, -0x1p52}) {
    CHECK(VarianceOf({offset + 1, offset + 2, offset + 3, offset + 4}).Variance(0) == 1.25);
  }
  TestRandom random(7);
  std::vector<double> values(1000);
  for (double& value : values) value = 1e9 + random.Real() * 1e-3;
  CHECK(VarianceOf(values).Variance(1) ==
        doctest::Approx(TwoPassVariance(values, 1)).epsilon(1e-15));
}

TEST_CASE("huge and tiny values neither overflow nor underflow on the way") {
  CHECK(VarianceOf({-1e308, 1e308}).StandardDeviation(0) == 1e308);
  CHECK(VarianceOf({-1e308, 1e308}).Variance(0) == std::numeric_limits<double>::infinity());
  CHECK(VarianceOf({1e-200, 3e-200}).StandardDeviation(0) ==
        doctest::Approx(1e-200).epsilon(1e-15));
  CHECK(VarianceOf({0x1p-1074, 0x1.8p-1073}).StandardDeviation(0) == 0x1p-1074);
}

TEST_CASE("NaN or an infinity gives NaN until it is taken out") {
  ExactVariance variance = VarianceOf({1.0, 3.0, std::numeric_limits<double>::infinity()});
  CHECK(std::isnan(variance.Variance(0)));
  variance.Subtract(std::numeric_limits<double>::infinity());
  CHECK(variance.Variance(0) == 1.0);
}

TEST_CASE("integers beyond 2^53 are taken exactly") {
  ExactVariance variance;
  const int64_t big = std::numeric_limits<int64_t>::max();
  for (int64_t i = 0; i < 4; ++i) variance.AddInteger(big - i);
  CHECK(variance.Variance(0) == 1.25);
  variance.AddInteger(std::numeric_limits<int64_t>::min());
  variance.SubtractInteger(std::numeric_limits<int64_t>::min());
  CHECK(variance.Variance(0) == 1.25);
}

TEST_CASE(
    "random variances are within two ulp of quad precision and independent of order, grouping and "
    "history") {
  TestRandom random(202);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (int round = 0; round < 2000; ++round) {
    std::vector<double> values(static_cast<size_t>(random.Int(2, 80)));
    const double offset =
        random.Chance(0.5) ? 0.0 : std::pow(10.0, static_cast<double>(random.Int(0, 12)));
    const double scale = std::pow(10.0, static_cast<double>(random.Int(-3, 6)));
    for (double& value : values) value = offset + scale * (random.Real() - 0.5);
    const int64_t ddof = random.Int(0, 1);
    const double expected = TwoPassVariance(values, ddof);
    ExactVariance whole = VarianceOf(values);
    const double variance = whole.Variance(ddof);
    REQUIRE(std::fabs(variance - expected) <= 1e-15 * expected);
    REQUIRE(std::fabs(whole.StandardDeviation(ddof) - std::sqrt(expected)) <=
            1e-15 * std::sqrt(expected));

    std::shuffle(values.begin(), values.end(), random.engine);
    std::vector<ExactVariance> parts(3);
    for (const double value : values) parts[static_cast<size_t>(random.Int(0, 2))].Add(value);
    ExactVariance merged;
    for (const ExactVariance& part : parts) merged.Merge(part);
    REQUIRE(Bits(merged.Variance(ddof)) == Bits(variance));
    // Taking everything out and adding it again leaves no trace.
    ExactVariance slid = VarianceOf({1e-300, 1e300, -7.5});
    for (const double value : values) slid.Add(value);
    for (const double value : {1e300, -7.5, 1e-300}) slid.Subtract(value);
    REQUIRE(Bits(slid.Variance(ddof)) == Bits(variance));
  }
}

}  // namespace
}  // namespace gnomon::pit
