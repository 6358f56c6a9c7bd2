#include "pit/exact_variance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "pit/digits_internal.h"

namespace gnomon::pit {

namespace {

/// Room for n * sum(x*x): 138 digits times a 64-bit number; sum(x)^2 needs 2 * 72.
using Wide = Digits<148>;

template <int kCapacity>
Wide TimesCount(const Digits<kCapacity>& number, uint64_t factor) {
  Wide product;
  product.first = number.first;
  product.count = number.count + 2;
  Uint128 carry = 0;
  for (int i = 0; i < product.count; ++i) {
    if (i < number.count) carry += Uint128{number.digit[static_cast<size_t>(i)]} * factor;
    product.digit[static_cast<size_t>(i)] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  return product;
}

template <int kCapacity>
Wide Square(const Digits<kCapacity>& number) {
  Wide square;
  square.first = 2 * number.first;
  square.count = 2 * number.count;
  std::fill_n(square.digit.begin(), square.count, 0);
  for (int i = 0; i < number.count; ++i) {
    uint64_t carry = 0;
    for (int j = 0; j < number.count; ++j) {
      uint32_t& digit = square.digit[static_cast<size_t>(i + j)];
      carry +=
          uint64_t{number.digit[static_cast<size_t>(i)]} * number.digit[static_cast<size_t>(j)] +
          digit;
      digit = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    square.digit[static_cast<size_t>(i + number.count)] = static_cast<uint32_t>(carry);
  }
  return square;
}

int64_t DigitAt(const Wide& number, int place) {
  const int i = place - number.first;
  return i >= 0 && i < number.count ? number.digit[static_cast<size_t>(i)] : 0;
}

/// Absent when left < right.
std::optional<Wide> Difference(const Wide& left, const Wide& right) {
  Wide difference;
  // A zero has no place of its own: it must not widen the range.
  difference.first = right.count > 0 ? std::min(left.first, right.first) : left.first;
  const int end =
      std::max(left.first + left.count, right.count > 0 ? right.first + right.count : 0);
  int64_t borrow = 0;
  for (int place = difference.first; place < end; ++place) {
    const int64_t value = DigitAt(left, place) - DigitAt(right, place) + borrow;
    const auto digit = static_cast<uint32_t>(value);
    borrow = value >> 32;
    const int i = place - difference.first;
    difference.digit[static_cast<size_t>(i)] = digit;
    if (digit != 0) difference.count = i + 1;
  }
  if (borrow != 0) return std::nullopt;
  return difference;
}

}  // namespace

void ExactVariance::Merge(const ExactVariance& other) {
  sum_.Merge(other.sum_);
  squares_.Merge(other.squares_);
  non_finite_.Merge(other.non_finite_);
  count_ += other.count_;
}

void ExactVariance::Clear() {
  sum_.Clear();
  squares_.Clear();
  non_finite_ = {};
  count_ = 0;
}

ExactVariance::Scaled ExactVariance::Compute(int64_t ddof) const {
  GNOMON_CHECK(ddof >= 0 && count_ > ddof, "count ", count_, ", ddof ", ddof);
  if (non_finite_.any()) return {std::numeric_limits<double>::quiet_NaN(), 0};
  Digits<kSumLimbs + 2> sum;
  sum_.ToDigits(&sum);
  Digits<kSquareLimbs + 2> squares;
  squares_.ToDigits(&squares);
  if (squares.count == 0) return {0.0, 0};
  const std::optional<Wide> difference =
      Difference(TimesCount(squares, static_cast<uint64_t>(count_)), Square(sum));
  GNOMON_CHECK(difference.has_value(), "sum(x)^2 is greater than n * sum(x*x)");
  const Wide& numerator = *difference;
  if (numerator.count == 0) return {0.0, 0};
  const LeadingBits leading =
      TakeLeadingBits(numerator.digit.data(), numerator.count, numerator.first);
  int exponent = leading.position - 52 - 2 * kOne;
  auto fraction = static_cast<double>(RoundTo53(leading.top, leading.rest));
  if (exponent % 2 != 0) {
    fraction *= 2;
    --exponent;
  }
  const double divisor = static_cast<double>(Uint128(static_cast<uint64_t>(count_)) *
                                             static_cast<uint64_t>(count_ - ddof));
  return {fraction / divisor, exponent};
}

bool ExactVariance::HasRealVariance() const {
  Digits<kSumLimbs + 2> sum;
  sum_.ToDigits(&sum);
  Digits<kSquareLimbs + 2> squares;
  squares_.ToDigits(&squares);
  if (squares.negative) return false;
  if (squares.count == 0) return sum.count == 0;
  return Difference(TimesCount(squares, static_cast<uint64_t>(count_)), Square(sum)).has_value();
}

void ExactVariance::Append(std::string* bytes) const {
  AppendNumber(count_, bytes);
  AppendDigits<kSumLimbs>(sum_, bytes);
  AppendDigits<kSquareLimbs>(squares_, bytes);
  AppendCounts(non_finite_, bytes);
}

bool ExactVariance::Read(ByteReader* bytes) {
  return bytes->Read(&count_) && count_ >= 0 && count_ < kMaxStoredCount &&
         ReadSum<kSumLimbs>(bytes, &sum_) && ReadSum<kSquareLimbs>(bytes, &squares_) &&
         ReadCounts(bytes, &non_finite_) && HasRealVariance();
}

bool ExactVariance::AddRead(ByteReader* bytes) {
  int64_t count = 0;
  NonFiniteCounts non_finite;
  if (!bytes->Read(&count) || count < 0 || count >= kMaxStoredCount - count_ ||
      !AddReadSum<kSumLimbs>(bytes, &sum_) || !AddReadSum<kSquareLimbs>(bytes, &squares_) ||
      !ReadCounts(bytes, &non_finite)) {
    return false;
  }
  count_ += count;
  non_finite_.Merge(non_finite);
  return true;
}

double ExactVariance::Variance(int64_t ddof) const {
  const Scaled scaled = Compute(ddof);
  return std::ldexp(scaled.fraction, scaled.exponent);
}

double ExactVariance::StandardDeviation(int64_t ddof) const {
  const Scaled scaled = Compute(ddof);
  return std::ldexp(std::sqrt(scaled.fraction), scaled.exponent / 2);
}

}  // namespace gnomon::pit
