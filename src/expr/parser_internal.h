#pragma once

#include <memory>
#include <string_view>

#include "base/error.h"
#include "expr/node_internal.h"

namespace gnomon::expr {

inline constexpr size_t kMaxTextBytes = 64 * 1024;

/// Reads one expression, a Pratt parser. Binding powers, weakest first: or; and; not; comparisons,
/// is, in, between, like (which do not chain); + -; * / // %; unary -; [].
Result<std::shared_ptr<const Expression::Node>> ParseTree(std::string_view text);

}  // namespace gnomon::expr
