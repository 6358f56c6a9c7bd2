#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#include "expr/conditional_internal.h"

namespace gnomon::expr {

namespace {

// value in (candidates...), for values of C++ type T.
template <typename T>
class InNode final : public BoundNode {
 public:
  InNode(BoundNodePtr value, std::vector<BoundNodePtr> candidates, std::string_view text, Span span)
      : BoundNode(kBoolType, text, span), value_(std::move(value)) {
    for (BoundNodePtr& candidate : candidates) {
      const Vector* const constant = candidate->constant();
      if (constant == nullptr) {
        computed_.push_back(std::move(candidate));
        continue;
      }
      if (!constant->IsValid(0)) {
        has_null_ = true;
      } else if (constant->At<T>(0) == constant->At<T>(0)) {  // NaN equals nothing
        sorted_.push_back(constant->At<T>(0));
      }
      constants_.push_back(std::move(candidate));
    }
    std::ranges::sort(sorted_);
  }

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    GNOMON_ASSIGN_OR_RETURN(const Vector value, value_->Evaluate(evaluation, rows));
    auto found = NewZeros<uint8_t>(rows.count);
    auto unknown = NewZeros<uint8_t>(rows.count);
    auto pending = NewZeros<uint8_t>(rows.count);
    for (int64_t i = 0; i < rows.count; ++i) {
      const bool valid = value.IsValid(i);
      found[i] = valid && Contains(value.At<T>(i)) ? 1 : 0;
      unknown[i] = !valid || has_null_ ? 1 : 0;
      pending[i] = rows.IsActive(i) && valid && found[i] == 0 ? 1 : 0;
    }
    for (const BoundNodePtr& candidate : computed_) {
      const Rows rest{rows.count, pending.get()};
      if (rest.First() < 0) break;
      GNOMON_ASSIGN_OR_RETURN(const Vector other, candidate->Evaluate(evaluation, rest));
      for (int64_t i = 0; i < rows.count; ++i) {
        if (pending[i] == 0) continue;
        const bool valid = other.IsValid(i);
        if (!valid) unknown[i] = 1;
        if (valid && value.At<T>(i) == other.At<T>(i)) {
          found[i] = 1;
          pending[i] = 0;
        }
      }
    }
    for (int64_t i = 0; i < rows.count; ++i) {
      unknown[i] = static_cast<uint8_t>(found[i] | (unknown[i] ^ 1));  // now the validity
    }
    return Vector{.constant = false, .validity = std::move(unknown), .values = std::move(found)};
  }

 private:
  bool Contains(const T& value) const {
    constexpr size_t kFew = 8;
    if (sorted_.size() <= kFew) return std::ranges::find(sorted_, value) != sorted_.end();
    return value == value && std::ranges::binary_search(sorted_, value);
  }

  const BoundNodePtr value_;
  std::vector<BoundNodePtr> constants_;  // own the texts in sorted_
  std::vector<BoundNodePtr> computed_;
  std::vector<T> sorted_;
  bool has_null_ = false;
};

}  // namespace

BoundNodePtr MakeIn(BoundNodePtr value, std::vector<BoundNodePtr> candidates, std::string_view text,
                    Span span) {
  const auto is_constant = [](const BoundNodePtr& node) { return node->constant() != nullptr; };
  const bool constant = is_constant(value) && std::ranges::all_of(candidates, is_constant);
  return WithValueType(value->type().kind, [&](auto zero) -> BoundNodePtr {
    using T = decltype(zero);
    if constexpr (std::is_same_v<T, ListSlice>) {
      GNOMON_CHECK(false, "lists are not compared");
    } else {
      return Fold(std::make_unique<InNode<T>>(std::move(value), std::move(candidates), text, span),
                  constant, text);
    }
  });
}

}  // namespace gnomon::expr
