#include <algorithm>

#include "base/text.h"
#include "dataset/optimizer/rule_internal.h"
#include "dataset/plan_internal.h"

namespace gnomon::dataset::internal {

namespace {

std::optional<int64_t> Smaller(const std::optional<int64_t>& present, int64_t rows) {
  return present ? std::min(*present, rows) : rows;
}

/// Gives a row for each row, without a look at others.
bool KeepsRows(const PlanNode& node) {
  const auto* map = std::get_if<MapBatchesSpec>(&node.spec());
  return std::holds_alternative<ProjectSpec>(node.spec()) ||
         std::holds_alternative<DeriveSpec>(node.spec()) || (map != nullptr && map->row_wise);
}

/// Gives a row for each left row.
bool KeepsLeftRows(const PlanNode& node) {
  return std::holds_alternative<AsOfJoinSpec>(node.spec()) ||
         std::holds_alternative<WindowAggregateSpec>(node.spec());
}

/// A plan of which the first `rows` rows are those of `plan`, which may give fewer than `plan`.
Result<Plan> Bounded(const Plan& plan, int64_t rows, Notes* notes) {
  if (const auto* scan = std::get_if<ScanSpec>(&plan->spec())) {
    ScanSpec limited = *scan;
    limited.limit = Smaller(scan->limit, rows);
    notes->push_back(Concat("limit into a scan: ", *limited.limit));
    return MakeNode(std::move(limited));
  }
  if (const auto* sort = std::get_if<SortSpec>(&plan->spec())) {
    SortSpec limited = *sort;
    limited.limit = Smaller(sort->limit, rows);
    notes->push_back(Concat("limit into a sort: only its first ", *limited.limit, " are kept"));
    return MakeNode(std::move(limited), plan->inputs());
  }
  const bool keeps_left = KeepsLeftRows(*plan);
  if (!KeepsRows(*plan) && !keeps_left && !std::holds_alternative<UnionSpec>(plan->spec()))
    return plan;
  std::vector<Plan> inputs;
  for (const Plan& input : plan->inputs()) {
    if (keeps_left && !inputs.empty()) {
      inputs.push_back(input);
      continue;
    }
    GNOMON_ASSIGN_OR_RETURN(auto bounded, Bounded(input, rows, notes));
    // A row beyond the limit is not looked at: it might fail.
    const bool exact = std::holds_alternative<ScanSpec>(bounded->spec()) ||
                       std::holds_alternative<SortSpec>(bounded->spec()) || KeepsRows(*bounded) ||
                       KeepsLeftRows(*bounded) ||
                       std::holds_alternative<LimitSpec>(bounded->spec());
    if (!exact) {
      GNOMON_ASSIGN_OR_RETURN(bounded, MakeNode(LimitSpec{rows}, {std::move(bounded)}));
    }
    inputs.push_back(std::move(bounded));
  }
  return WithInputs(plan, std::move(inputs));
}

}  // namespace

Result<Plan> PushDownLimits(const Plan& plan, Notes* notes) {
  std::vector<Plan> inputs;
  for (const Plan& input : plan->inputs()) {
    GNOMON_ASSIGN_OR_RETURN(auto pushed, PushDownLimits(input, notes));
    inputs.push_back(std::move(pushed));
  }
  const auto* limit = std::get_if<LimitSpec>(&plan->spec());
  int64_t rows = 0;
  if (limit != nullptr && !__builtin_add_overflow(limit->limit, limit->offset, &rows)) {
    GNOMON_ASSIGN_OR_RETURN(inputs[0], Bounded(inputs[0], rows, notes));
  }
  return WithInputs(plan, std::move(inputs));
}

}  // namespace gnomon::dataset::internal
