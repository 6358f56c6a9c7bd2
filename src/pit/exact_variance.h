#pragma once

#include <bit>
#include <cstdint>
#include <string>

#include "pit/superaccumulator.h"

namespace gnomon::pit {

class ByteReader;

/// Variance and standard deviation that depend neither on order nor on grouping. Sums of x and of
/// x*x are kept without any rounding (superaccumulators of 70 and of 136 limbs; the square of a
/// 53-bit mantissa is a 106-bit integer), and n * sum(x*x) - sum(x)^2 is formed in integer
/// arithmetic and rounded once. There is no cancellation, no overflow and no underflow on the way:
/// the variance is within 2 ulp of the exact one (std within 2), whatever the offset of the data.
/// Any NaN or infinity gives NaN. Fewer than 2^62 values.
class ExactVariance {
 public:
  void Add(double value) { AddBits(std::bit_cast<uint64_t>(value), false); }
  /// Takes out a value that was added before.
  void Subtract(double value) { AddBits(std::bit_cast<uint64_t>(value), true); }
  void AddInteger(int64_t value) { AddWhole(value, false); }
  void SubtractInteger(int64_t value) { AddWhole(value, true); }
  void Merge(const ExactVariance& other);
  void Clear();

  int64_t count() const { return count_; }

  /// With divisor count - ddof. REQUIRES: count() > ddof >= 0.
  double Variance(int64_t ddof) const;
  /// The root of the variance, right too where that would overflow or underflow.
  double StandardDeviation(int64_t ddof) const;

  /// The sums as bytes, as ExactSum's.
  void Append(std::string* bytes) const;
  /// Becomes what Append wrote; false when the bytes are none, or no values have such sums.
  bool Read(ByteReader* bytes);
  /// Merges what Append wrote, without Read's last check: HasRealVariance has to be asked before
  /// Variance. After false this one is of no use.
  bool AddRead(ByteReader* bytes);
  /// Are there values that have such sums? They may be damaged after AddRead.
  bool HasRealVariance() const;

 private:
  static constexpr int kSumLimbs = 70;
  static constexpr int kSquareLimbs = 136;

  /// fraction * 2^exponent with an even exponent; fraction 0 for equal values.
  struct Scaled {
    double fraction;
    int exponent;
  };

  void AddBits(uint64_t bits, bool take_out) {
    count_ += take_out ? -1 : 1;
    if ((bits << 1) == 0) return;
    if ((bits & kExponentMask) == kExponentMask) [[unlikely]] {
      non_finite_.Add(bits, take_out ? -1 : 1);
      return;
    }
    const FixedPoint value = ToFixedPoint(bits);
    sum_.Add64(value.position, value.mantissa, value.negative != take_out);
    squares_.Add128(2 * value.position, Uint128{value.mantissa} * value.mantissa, take_out);
  }

  void AddWhole(int64_t value, bool take_out) {
    count_ += take_out ? -1 : 1;
    if (value == 0) return;
    const uint64_t magnitude =
        value < 0 ? uint64_t{0} - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    sum_.Add64(kOne, magnitude, (value < 0) != take_out);
    squares_.Add128(2 * kOne, Uint128{magnitude} * magnitude, take_out);
  }

  Scaled Compute(int64_t ddof) const;

  static constexpr int kOne = 1074;  ///< the position of 1.0
  Superaccumulator<kSumLimbs> sum_;
  Superaccumulator<kSquareLimbs> squares_;
  NonFiniteCounts non_finite_;
  int64_t count_ = 0;
};

}  // namespace gnomon::pit
