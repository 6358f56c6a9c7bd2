#include "base/ids.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <sys/random.h>

#include <openssl/evp.h>

#include "base/error.h"

namespace gnomon {

namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

std::array<uint8_t, 16> RandomBytes() {
  std::array<uint8_t, 16> bytes;
  // Up to 256 bytes come whole once the kernel's pool is ready.
  ssize_t got = 0;
  do {
    got = ::getrandom(bytes.data(), bytes.size(), 0);
  } while (got < 0 && errno == EINTR);
  GNOMON_CHECK(got == static_cast<ssize_t>(bytes.size()), "getrandom: ", got);
  return bytes;
}

std::string Hex(std::span<const uint8_t> bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) {
    out.push_back(kHexDigits[byte >> 4]);
    out.push_back(kHexDigits[byte & 15]);
  }
  return out;
}

// Sets version and variant (RFC 9562, section 4) and writes the groups of 8-4-4-4-12 digits.
std::string UuidText(std::array<uint8_t, 16> bytes, uint8_t version) {
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | (version << 4));
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  std::string out = Hex(bytes);
  for (const size_t place : {size_t{20}, size_t{16}, size_t{12}, size_t{8}}) out.insert(place, "-");
  return out;
}

// HashBytes folds pairs of words with the wide product of wyhash: both halves of a 128-bit product,
// xored. The words of the input are xored with odd constants first, so that zeros do not
// annihilate.
__extension__ typedef unsigned __int128 Wide;

constexpr std::array<uint64_t, 4> kSecret = {0xa0761d6478bd642f, 0xe7037ed1a0b428db,
                                             0x8ebc6af09c88c6e3, 0x589965cc75374cc3};

uint64_t Fold(uint64_t a, uint64_t b) {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t Load8(const char* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

uint64_t Load4(const char* bytes) {
  uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

// The first, middle and last of one to three bytes.
uint64_t Load1To3(const char* bytes, size_t size) {
  const auto byte = [&](size_t i) { return uint64_t{static_cast<uint8_t>(bytes[i])}; };
  return byte(0) << 16 | byte(size / 2) << 8 | byte(size - 1);
}

}  // namespace

RunId RunId::Random() { return {Hex(RandomBytes())}; }

JobId JobId::Make(int64_t now_micros) {
  std::array<uint8_t, 16> bytes = RandomBytes();
  const int64_t clamped = now_micros < 0 ? 0 : now_micros;
  const uint64_t millis = static_cast<uint64_t>(clamped / 1000);
  for (size_t i = 0; i < 6; ++i) bytes[i] = static_cast<uint8_t>(millis >> (40 - 8 * i));
  // Method 3 of RFC 9562, section 6.2: the fraction of the millisecond follows in twelve bits.
  const uint64_t fraction = static_cast<uint64_t>(clamped % 1000) * 4096 / 1000;
  bytes[6] = static_cast<uint8_t>(fraction >> 8);
  bytes[7] = static_cast<uint8_t>(fraction);
  return {UuidText(bytes, 7)};
}

std::string RandomUuid() { return UuidText(RandomBytes(), 4); }

uint64_t HashBytes(std::string_view bytes, uint64_t seed) {
  const char* next = bytes.data();
  size_t left = bytes.size();
  seed ^= Fold(seed ^ kSecret[0], kSecret[1]);
  uint64_t a = 0;
  uint64_t b = 0;
  if (left > 16) {
    if (left > 48) {
      uint64_t seed1 = seed;
      uint64_t seed2 = seed;
      do {
        seed = Fold(Load8(next) ^ kSecret[1], Load8(next + 8) ^ seed);
        seed1 = Fold(Load8(next + 16) ^ kSecret[2], Load8(next + 24) ^ seed1);
        seed2 = Fold(Load8(next + 32) ^ kSecret[3], Load8(next + 40) ^ seed2);
        next += 48;
        left -= 48;
      } while (left > 48);
      seed ^= seed1 ^ seed2;
    }
    while (left > 16) {
      seed = Fold(Load8(next) ^ kSecret[1], Load8(next + 8) ^ seed);
      next += 16;
      left -= 16;
    }
    // The last sixteen bytes, part of which may have been folded already.
    a = Load8(next + left - 16);
    b = Load8(next + left - 8);
  } else if (left >= 8) {
    a = Load8(next);
    b = Load8(next + left - 8);
  } else if (left >= 4) {
    a = Load4(next);
    b = Load4(next + left - 4);
  } else if (left > 0) {
    a = Load1To3(next, left);
  }
  const Wide product = static_cast<Wide>(a ^ kSecret[1]) * (b ^ seed);
  const uint64_t low = static_cast<uint64_t>(product);
  const uint64_t high = static_cast<uint64_t>(product >> 64);
  return Fold(low ^ kSecret[0] ^ bytes.size(), high ^ kSecret[1]);
}

std::string Sha256Hex(std::string_view bytes) {
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  const int done =
      EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  GNOMON_CHECK(done == 1, "EVP_Digest");
  return Hex(std::span(digest).first(size));
}

}  // namespace gnomon
