#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/type.h>

#include "base/text.h"
#include "expr/evaluation_internal.h"
#include "expr/function_set_internal.h"

namespace gnomon::expr {

namespace {

using Indices = std::vector<int64_t>;

/// The values at `rows`, one after the other.
Vector Compact(const Vector& vector, Kind kind, const Indices& rows) {
  if (vector.constant) return vector;
  const auto count = static_cast<int64_t>(rows.size());
  Vector out;
  if (vector.validity != nullptr) {
    auto validity = NewValues<uint8_t>(count);
    for (int64_t i = 0; i < count; ++i) {
      validity[i] = vector.validity[rows[static_cast<size_t>(i)]];
    }
    out.validity = std::move(validity);
  }
  out.values = WithValueType(kind, [&](auto zero) -> std::shared_ptr<const void> {
    using T = decltype(zero);
    auto values = NewValues<T>(count);
    for (int64_t i = 0; i < count; ++i) values[i] = vector.At<T>(rows[static_cast<size_t>(i)]);
    return values;
  });
  return out;
}

/// Puts the values back at `rows` of `count`; null elsewhere.
Vector Spread(const Vector& vector, Kind kind, const Indices& rows, int64_t count) {
  Vector out;
  auto validity = NewZeros<uint8_t>(count);
  for (size_t i = 0; i < rows.size(); ++i) {
    validity[rows[i]] = vector.IsValid(static_cast<int64_t>(i)) ? 1 : 0;
  }
  out.validity = std::move(validity);
  out.values = WithValueType(kind, [&](auto zero) -> std::shared_ptr<const void> {
    using T = decltype(zero);
    auto values = NewZeros<T>(count);
    for (size_t i = 0; i < rows.size(); ++i) {
      values[rows[i]] = vector.At<T>(static_cast<int64_t>(i));
    }
    return values;
  });
  return out;
}

class CustomCallNode final : public BoundNode {
 public:
  CustomCallNode(std::shared_ptr<const CustomFunction> code, std::vector<BoundNodePtr> arguments,
                 Type type, std::string_view text, Span span)
      : BoundNode(type, text, span), code_(std::move(code)), arguments_(std::move(arguments)) {}

  Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const override {
    std::vector<Vector> arguments;
    for (const BoundNodePtr& argument : arguments_) {
      GNOMON_ASSIGN_OR_RETURN(arguments.emplace_back(), argument->Evaluate(evaluation, rows));
    }
    const bool all_constant = std::ranges::all_of(arguments, &Vector::constant);
    const int64_t first_row = all_constant ? rows.First() : 0;
    if (all_constant) rows = {1, nullptr};
    const Indices live = LiveRows(arguments, rows);
    if (live.empty()) return NullVector(type());
    const bool dense = static_cast<int64_t>(live.size()) == rows.count;
    if (!dense) {
      for (size_t i = 0; i < arguments.size(); ++i) {
        arguments[i] = Compact(arguments[i], arguments_[i]->type().kind, live);
      }
    }
    auto result = Call(evaluation, arguments, static_cast<int64_t>(live.size()));
    if (!result.ok()) return Blame(result.status(), live, first_row);
    result->constant = all_constant;
    return dense ? *std::move(result) : Spread(*result, type().kind, live, rows.count);
  }

 private:
  /// The rows that are wanted and, unless the function sees nulls, have no null argument.
  Indices LiveRows(std::span<const Vector> arguments, Rows rows) const {
    Indices live;
    for (int64_t i = 0; i < rows.count; ++i) {
      if (!rows.IsActive(i)) continue;
      const bool has_null = !code_->sees_nulls() && std::ranges::any_of(arguments, [&](auto& each) {
        return !each.IsValid(i);
      });
      if (!has_null) live.push_back(i);
    }
    return live;
  }

  Result<Vector> Call(Evaluation& evaluation, std::span<const Vector> arguments,
                      int64_t num_rows) const {
    arrow::ArrayVector arrays;
    for (size_t i = 0; i < arguments.size(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(arrays.emplace_back(), WriteArray(arguments[i], arguments_[i]->type(),
                                                                num_rows, code_->parameters()[i]));
    }
    GNOMON_ASSIGN_OR_RETURN(const auto array, code_->Evaluate(arrays, num_rows));
    if (array->length() != num_rows || !array->type()->Equals(*code_->result())) {
      return Error(ErrorKind::kInternal, "function ", code_->name(), " gave ", array->length(),
                   " values of type ", array->type()->ToString(), " for ", num_rows, " rows");
    }
    LoadedColumn column;
    GNOMON_RETURN_NOT_OK(ReadArray(array->data(), type(), &evaluation, &column));
    Vector owner;
    owner.values = array;  // texts borrow from it
    evaluation.Keep(std::move(owner));
    return std::move(column.vector);
  }

  /// The error with the part of the text at fault and, when the function knows it, the row.
  Status Blame(const Status& status, const Indices& live, int64_t first_row) const {
    const auto row = static_cast<size_t>(LocationOf(status).row);
    const int64_t place = row < live.size() ? first_row + live[row] : -1;
    return Fail(place, status.message(), KindOf(status));
  }

  const std::shared_ptr<const CustomFunction> code_;
  const std::vector<BoundNodePtr> arguments_;
};

}  // namespace

BoundNodePtr MakeCustomCall(std::shared_ptr<const CustomFunction> code,
                            std::vector<BoundNodePtr> arguments, Type type, std::string_view text,
                            Span span) {
  const bool all_constant = std::ranges::all_of(
      arguments, [](const BoundNodePtr& a) { return a->constant() != nullptr; });
  return Fold(
      std::make_unique<CustomCallNode>(std::move(code), std::move(arguments), type, text, span),
      all_constant, text);
}

}  // namespace gnomon::expr
