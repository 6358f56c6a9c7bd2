#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "expr/function_internal.h"
#include "expr/program_internal.h"

/// The promotions that happen by themselves: null to everything, integer to float, date to
/// timestamp, and a constant text that reads as a time to date or timestamp.
namespace gnomon::expr {

/// How far `node` is from `type`: 0 when it is of it, more for promotions, nothing when it cannot
/// become it.
std::optional<int> PromotionCost(const BoundNode& node, Type type);

/// The node as a value of `type`. REQUIRES: PromotionCost(*node, type).
BoundNodePtr Promote(BoundNodePtr node, Type type, std::string_view text);

/// The type that all nodes can become at the least cost; nothing when there is none. kNull when all
/// are null.
std::optional<Type> CommonType(std::span<const BoundNode* const> nodes);

/// The overload that the arguments can become at the least cost (the first among equals), or null.
const Overload* PickOverload(const Function& function, std::span<const BoundNodePtr> arguments);

/// The parameter's type that argument `index` of an overload has.
Type ParameterType(const Overload& overload, size_t index);

}  // namespace gnomon::expr
