#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace gnomon::pit {

__extension__ using Uint128 = unsigned __int128;
__extension__ using Int128 = __int128;

/// The absolute value of a fixed-point number in digits of 32 bits, least significant first,
/// without zero digits at either end: sum of digit[i] * 2^(32 * (first + i)).
template <int kCapacity>
struct Digits {
  std::array<uint32_t, kCapacity> digit;  ///< the first `count` are set
  int count = 0;
  int first = 0;
  bool negative = false;
};

/// The leading bits of a number: `top` has its bit 63 set and stands for the bits position-63 ..
/// position; `rest` says whether any lower bit is set.
struct LeadingBits {
  uint64_t top = 0;
  int position = 0;
  bool rest = false;
};

/// REQUIRES: count > 0 and digit[count - 1] != 0.
inline LeadingBits TakeLeadingBits(const uint32_t* digit, int count, int first) {
  const uint64_t high = digit[count - 1];
  const uint64_t middle = count > 1 ? digit[count - 2] : 0;
  const uint64_t low = count > 2 ? digit[count - 3] : 0;
  const int shift = __builtin_clzll(high) - 32;
  LeadingBits bits;
  bits.top = (((high << 32) | middle) << shift) | (low >> (32 - shift));
  bits.rest = ((low << shift) & 0xffffffffU) != 0;
  for (int i = count - 4; i >= 0 && !bits.rest; --i) bits.rest = digit[i] != 0;
  bits.position = (first + count) * 32 - 1 - shift;
  return bits;
}

/// `top`, with `rest` below it, to 53 bits, nearest even: at most 2^53.
inline uint64_t RoundTo53(uint64_t top, bool rest) {
  const uint64_t kept = top >> 11;
  const uint64_t half = top & 0x7ff;
  const bool up = half > 0x400 || (half == 0x400 && (rest || (kept & 1) != 0));
  return kept + (up ? 1 : 0);
}

/// A fixed-point number of kLimbs limbs with 32 bits of value each and 31 bits of slack, so that
/// carries are done once per 2^30 additions. Only the limbs that were touched are looked at, which
/// makes Clear, Merge and ToDigits cheap for data of a few magnitudes. Positions are bits above the
/// unit.
template <int kLimbs>
class Superaccumulator {
 public:
  /// Adds magnitude * 2^position, or takes it out.
  void Add64(int position, uint64_t magnitude, bool negate) {
    const int limb = position >> 5;
    const int offset = position & 31;
    const auto piece = [negate](uint64_t bits) {
      const int64_t sign = -static_cast<int64_t>(negate);
      return (static_cast<int64_t>(bits) ^ sign) - sign;
    };
    int64_t* at = limbs_.data() + limb;
    at[0] += piece((magnitude << offset) & kMask);
    at[1] += piece((magnitude >> (32 - offset)) & kMask);
    at[2] += piece((magnitude >> 32) >> (32 - offset));
    Touch(limb, limb + 2);
  }

  void Add128(int position, Uint128 magnitude, bool negate) {
    Add64(position, static_cast<uint64_t>(magnitude), negate);
    Add64(position + 64, static_cast<uint64_t>(magnitude >> 64), negate);
  }

  void Merge(const Superaccumulator& other) {
    if (other.high_ < other.low_) return;
    if (pending_ + other.pending_ > kMaxPending) Carry();
    for (int i = other.low_; i <= other.high_; ++i) At(i) += other.At(i);
    low_ = std::min(low_, other.low_);
    high_ = std::max(high_, other.high_);
    pending_ += other.pending_;
  }

  void Clear() {
    if (high_ >= low_) std::fill(limbs_.begin() + low_, limbs_.begin() + high_ + 1, 0);
    low_ = kLimbs;
    high_ = -1;
    pending_ = 0;
  }

  /// REQUIRES: kCapacity >= kLimbs + 2.
  template <int kCapacity>
  void ToDigits(Digits<kCapacity>* out) const {
    static_assert(kCapacity >= kLimbs + 2);
    int count = 0;
    int64_t carry = 0;
    for (int i = low_; i <= high_; ++i) {
      const int64_t value = At(i) + carry;
      out->digit[static_cast<size_t>(count++)] = static_cast<uint32_t>(value);
      carry = value >> 32;
    }
    out->negative = carry < 0;
    if (carry < 0) {  // two's complement to magnitude
      uint64_t add = 1;
      for (int i = 0; i < count; ++i) {
        add += static_cast<uint32_t>(~out->digit[static_cast<size_t>(i)]);
        out->digit[static_cast<size_t>(i)] = static_cast<uint32_t>(add);
        add >>= 32;
      }
      carry = ~carry + static_cast<int64_t>(add);
    }
    out->digit[static_cast<size_t>(count++)] = static_cast<uint32_t>(carry);
    out->digit[static_cast<size_t>(count++)] = static_cast<uint32_t>(carry >> 32);
    while (count > 0 && out->digit[static_cast<size_t>(count - 1)] == 0) --count;
    int zeros = 0;
    while (zeros < count && out->digit[static_cast<size_t>(zeros)] == 0) ++zeros;
    if (zeros > 0)
      std::copy(out->digit.begin() + zeros, out->digit.begin() + count, out->digit.begin());
    out->count = count - zeros;
    out->first = low_ + zeros;
  }

  /// Adds a number of ToDigits. REQUIRES: 0 <= first, first + count <= kLimbs.
  template <int kCapacity>
  void Add(const Digits<kCapacity>& number) {
    if (number.count == 0) return;
    for (int i = 0; i < number.count; ++i) {
      const int64_t digit = number.digit[static_cast<size_t>(i)];
      At(number.first + i) += number.negative ? -digit : digit;
    }
    Touch(number.first, number.first + number.count - 1);
  }

  /// Becomes a number of ToDigits. REQUIRES: 0 <= first, first + count <= kLimbs.
  template <int kCapacity>
  void Assign(const Digits<kCapacity>& number) {
    Clear();
    for (int i = 0; i < number.count; ++i) {
      const int64_t digit = number.digit[static_cast<size_t>(i)];
      At(number.first + i) = number.negative ? -digit : digit;
    }
    if (number.count == 0) return;
    low_ = number.first;
    high_ = number.first + number.count - 1;
    pending_ = 1;
  }

 private:
  static constexpr uint64_t kMask = 0xffffffffU;
  /// |limb| <= pending_ * 2^32 always.
  static constexpr int64_t kMaxPending = int64_t{1} << 30;

  int64_t& At(int i) { return limbs_[static_cast<size_t>(i)]; }
  int64_t At(int i) const { return limbs_[static_cast<size_t>(i)]; }

  void Touch(int low, int high) {
    low_ = std::min(low_, low);
    high_ = std::max(high_, high);
    if (++pending_ >= kMaxPending) [[unlikely]]
      Carry();
  }

  /// Leaves every limb in [0, 2^32) but the highest, which keeps the sign and is below 2^32 in
  /// magnitude.
  void Carry() {
    int64_t carry = 0;
    for (int i = low_; i <= high_; ++i) {
      const int64_t value = At(i) + carry;
      const bool small = value >= -int64_t{1} << 31 && value < int64_t{1} << 31;
      if (i == high_ && (small || high_ == kLimbs - 1)) {
        At(i) = value;
        break;
      }
      At(i) = static_cast<int64_t>(static_cast<uint64_t>(value) & kMask);
      carry = value >> 32;
      if (i == high_) {
        At(++high_) = carry;
        break;
      }
    }
    pending_ = 1;
  }

  std::array<int64_t, kLimbs> limbs_{};
  int low_ = kLimbs;  ///< limbs outside [low_, high_] are zero
  int high_ = -1;
  int64_t pending_ = 0;
};

/// A finite double as mantissa * 2^(position - 1074).
struct FixedPoint {
  uint64_t mantissa;
  int position;
  bool negative;
};

inline FixedPoint ToFixedPoint(uint64_t bits) {
  const int exponent = static_cast<int>((bits >> 52) & 0x7ff);
  const int normal = exponent != 0 ? 1 : 0;
  const uint64_t mantissa =
      (bits & ((uint64_t{1} << 52) - 1)) | (static_cast<uint64_t>(normal) << 52);
  return {mantissa, exponent - normal, (bits >> 63) != 0};
}

inline constexpr uint64_t kExponentMask = uint64_t{0x7ff} << 52;

/// NaN and infinities, counted apart from the finite values.
struct NonFiniteCounts {
  int64_t nans = 0;
  int64_t positive = 0;
  int64_t negative = 0;

  void Add(uint64_t bits, int64_t times) {
    const bool nan = (bits & ((uint64_t{1} << 52) - 1)) != 0;
    (nan ? nans : (bits >> 63) != 0 ? negative : positive) += times;
  }
  void Merge(const NonFiniteCounts& other) {
    nans += other.nans;
    positive += other.positive;
    negative += other.negative;
  }
  bool any() const { return (nans | positive | negative) != 0; }
};

}  // namespace gnomon::pit
