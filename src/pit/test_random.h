#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>

namespace gnomon::pit {

/// Random numbers for property tests. The seed comes from GNOMON_TEST_SEED when set; print `seed`
/// on failure.
struct TestRandom {
  explicit TestRandom(uint64_t default_seed) : seed(SeedOr(default_seed)), engine(seed) {}

  static uint64_t SeedOr(uint64_t default_seed) {
    const char* text = std::getenv("GNOMON_TEST_SEED");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : default_seed;
  }

  /// Uniform in [low, high].
  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine);
  }
  double Real() { return std::uniform_real_distribution<double>(0, 1)(engine); }
  bool Chance(double probability) { return Real() < probability; }

  uint64_t seed;
  std::mt19937_64 engine;
};

}  // namespace gnomon::pit
