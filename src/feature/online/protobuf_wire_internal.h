#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

/// Protobuf's wire format, as far as Feast's small messages use it.
namespace gnomon::feature::internal {

enum class Wire : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

inline void AppendVarint(uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

inline void AppendTag(uint32_t number, Wire wire, std::string* out) {
  AppendVarint(uint64_t{number} << 3 | static_cast<uint64_t>(wire), out);
}

/// Little-endian.
template <typename Unsigned>
void AppendFixed(Unsigned value, std::string* out) {
  static_assert(std::is_unsigned_v<Unsigned>);
  for (size_t i = 0; i < sizeof(value); ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

/// Walks over the bytes of one message; what it returns false for is no message.
class ProtobufReader {
 public:
  explicit ProtobufReader(std::string_view bytes) : bytes_(bytes) {}

  bool done() const { return bytes_.empty(); }
  std::string_view rest() const { return bytes_; }

  bool Varint(uint64_t* value) {
    *value = 0;
    for (size_t i = 0; i < 10 && i < bytes_.size(); ++i) {
      const auto byte = static_cast<unsigned char>(bytes_[i]);
      *value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) != 0) continue;
      bytes_.remove_prefix(i + 1);
      return true;
    }
    return false;
  }

  bool Tag(uint32_t* number, Wire* wire) {
    uint64_t tag = 0;
    if (!Varint(&tag) || tag > UINT32_MAX) return false;
    *number = static_cast<uint32_t>(tag >> 3);
    *wire = static_cast<Wire>(tag & 7);
    const bool known = *wire == Wire::kVarint || *wire == Wire::kFixed64 || *wire == Wire::kBytes ||
                       *wire == Wire::kFixed32;
    return *number != 0 && known;
  }

  template <typename Unsigned>
  bool Fixed(Unsigned* value) {
    if (bytes_.size() < sizeof(*value)) return false;
    std::memcpy(value, bytes_.data(), sizeof(*value));
    bytes_.remove_prefix(sizeof(*value));
    return true;
  }

  bool Bytes(std::string_view* value) {
    uint64_t length = 0;
    if (!Varint(&length) || length > bytes_.size()) return false;
    *value = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return true;
  }

  bool Skip(Wire wire) {
    uint64_t number = 0;
    uint32_t narrow = 0;
    std::string_view bytes;
    switch (wire) {
      case Wire::kVarint:
        return Varint(&number);
      case Wire::kFixed64:
        return Fixed(&number);
      case Wire::kBytes:
        return Bytes(&bytes);
      case Wire::kFixed32:
        return Fixed(&narrow);
    }
    return false;
  }

 private:
  std::string_view bytes_;
};

}  // namespace gnomon::feature::internal
