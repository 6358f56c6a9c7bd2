#include <algorithm>
#include <cstring>
#include <utility>

#include "expr/conditional_internal.h"

namespace gnomon::expr {

namespace {

bool IsConstant(const BoundNodePtr& node) { return node == nullptr || node->constant() != nullptr; }

// The rows that still wait for a decision.
class Pending {
 public:
  explicit Pending(Rows rows) : count_(rows.count), mask_(NewValues<uint8_t>(rows.count)) {
    if (rows.active == nullptr) {
      std::memset(mask_.get(), 1, static_cast<size_t>(count_));
    } else {
      std::memcpy(mask_.get(), rows.active, static_cast<size_t>(count_));
    }
  }

  uint8_t* mask() { return mask_.get(); }
  Rows rows() const { return {count_, mask_.get()}; }
  bool empty() const { return rows().First() < 0; }

 private:
  const int64_t count_;
  const std::shared_ptr<uint8_t[]> mask_;
};

// Rows of several vectors put together.
class Assembly {
 public:
  Assembly(Type type, int64_t count)
      : kind_(type.kind), count_(count), validity_(NewZeros<uint8_t>(count)) {
    values_ = WithValueType(
        kind_, [&](auto zero) -> std::shared_ptr<void> { return NewZeros<decltype(zero)>(count); });
  }

  // Copies the rows with `mask`.
  void Copy(const Vector& from, const uint8_t* mask) {
    WithValueType(kind_, [&](auto zero) {
      using T = decltype(zero);
      T* const values = static_cast<T*>(values_.get());
      for (int64_t i = 0; i < count_; ++i) {
        if (mask[i] == 0) continue;
        values[i] = from.At<T>(i);
        validity_[i] = from.IsValid(i) ? 1 : 0;
      }
    });
  }

  Vector Finish() && {
    return {.constant = false, .validity = std::move(validity_), .values = std::move(values_)};
  }

 private:
  const Kind kind_;
  const int64_t count_;
  std::shared_ptr<uint8_t[]> validity_;
  std::shared_ptr<void> values_;
};

// and, or: `decisive` is the value of a part that decides the row.
class LogicNode final : public BoundNode {
 public:
  LogicNode(uint8_t decisive, std::vector<BoundNodePtr> parts, std::string_view text, Span span)
      : BoundNode(kBoolType, text, span), decisive_(decisive), parts_(std::move(parts)) {}

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    auto values = NewValues<uint8_t>(rows.count);
    auto validity = NewValues<uint8_t>(rows.count);
    const auto bytes = static_cast<size_t>(rows.count);
    std::memset(values.get(), decisive_ ^ 1, bytes);
    std::memset(validity.get(), 1, bytes);
    Pending pending(rows);
    for (const BoundNodePtr& part : parts_) {
      if (pending.empty()) break;
      GNOMON_ASSIGN_OR_RETURN(const Vector vector, part->Evaluate(evaluation, pending.rows()));
      Combine(vector, rows.count, values.get(), validity.get(), pending.mask());
    }
    return Vector{.constant = false, .validity = std::move(validity), .values = std::move(values)};
  }

 private:
  void Combine(const Vector& part, int64_t count, uint8_t* values, uint8_t* validity,
               uint8_t* pending) const {
    for (int64_t i = 0; i < count; ++i) {
      const auto valid = static_cast<uint8_t>(part.IsValid(i) ? 1 : 0);
      const auto decides = static_cast<uint8_t>(part.At<uint8_t>(i) == decisive_ ? 1 : 0);
      const auto hit = static_cast<uint8_t>(pending[i] & valid & decides);
      const auto unknown = static_cast<uint8_t>(pending[i] & (valid ^ 1));
      values[i] = hit != 0 ? decisive_ : values[i];
      validity[i] = static_cast<uint8_t>((validity[i] & (unknown ^ 1)) | hit);
      pending[i] = static_cast<uint8_t>(pending[i] & (hit ^ 1));
    }
  }

  const uint8_t decisive_;
  const std::vector<BoundNodePtr> parts_;
};

BoundNodePtr MakeLogic(uint8_t decisive, std::vector<BoundNodePtr> parts, std::string_view text,
                       Span span) {
  const bool constant = std::ranges::all_of(parts, IsConstant);
  return Fold(std::make_unique<LogicNode>(decisive, std::move(parts), text, span), constant, text);
}

class IsNullNode final : public BoundNode {
 public:
  IsNullNode(BoundNodePtr value, bool negated, std::string_view text, Span span)
      : BoundNode(kBoolType, text, span), value_(std::move(value)), negated_(negated) {}

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    GNOMON_ASSIGN_OR_RETURN(const Vector value, value_->Evaluate(evaluation, rows));
    if (value.constant || value.validity == nullptr) {
      return ConstantVector<uint8_t>(value.IsValid(0) == negated_ ? 1 : 0);
    }
    auto values = NewValues<uint8_t>(rows.count);
    const auto flip = static_cast<uint8_t>(negated_ ? 0 : 1);
    for (int64_t i = 0; i < rows.count; ++i) {
      values[i] = static_cast<uint8_t>(value.validity[i] ^ flip);
    }
    return Vector{.constant = false, .validity = nullptr, .values = std::move(values)};
  }

 private:
  const BoundNodePtr value_;
  const bool negated_;
};

class CoalesceNode final : public BoundNode {
 public:
  CoalesceNode(std::vector<BoundNodePtr> parts, Type type, std::string_view text, Span span)
      : BoundNode(type, text, span), parts_(std::move(parts)) {}

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    GNOMON_ASSIGN_OR_RETURN(Vector first, parts_[0]->Evaluate(evaluation, rows));
    if (first.validity == nullptr) return first;
    Pending pending(rows);
    Assembly assembly(type(), rows.count);
    assembly.Copy(first, pending.mask());
    RemoveValid(first, rows.count, pending.mask());
    for (size_t i = 1; i < parts_.size() && !pending.empty(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(const Vector part, parts_[i]->Evaluate(evaluation, pending.rows()));
      assembly.Copy(part, pending.mask());
      RemoveValid(part, rows.count, pending.mask());
    }
    return std::move(assembly).Finish();
  }

 private:
  static void RemoveValid(const Vector& part, int64_t count, uint8_t* pending) {
    for (int64_t i = 0; i < count; ++i) {
      pending[i] = static_cast<uint8_t>(pending[i] & (part.IsValid(i) ? 0 : 1));
    }
  }

  const std::vector<BoundNodePtr> parts_;
};

class CaseNode final : public BoundNode {
 public:
  CaseNode(BoundNodePtr operand, std::vector<CaseBranch> branches, BoundNodePtr otherwise,
           Type type, std::string_view text, Span span)
      : BoundNode(type, text, span),
        operand_(std::move(operand)),
        branches_(std::move(branches)),
        otherwise_(std::move(otherwise)) {}

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    Vector operand;
    if (operand_ != nullptr) {
      GNOMON_ASSIGN_OR_RETURN(operand, operand_->Evaluate(evaluation, rows));
    }
    Pending pending(rows);
    Assembly assembly(type(), rows.count);
    const auto chosen = NewValues<uint8_t>(rows.count);
    for (const CaseBranch& branch : branches_) {
      if (pending.empty()) break;
      GNOMON_ASSIGN_OR_RETURN(const Vector when, branch.when->Evaluate(evaluation, pending.rows()));
      Choose(operand, when, rows.count, pending.mask(), chosen.get());
      const Rows chosen_rows{rows.count, chosen.get()};
      if (chosen_rows.First() < 0) continue;
      GNOMON_ASSIGN_OR_RETURN(const Vector then, branch.then->Evaluate(evaluation, chosen_rows));
      assembly.Copy(then, chosen.get());
    }
    if (otherwise_ != nullptr && !pending.empty()) {
      GNOMON_ASSIGN_OR_RETURN(const Vector otherwise,
                              otherwise_->Evaluate(evaluation, pending.rows()));
      assembly.Copy(otherwise, pending.mask());
    }
    return std::move(assembly).Finish();
  }

 private:
  // Moves the pending rows for which the branch holds to `chosen`.
  void Choose(const Vector& operand, const Vector& when, int64_t count, uint8_t* pending,
              uint8_t* chosen) const {
    const auto move = [&](auto holds) {
      for (int64_t i = 0; i < count; ++i) {
        chosen[i] = static_cast<uint8_t>(pending[i] != 0 && when.IsValid(i) && holds(i) ? 1 : 0);
        pending[i] = static_cast<uint8_t>(pending[i] ^ chosen[i]);
      }
    };
    if (operand_ == nullptr) return move([&](int64_t i) { return when.At<uint8_t>(i) != 0; });
    WithValueType(operand_->type().kind, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (!std::is_same_v<T, ListSlice>) {
        move([&](int64_t i) { return operand.IsValid(i) && operand.At<T>(i) == when.At<T>(i); });
      }
    });
  }

  const BoundNodePtr operand_;
  const std::vector<CaseBranch> branches_;
  const BoundNodePtr otherwise_;
};

}  // namespace

BoundNodePtr MakeAnd(std::vector<BoundNodePtr> parts, std::string_view text, Span span) {
  return MakeLogic(0, std::move(parts), text, span);
}

BoundNodePtr MakeOr(std::vector<BoundNodePtr> parts, std::string_view text, Span span) {
  return MakeLogic(1, std::move(parts), text, span);
}

BoundNodePtr MakeIsNull(BoundNodePtr value, bool negated, std::string_view text, Span span) {
  const bool constant = IsConstant(value);
  return Fold(std::make_unique<IsNullNode>(std::move(value), negated, text, span), constant, text);
}

BoundNodePtr MakeCoalesce(std::vector<BoundNodePtr> parts, Type type, std::string_view text,
                          Span span) {
  const bool constant = std::ranges::all_of(parts, IsConstant);
  return Fold(std::make_unique<CoalesceNode>(std::move(parts), type, text, span), constant, text);
}

BoundNodePtr MakeCase(BoundNodePtr operand, std::vector<CaseBranch> branches,
                      BoundNodePtr otherwise, Type type, std::string_view text, Span span) {
  const bool constant = IsConstant(operand) && IsConstant(otherwise) &&
                        std::ranges::all_of(branches, [](const CaseBranch& branch) {
                          return IsConstant(branch.when) && IsConstant(branch.then);
                        });
  return Fold(std::make_unique<CaseNode>(std::move(operand), std::move(branches),
                                         std::move(otherwise), type, text, span),
              constant, text);
}

}  // namespace gnomon::expr
