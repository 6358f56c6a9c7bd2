#include "pit/exact_sum.h"

#include <limits>

#include "pit/digits_internal.h"

namespace gnomon::pit {

void ExactSum::Merge(const ExactSum& other) {
  finite_.Merge(other.finite_);
  non_finite_.Merge(other.non_finite_);
}

void ExactSum::Clear() {
  finite_.Clear();
  non_finite_ = {};
}

double ExactSum::Round() const {
  if (non_finite_.any()) [[unlikely]] {
    const bool both = non_finite_.positive > 0 && non_finite_.negative > 0;
    if (non_finite_.nans > 0 || both) return std::numeric_limits<double>::quiet_NaN();
    const double infinity = std::numeric_limits<double>::infinity();
    return non_finite_.positive > 0 ? infinity : -infinity;
  }
  Digits<kLimbs + 2> digits;
  finite_.ToDigits(&digits);
  if (digits.count == 0) return 0.0;
  const LeadingBits leading = TakeLeadingBits(digits.digit.data(), digits.count, digits.first);
  uint64_t bits = 0;
  if (leading.position <= 52) {
    // Below 2^53 units of 2^-1074 the count of units is the representation, subnormal or not.
    bits = leading.top >> (63 - leading.position);
  } else if (leading.position > 2097) {
    bits = kExponentMask;
  } else {
    // Rounding up to 2^53 carries into the exponent, and from the largest one into infinity.
    const auto exponent = static_cast<uint64_t>(leading.position - 51);
    bits = ((exponent - 1) << 52) + RoundTo53(leading.top, leading.rest);
  }
  const uint64_t sign = digits.negative ? uint64_t{1} << 63 : 0;
  return std::bit_cast<double>(bits | sign);
}

void ExactSum::Append(std::string* bytes) const {
  AppendDigits<kLimbs>(finite_, bytes);
  AppendCounts(non_finite_, bytes);
}

bool ExactSum::Read(ByteReader* bytes) {
  return ReadSum<kLimbs>(bytes, &finite_) && ReadCounts(bytes, &non_finite_);
}

bool ExactSum::AddRead(ByteReader* bytes) {
  NonFiniteCounts non_finite;
  if (!AddReadSum<kLimbs>(bytes, &finite_) || !ReadCounts(bytes, &non_finite)) return false;
  non_finite_.Merge(non_finite);
  return true;
}

}  // namespace gnomon::pit
