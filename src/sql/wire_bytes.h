#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

/// Big-endian numbers, as PostgreSQL's binary formats have them.
namespace gnomon::sql {

inline uint16_t SwapIfLittle(uint16_t value) { return __builtin_bswap16(value); }
inline uint32_t SwapIfLittle(uint32_t value) { return __builtin_bswap32(value); }
inline uint64_t SwapIfLittle(uint64_t value) { return __builtin_bswap64(value); }
static_assert(std::endian::native == std::endian::little);

/// Unsigned type as wide as T.
template <typename T>
using BitsOf = std::conditional_t<sizeof(T) == 2, uint16_t,
                                  std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;

/// Appends an integer or a floating point number of 2, 4 or 8 bytes.
template <typename T>
void AppendBigEndian(std::string* out, T value) {
  const BitsOf<T> bits = SwapIfLittle(std::bit_cast<BitsOf<T>>(value));
  out->append(reinterpret_cast<const char*>(&bits), sizeof(bits));
}

/// Reads what AppendBigEndian wrote. REQUIRES: `bytes` points to sizeof(T) bytes.
template <typename T>
T ReadBigEndian(const char* bytes) {
  BitsOf<T> bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return std::bit_cast<T>(SwapIfLittle(bits));
}

}  // namespace gnomon::sql
