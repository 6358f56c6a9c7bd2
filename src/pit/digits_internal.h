#pragma once

#include <cstdint>
#include <string>

#include "pit/bytes_internal.h"
#include "pit/superaccumulator.h"

/// Exact sums as bytes: u16 place of the lowest digit, u16 number of digits, u8 sign (1 negative),
/// then the 32-bit digits of the magnitude, lowest first, without zeros at either end; a byte that
/// says whether there were values that are not finite, then three i64: NaN, +infinity, -infinity.
namespace gnomon::pit {

/// Counts in stored states are below this, so that adding to them never overflows.
inline constexpr int64_t kMaxStoredCount = int64_t{1} << 62;

template <int kLimbs>
void AppendDigits(const Superaccumulator<kLimbs>& sum, std::string* bytes) {
  Digits<kLimbs + 2> digits;
  sum.ToDigits(&digits);
  const bool zero = digits.count == 0;
  AppendNumber(static_cast<uint16_t>(zero ? 0 : digits.first), bytes);
  AppendNumber(static_cast<uint16_t>(digits.count), bytes);
  AppendNumber(static_cast<uint8_t>(!zero && digits.negative ? 1 : 0), bytes);
  for (int i = 0; i < digits.count; ++i) AppendNumber(digits.digit[static_cast<size_t>(i)], bytes);
}

template <int kLimbs>
bool ReadDigits(ByteReader* bytes, Digits<kLimbs + 2>* digits) {
  uint16_t first = 0;
  uint16_t count = 0;
  uint8_t sign = 0;
  if (!bytes->Read(&first) || !bytes->Read(&count) || !bytes->Read(&sign)) return false;
  if (sign > 1 || first + count > kLimbs || (count == 0 && (first != 0 || sign != 0))) return false;
  digits->first = first;
  digits->count = count;
  digits->negative = sign != 0;
  for (size_t i = 0; i < count; ++i) {
    if (!bytes->Read(&digits->digit[i])) return false;
  }
  return count == 0 || (digits->digit[0] != 0 && digits->digit[size_t{count} - 1] != 0);
}

/// `sum` becomes what AppendDigits wrote.
template <int kLimbs>
bool ReadSum(ByteReader* bytes, Superaccumulator<kLimbs>* sum) {
  Digits<kLimbs + 2> digits;
  if (!ReadDigits<kLimbs>(bytes, &digits)) return false;
  sum->Assign(digits);
  return true;
}

template <int kLimbs>
bool AddReadSum(ByteReader* bytes, Superaccumulator<kLimbs>* sum) {
  Digits<kLimbs + 2> digits;
  if (!ReadDigits<kLimbs>(bytes, &digits)) return false;
  sum->Add(digits);
  return true;
}

inline void AppendCounts(const NonFiniteCounts& counts, std::string* bytes) {
  AppendNumber(static_cast<uint8_t>(counts.any() ? 1 : 0), bytes);
  if (!counts.any()) return;
  AppendNumber(counts.nans, bytes);
  AppendNumber(counts.positive, bytes);
  AppendNumber(counts.negative, bytes);
}

inline bool ReadCounts(ByteReader* bytes, NonFiniteCounts* counts) {
  uint8_t any = 0;
  *counts = {};
  if (!bytes->Read(&any) || any > 1) return false;
  if (any == 0) return true;
  const auto read = [&](int64_t* count) {
    return bytes->Read(count) && *count >= 0 && *count < kMaxStoredCount;
  };
  return read(&counts->nans) && read(&counts->positive) && read(&counts->negative) && counts->any();
}

}  // namespace gnomon::pit
