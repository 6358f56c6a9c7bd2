#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"

/// The one small language of filters and derived columns: in YAML, on the command line, offline,
/// online and inside a model's preprocessing. Text -> Parse -> Expression (a tree) -> Bind to a
/// schema -> BoundExpression (typed) -> Evaluate on record batches.
///
///   avg_daily_trips / 24            weekly_sales > 0 and dept != 3       coalesce(a, 0)
///   case when x > 1 then 'high' else 'low' end                           recent_sales[0]
///   name like 'A%' or code in (1, 2, 3)                                  cast(dept as string)
///
/// Semantics: three-valued logic; `/` is float64 (x/0 is +-inf or nan, as IEEE); `//` and `%` on
/// integers round towards minus infinity and fail on zero with the row; integer overflow and a
/// failed cast are errors that name the row; comparisons of a float NaN follow IEEE; int and float
/// mix to float64; timestamps are UTC; `list[i]` counts from 0 and is null past the end. `"quoted
/// names"` for columns with odd characters, 'text' for strings.
namespace gnomon::expr {

class BoundExpression;
class FunctionSet;

/// A parsed, untyped tree. Immutable, cheap to copy.
class Expression {
 public:
  /// Errors are kUser; the message holds the text with a caret line under the column,
  /// Location.column is set. Depth is limited to 200 and the text to 64 KiB.
  static Result<Expression> Parse(std::string_view text);

  /// Names of the columns that are read, sorted, each once.
  std::vector<std::string> columns() const;
  /// Names of the functions (and signs of the operators) that are called, sorted, each once.
  std::vector<std::string> functions() const;
  const std::string& text() const;

  /// Types the tree. An unknown column (with the nearest), wrong argument types and so on are kUser
  /// and point at the column of the text. `functions` are known beside the language's own; the
  /// program keeps those that it calls.
  Result<BoundExpression> Bind(const arrow::Schema& schema,
                               const FunctionSet* functions = nullptr) const;

  /// The tree, for this module's own look at it (node_internal.h).
  struct Node;
  const Node& root() const { return *root_; }

 private:
  Expression(std::string text, std::shared_ptr<const Node> root);
  std::string text_;
  std::shared_ptr<const Node> root_;
  friend class BoundExpression;
};

/// A typed program over batches of one schema. Immutable, thread-safe.
class BoundExpression {
 public:
  const std::shared_ptr<arrow::DataType>& type() const;

  /// One value per row of the batch. Columns are found by name; the batch's column types are those
  /// of the schema that was bound.
  Result<std::shared_ptr<arrow::Array>> Evaluate(const arrow::RecordBatch& batch) const;

  /// For a boolean expression: the rows for which it is true (null counts as false), in order.
  Result<std::vector<int64_t>> Select(const arrow::RecordBatch& batch) const;

  struct Program;
  explicit BoundExpression(std::shared_ptr<const Program> program);

 private:
  std::shared_ptr<const Program> program_;
};

/// A reference page in Markdown of all functions and operators, generated from the function table.
std::string FunctionReference();

}  // namespace gnomon::expr
