#pragma once

#include <memory>
#include <string_view>

#include <arrow/type_fwd.h>

#include "expr/node_internal.h"
#include "expr/program_internal.h"

namespace gnomon::expr {

/// Types a tree against a schema: finds columns, picks overloads, inserts promotions, folds
/// constants. `functions` may be null.
Result<std::shared_ptr<const BoundExpression::Program>> BindTree(std::string_view text,
                                                                 const Expression::Node& root,
                                                                 const arrow::Schema& schema,
                                                                 const FunctionSet* functions);

}  // namespace gnomon::expr
