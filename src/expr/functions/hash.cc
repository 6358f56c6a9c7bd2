#include <bit>
#include <cmath>
#include <limits>

#include "expr/function_internal.h"
#include "expr/kernel_internal.h"

namespace gnomon::expr {

namespace {

// FNV-1a over the canonical bytes, then the finaliser of splitmix64. Part of the language: models
// depend on it, so it never changes.
class Hash {
 public:
  void Add(uint8_t byte) { state_ = (state_ ^ byte) * 0x100000001b3ULL; }
  uint64_t Finish() const {
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325ULL;
};

uint64_t HashWord(uint64_t word) {
  Hash hash;
  for (int shift = 0; shift < 64; shift += 8) hash.Add(static_cast<uint8_t>(word >> shift));
  return hash.Finish();
}

uint64_t HashOf(std::string_view text) {
  Hash hash;
  for (const char byte : text) hash.Add(static_cast<uint8_t>(byte));
  return hash.Finish();
}
uint64_t HashOf(int64_t value) { return HashWord(static_cast<uint64_t>(value)); }
uint64_t HashOf(uint8_t value) { return HashWord(value); }
uint64_t HashOf(double value) {
  if (value == 0) value = 0;  // -0
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  return HashWord(std::bit_cast<uint64_t>(value));
}

template <typename T>
Status Bucket(const Call& call, std::span<const Vector> in, Vector* out) {
  return MapChecked<int64_t, T, int64_t>(
      call, in[0], in[1], out, "a number of buckets that is not positive",
      [](T value, int64_t buckets, int64_t* result) {
        if (buckets <= 0) return true;
        *result = static_cast<int64_t>(HashOf(value) % static_cast<uint64_t>(buckets));
        return false;
      });
}

}  // namespace

FunctionFamily HashFunctions() {
  return {.title = "Hashing",
          .doc = "Stable across versions and machines.",
          .functions = {
              {.name = "hash_bucket",
               .signature = "hash_bucket(x, n)",
               .doc = "A bucket from 0 to n - 1: FNV-1a (64 bits) over the value's bytes, finished "
                      "by splitmix64's mixing, "
                      "modulo n. The bytes are a text's UTF-8, else 8 bytes, low byte first: the "
                      "int64 (bool 0 or 1, days "
                      "of a date, microseconds of a timestamp or duration) or the IEEE bits of the "
                      "float64 (-0 as 0, one "
                      "NaN).",
               .example = "hash_bucket('gnomon', 1000)",
               .result = "801",
               .overloads = {{{kTextType, kIntType}, kIntType, Bucket<std::string_view>},
                             {{kIntType, kIntType}, kIntType, Bucket<int64_t>},
                             {{kFloatType, kIntType}, kIntType, Bucket<double>},
                             {{kBoolType, kIntType}, kIntType, Bucket<uint8_t>},
                             {{kDateType, kIntType}, kIntType, Bucket<int64_t>},
                             {{kTimestampType, kIntType}, kIntType, Bucket<int64_t>},
                             {{kDurationType, kIntType}, kIntType, Bucket<int64_t>}}},
          }};
}

}  // namespace gnomon::expr
