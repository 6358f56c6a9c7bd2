#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "expr/expression.h"

namespace gnomon::expr {

/// Byte offsets into the expression's text.
struct Span {
  int begin = 0;
  int end = 0;
};

struct TimestampLiteral {
  int64_t micros = 0;
};
struct DateLiteral {
  int64_t days = 0;
};
struct DurationLiteral {
  int64_t micros = 0;
};

/// monostate is null.
using Literal = std::variant<std::monostate, bool, int64_t, double, std::string, TimestampLiteral,
                             DateLiteral, DurationLiteral>;

/// The untyped tree. Trees are at most kMaxDepth deep, so recursion over them is safe.
struct Expression::Node {
  static constexpr int kMaxDepth = 200;

  enum class Shape {
    kLiteral,
    kColumn,
    kCall,    ///< name(children...); operators are calls named by their sign
    kAnd,     ///< two or more children
    kOr,      ///< two or more children
    kIsNull,  ///< one child
    kIn,      ///< the value, then one or more candidates
    kCase,    ///< [operand], then pairs of when and then, then [else]
    kCast,    ///< one child, the type in name
  };
  using Children = std::vector<std::shared_ptr<const Node>>;

  Shape shape = Shape::kLiteral;
  Span span;
  int at = 0;  ///< where errors point: the sign of an operator, the name of a function
  int depth = 1;
  Literal literal;
  std::string name;
  Children children;
  bool negated = false;      ///< kIsNull: is not null
  bool has_operand = false;  ///< kCase
  bool has_else = false;     ///< kCase
};

}  // namespace gnomon::expr
