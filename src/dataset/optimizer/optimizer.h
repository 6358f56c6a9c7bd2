#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "dataset/plan.h"

namespace gnomon::dataset {

/// A plan with the same result and what was done to it, one line a change.
struct OptimizedPlan {
  Plan plan;
  std::vector<std::string> notes = {};
};

/// Applies the rules (one file each) in their order. Never changes a result: a predicate that could
/// fail is not moved to where it would see other rows.
Result<OptimizedPlan> Optimize(const Plan& plan);

}  // namespace gnomon::dataset
