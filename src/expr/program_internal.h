#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expr/evaluation_internal.h"

namespace gnomon::expr {

/// A typed node of a program. Immutable; Evaluate may run on many threads at once.
class BoundNode {
 public:
  BoundNode(Type type, std::string_view text, Span span) : type_(type), text_(text), span_(span) {}
  BoundNode(const BoundNode&) = delete;
  BoundNode& operator=(const BoundNode&) = delete;
  virtual ~BoundNode() = default;

  Type type() const { return type_; }
  Span span() const { return span_; }

  /// The values for the wanted rows. REQUIRES: at least one row is wanted.
  virtual Result<Vector> Evaluate(Evaluation& evaluation, Rows rows) const = 0;

  /// The value when it is known before any row is seen, else null.
  virtual const Vector* constant() const { return nullptr; }

  /// An error in a row: "what: this expression's text".
  Status Fail(int64_t row, std::string_view what, ErrorKind kind = ErrorKind::kUser) const;

 private:
  const Type type_;
  const std::string_view text_;  // of the whole expression; the program keeps it alive
  const Span span_;
};

using BoundNodePtr = std::unique_ptr<const BoundNode>;

/// What a kernel knows beside its arguments.
struct Call {
  const BoundNode& node;
  Evaluation& evaluation;
  Rows rows;              ///< one row when all arguments are constant
  const uint8_t* valid;   ///< a byte per row: all arguments are valid there; null: everywhere
  int64_t first_row = 0;  ///< added to a row in errors

  /// Is the value of the row wanted, and are the arguments not null?
  bool IsLive(int64_t row) const {
    return rows.IsActive(row) && (valid == nullptr || valid[row] != 0);
  }
  Status Fail(int64_t row, std::string_view what) const { return node.Fail(first_row + row, what); }
};

/// Computes `out->values` of call.rows.count values, all initialised. `out` comes with the
/// arguments' joint validity, which a kernel may replace. A failure counts only in a live row.
using Kernel = Status (*)(const Call& call, std::span<const Vector> arguments, Vector* out);

struct BoundExpression::Program {
  std::string text;
  std::vector<InputColumn> inputs;
  BoundNodePtr root;
  std::shared_ptr<arrow::DataType> type;
  int bare_column = -1;  ///< the input that the whole expression is, passed through without reading
};

BoundNodePtr MakeConstant(Type type, Vector value, std::string_view text, Span span);
BoundNodePtr MakeColumn(size_t input, Type type, std::string_view text, Span span);
BoundNodePtr MakeCall(Kernel kernel, bool nulls_pass, std::vector<BoundNodePtr> arguments,
                      Type type, std::string_view text, Span span);

/// A constant node of the node's value, when all of `node` is constant and no error arises; else
/// the node itself.
BoundNodePtr Fold(BoundNodePtr node, bool all_constant, std::string_view text);

}  // namespace gnomon::expr
