#pragma once

#include <cstdint>

namespace gnomon::demo {

/// A seeded generator whose numbers are the same on every platform (std::normal_distribution's are
/// not): splitmix64 (Steele, Lea, Flood 2014) and the Marsaglia polar method. Not thread-safe.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next();
  /// In [0, 1).
  double Uniform();
  /// Mean 0, standard deviation 1.
  double Normal();

 private:
  uint64_t state_;
  bool has_spare_ = false;
  double spare_ = 0;
};

}  // namespace gnomon::demo
