#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "expr/diagnostic_internal.h"
#include "expr/program_internal.h"

namespace gnomon::expr {

namespace {

class ConstantNode final : public BoundNode {
 public:
  ConstantNode(Type type, Vector value, std::string_view text, Span span)
      : BoundNode(type, text, span), value_(std::move(value)) {
    // A text outlives the evaluation that made it.
    if (type.kind == Kind::kText && value_.IsValid(0)) {
      text_ = value_.At<std::string_view>(0);
      value_.values = ConstantVector(std::string_view(text_)).values;
    }
  }

  Result<Vector> Evaluate(Evaluation& /*evaluation*/, Rows /*rows*/) const override {
    return value_;
  }
  const Vector* constant() const override { return &value_; }

 private:
  std::string text_;
  Vector value_;
};

class ColumnNode final : public BoundNode {
 public:
  ColumnNode(size_t input, Type type, std::string_view text, Span span)
      : BoundNode(type, text, span), input_(input) {}

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    GNOMON_ASSIGN_OR_RETURN(const LoadedColumn* const column, evaluation.Column(input_));
    for (const int64_t row : column->bad_rows) {
      if (rows.IsActive(row)) return Fail(row, column->problem);
    }
    return column->vector;
  }

 private:
  const size_t input_;
};

// Is there a constant null among the arguments?
bool HasConstantNull(std::span<const Vector> arguments) {
  return std::ranges::any_of(arguments,
                             [](const Vector& v) { return v.constant && !v.IsValid(0); });
}

std::shared_ptr<const uint8_t[]> JointValidity(std::span<const Vector> arguments, int64_t count) {
  std::shared_ptr<const uint8_t[]> joint;
  for (const Vector& argument : arguments) {
    if (argument.constant || argument.validity == nullptr) continue;
    if (joint == nullptr) {
      joint = argument.validity;
      continue;
    }
    auto both = NewValues<uint8_t>(count);
    for (int64_t i = 0; i < count; ++i) both[i] = joint[i] & argument.validity[i];
    joint = std::move(both);
  }
  return joint;
}

class CallNode final : public BoundNode {
 public:
  CallNode(Kernel kernel, bool nulls_pass, std::vector<BoundNodePtr> arguments, Type type,
           std::string_view text, Span span)
      : BoundNode(type, text, span),
        kernel_(kernel),
        nulls_pass_(nulls_pass),
        arguments_(std::move(arguments)) {}

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    if (arguments_.size() <= kFew) {
      std::array<Vector, kFew> arguments;
      return Apply(evaluation, rows, std::span(arguments).first(arguments_.size()));
    }
    std::vector<Vector> arguments(arguments_.size());
    return Apply(evaluation, rows, arguments);
  }

 private:
  static constexpr size_t kFew = 3;

  Result<Vector> Apply(Evaluation& evaluation, Rows rows, std::span<Vector> arguments) const {
    bool all_constant = true;
    for (size_t i = 0; i < arguments.size(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(arguments[i], arguments_[i]->Evaluate(evaluation, rows));
      all_constant = all_constant && arguments[i].constant;
    }
    if (!nulls_pass_ && HasConstantNull(arguments)) return NullVector(type());
    Vector out;
    Call call{*this, evaluation, rows, nullptr};
    if (all_constant) {
      out.constant = true;
      call.first_row = rows.First();
      call.rows = {1, nullptr};
    } else if (!nulls_pass_) {
      out.validity = JointValidity(arguments, rows.count);
      call.valid = out.validity.get();
    }
    const std::shared_ptr<const uint8_t[]> keep_valid = out.validity;
    GNOMON_RETURN_NOT_OK(kernel_(call, arguments, &out));
    return out;
  }

  const Kernel kernel_;
  const bool nulls_pass_;
  const std::vector<BoundNodePtr> arguments_;
};

}  // namespace

Status BoundNode::Fail(int64_t row, std::string_view what, ErrorKind kind) const {
  Location location;
  location.row = row;
  return MakeError(kind, Concat(what, ": ", Excerpt(text_, span_.begin, span_.end)),
                   std::move(location));
}

BoundNodePtr MakeConstant(Type type, Vector value, std::string_view text, Span span) {
  return std::make_unique<ConstantNode>(type, std::move(value), text, span);
}

BoundNodePtr MakeColumn(size_t input, Type type, std::string_view text, Span span) {
  return std::make_unique<ColumnNode>(input, type, text, span);
}

BoundNodePtr MakeCall(Kernel kernel, bool nulls_pass, std::vector<BoundNodePtr> arguments,
                      Type type, std::string_view text, Span span) {
  const bool all_constant = std::ranges::all_of(
      arguments, [](const BoundNodePtr& a) { return a->constant() != nullptr; });
  return Fold(
      std::make_unique<CallNode>(kernel, nulls_pass, std::move(arguments), type, text, span),
      all_constant, text);
}

BoundNodePtr Fold(BoundNodePtr node, bool all_constant, std::string_view text) {
  if (!all_constant || node->type().kind == Kind::kList) return node;
  const std::vector<InputColumn> no_inputs;
  Evaluation evaluation(no_inputs, nullptr);
  Result<Vector> value = node->Evaluate(evaluation, {.count = 1});
  // An error stays for the rows that need the value: there may be none.
  if (!value.ok()) return node;
  value->constant = true;
  return MakeConstant(node->type(), *std::move(value), text, node->span());
}

}  // namespace gnomon::expr
