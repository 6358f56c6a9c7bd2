#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace gnomon::pit {

static_assert(std::endian::native == std::endian::little, "stored numbers are little-endian");

template <typename T>
void AppendNumber(T value, std::string* bytes) {
  static_assert(std::is_trivially_copyable_v<T>);
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  bytes->append(raw, sizeof(T));
}

/// Reads what AppendNumber wrote. Every read says whether there were bytes enough; after a false
/// one the values read are worth nothing.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  bool Read(T* value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }

  bool ReadText(size_t length, std::string_view* text) {
    if (rest_.size() < length) return false;
    *text = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }

  size_t remaining() const { return rest_.size(); }

 private:
  std::string_view rest_;
};

}  // namespace gnomon::pit
