#pragma once

#include <string_view>

namespace gnomon::feature::internal {

/// Whether these bytes have the shape of an entity key, of version 2 or 3: join keys, then a value
/// for each, and nothing after them. In Redis the project's name follows a key, and keys of project
/// "xp" end with "p", too.
bool IsEntityKey(std::string_view bytes);

}  // namespace gnomon::feature::internal
