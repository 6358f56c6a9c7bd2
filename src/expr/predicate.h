#pragma once

#include <map>
#include <string>
#include <vector>

#include "expr/expression.h"

/// What an optimiser may know about a predicate from its tree.
namespace gnomon::expr {

/// The parts of the `and`s at the top, in order: rows for which the predicate is true are those for
/// which every part is true.
std::vector<Expression> Conjuncts(const Expression& predicate);

/// Can the expression be evaluated on any row without an error? False when in doubt: only columns,
/// constants, comparisons, `like`, `in`, `between`, `is null`, `and`, `or` and `not` count.
/// (Columns that do not fit the language's types when they are read, as uint64 above int64, are the
/// caller's to look at.)
bool NeverFails(const Expression& expression);

/// `comparison` is `column op constant` with op one of < <= > >=: true for all values on one side
/// of a point, above or below it. So it is false between two values for which it is false. One or
/// several of the same side with `or` between them are a bound, too.
struct Bound {
  std::string column;
  Expression comparison;
  bool is_upper = false;      ///< < or <=
  std::string constant = {};  ///< empty for several
};

/// Bounds that hold wherever the predicate is true; none when its parts have another form.
std::vector<Bound> BoundsOf(const Expression& predicate);

/// The expression over other names; columns that are not in `names` stay.
Result<Expression> RenameColumns(const Expression& expression,
                                 const std::map<std::string, std::string>& names);

}  // namespace gnomon::expr
