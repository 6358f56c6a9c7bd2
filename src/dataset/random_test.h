#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

/// What property tests are made of: seeded random numbers, the same with every compiler, and which
/// cases to run. GNOMON_TEST_SEED=<seed> runs one case alone, GNOMON_TEST_CASES=<n> more of them.
namespace gnomon::dataset::test {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(double probability) {
    return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability;
  }
  bool OneIn(int64_t count) { return Int(1, count) == 1; }
  template <typename T>
  T One(const std::vector<T>& of) {
    return of[static_cast<size_t>(Int(0, static_cast<int64_t>(of.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

inline bool IsReplay() { return std::getenv("GNOMON_TEST_SEED") != nullptr; }

inline uint64_t FirstSeed(uint64_t usual = 1) {
  return IsReplay() ? std::strtoull(std::getenv("GNOMON_TEST_SEED"), nullptr, 10) : usual;
}

inline uint64_t NumCases(uint64_t usual) {
  if (IsReplay()) return 1;
  const char* more = std::getenv("GNOMON_TEST_CASES");
  return more != nullptr ? std::strtoull(more, nullptr, 10) : usual;
}

}  // namespace gnomon::dataset::test
