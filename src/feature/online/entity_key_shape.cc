#include <cstdint>
#include <cstring>

#include "feature/definition/types.h"
#include "feature/online/entity_key_shape_internal.h"

namespace gnomon::feature::internal {
namespace {

uint32_t LoadU32(std::string_view bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

/// Is it (type, length, bytes) once or more?
bool AreKeyValues(std::string_view bytes) {
  if (bytes.empty()) return false;
  while (!bytes.empty()) {
    if (bytes.size() < 8) return false;
    const uint32_t type = LoadU32(bytes);
    const size_t length = LoadU32(bytes.substr(4));
    if (type == 0 || type > ValueType::kUnixTimestamp || length > bytes.size() - 8) return false;
    bytes.remove_prefix(8 + length);
  }
  return true;
}

}  // namespace

bool IsEntityKey(std::string_view key) {
  if (key.size() >= 12 && LoadU32(key) < 1000) {  // version 3
    std::string_view rest = key.substr(4);
    uint32_t names = LoadU32(key);
    while (names > 0 && rest.size() >= 8 && LoadU32(rest) == ValueType::kString &&
           LoadU32(rest.substr(4)) <= rest.size() - 8) {
      rest.remove_prefix(8 + size_t{LoadU32(rest.substr(4))});
      --names;
    }
    if (names == 0 && AreKeyValues(rest)) return true;
  }
  // Names of version 2 have no length: the values begin somewhere.
  for (size_t at = 5; at + 8 <= key.size(); ++at) {
    if (AreKeyValues(key.substr(at))) return true;
  }
  return false;
}

}  // namespace gnomon::feature::internal
