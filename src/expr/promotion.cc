#include <limits>
#include <utility>

#include "base/time.h"
#include "expr/promotion_internal.h"

namespace gnomon::expr {

namespace {

constexpr int kWidening = 1;
constexpr int kTextToDate = 1;
constexpr int kTextToTimestamp = 2;

// The instant that a constant text names.
std::optional<int64_t> ConstantInstant(const BoundNode& node) {
  const Vector* const constant = node.constant();
  if (constant == nullptr || !constant->IsValid(0)) return std::nullopt;
  const Result<int64_t> parsed = ParseTimestamp(constant->At<std::string_view>(0));
  return parsed.ok() ? std::optional(*parsed) : std::nullopt;
}

bool IsKnownNull(const BoundNode& node) {
  return node.type() == kNullType || (node.constant() != nullptr && !node.constant()->IsValid(0));
}

std::optional<int> TextCost(const BoundNode& node, Type type) {
  const std::optional<int64_t> instant = ConstantInstant(node);
  if (!instant) return std::nullopt;
  if (type == kTimestampType) return kTextToTimestamp;
  return *instant % kMicrosPerDay == 0 ? std::optional(kTextToDate) : std::nullopt;
}

}  // namespace

std::optional<int> PromotionCost(const BoundNode& node, Type type) {
  const Type from = node.type();
  if (from.kind == Kind::kOpaque) return std::nullopt;
  if (from == type || from == kNullType) return 0;
  if (from == kIntType && type == kFloatType) return kWidening;
  if (from == kDateType && type == kTimestampType) return kWidening;
  if (from == kTextType && (type == kTimestampType || type == kDateType))
    return TextCost(node, type);
  return std::nullopt;
}

BoundNodePtr Promote(BoundNodePtr node, Type type, std::string_view text) {
  const Type from = node->type();
  if (from == type) return node;
  const Span span = node->span();
  if (IsKnownNull(*node)) return MakeConstant(type, NullVector(type), text, span);
  if (from == kTextType) {
    const int64_t instant = *ConstantInstant(*node);
    return MakeConstant(type, ConstantVector(type == kDateType ? instant / kMicrosPerDay : instant),
                        text, span);
  }
  std::vector<BoundNodePtr> operand;
  operand.push_back(std::move(node));
  return MakeCall(CastKernel(from, {type}), false, std::move(operand), type, text, span);
}

std::optional<Type> CommonType(std::span<const BoundNode* const> nodes) {
  std::optional<Type> best;
  int best_cost = std::numeric_limits<int>::max();
  bool all_null = true;
  for (const BoundNode* const candidate : nodes) {
    const Type type = candidate->type();
    if (type == kNullType) continue;
    all_null = false;
    if (type == best) continue;
    int total = 0;
    bool possible = true;
    for (const BoundNode* const node : nodes) {
      const std::optional<int> cost = PromotionCost(*node, type);
      possible = possible && cost.has_value();
      total += cost.value_or(0);
      if (!possible) break;
    }
    if (possible && total < best_cost) {
      best = type;
      best_cost = total;
    }
  }
  return all_null ? std::optional(kNullType) : best;
}

Type ParameterType(const Overload& overload, size_t index) {
  return overload.parameters[std::min(index, overload.parameters.size() - 1)];
}

const Overload* PickOverload(const Function& function, std::span<const BoundNodePtr> arguments) {
  const Overload* best = nullptr;
  int best_cost = std::numeric_limits<int>::max();
  for (const Overload& overload : function.overloads) {
    const size_t wanted = overload.parameters.size();
    if (overload.variadic ? arguments.size() < wanted : arguments.size() != wanted) continue;
    int total = 0;
    bool possible = true;
    for (size_t i = 0; i < arguments.size() && possible; ++i) {
      const std::optional<int> cost = PromotionCost(*arguments[i], ParameterType(overload, i));
      possible = cost.has_value();
      total += cost.value_or(0);
    }
    if (possible && total < best_cost) {
      best = &overload;
      best_cost = total;
    }
  }
  return best;
}

}  // namespace gnomon::expr
