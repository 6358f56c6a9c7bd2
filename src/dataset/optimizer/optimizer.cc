#include "dataset/optimizer/optimizer.h"

#include "dataset/optimizer/rule_internal.h"

namespace gnomon::dataset {

namespace internal {

Result<Plan> WithInputs(const Plan& node, std::vector<Plan> inputs) {
  if (inputs == node->inputs()) return node;
  return MakeNode(node->spec(), std::move(inputs));
}

}  // namespace internal

Result<OptimizedPlan> Optimize(const Plan& plan) {
  OptimizedPlan optimized{plan};
  for (const auto rule : {internal::PushDownPredicates, internal::PrunePartitions,
                          internal::PushDownLimits, internal::PushDownProjections}) {
    GNOMON_ASSIGN_OR_RETURN(optimized.plan, rule(optimized.plan, &optimized.notes));
  }
  return optimized;
}

}  // namespace gnomon::dataset
