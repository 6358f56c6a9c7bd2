#pragma once

#include <map>
#include <memory>
#include <string>

#include "dataset/function_registry.h"
#include "expr/function_set.h"

namespace gnomon::dataset {

/// Functions of a set (a plug-in's, for example) for map_batches, by name: PlanExtensions'
/// batch_functions. `parameters` of a call are the function's arguments as in an expression
/// ("seconds, mean, 2.0"), the types of which decide between overloads. The result is the input and
/// a column with the name of the function, in the place of one that has this name already or at the
/// end. All are row-wise. `functions` may be null: none.
std::map<std::string, std::shared_ptr<const BatchFunction>> BatchFunctionsOf(
    const std::shared_ptr<const expr::FunctionSet>& functions);

}  // namespace gnomon::dataset
