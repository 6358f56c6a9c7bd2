#pragma once

#include <bit>
#include <cstdint>
#include <string>

#include "pit/superaccumulator.h"

namespace gnomon::pit {

class ByteReader;

/// A sum of doubles without rounding error: a fixed-point number of 70 limbs of 32 bits that spans
/// every finite double (Neal, "Fast exact summation using small and large superaccumulators", 2015,
/// section 2; limbs with slack for 2^30 additions between carries). Because it is exact, the result
/// depends neither on order nor on grouping, values can be taken out again, and partial sums merge.
/// NaN and infinities are counted apart and win as IEEE would: any NaN, or both infinities, give
/// NaN. Room for 2^63 values of any size.
class ExactSum {
 public:
  void Add(double value) { AddBits(std::bit_cast<uint64_t>(value), false); }
  /// Takes out a value that was added before.
  void Subtract(double value) { AddBits(std::bit_cast<uint64_t>(value), true); }
  void Merge(const ExactSum& other);
  void Clear();

  /// The exact sum rounded once to nearest even; +0.0 for an empty or zero sum. Overflow gives an
  /// infinity.
  double Round() const;

  /// The exact sum as bytes: of equal sums the same, whatever was added and taken out.
  void Append(std::string* bytes) const;
  /// Becomes the sum that Append wrote; false when the bytes are none.
  bool Read(ByteReader* bytes);
  /// Merges the sum that Append wrote; after false this one is of no use.
  bool AddRead(ByteReader* bytes);

 private:
  static constexpr int kLimbs = 70;

  void AddBits(uint64_t bits, bool take_out) {
    if ((bits << 1) == 0) return;
    if ((bits & kExponentMask) == kExponentMask) [[unlikely]] {
      non_finite_.Add(bits, take_out ? -1 : 1);
      return;
    }
    const FixedPoint value = ToFixedPoint(bits);
    finite_.Add64(value.position, value.mantissa, value.negative != take_out);
  }

  Superaccumulator<kLimbs> finite_;
  NonFiniteCounts non_finite_;
};

}  // namespace gnomon::pit
