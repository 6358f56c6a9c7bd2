#include <algorithm>
#include <set>

#include <arrow/type.h>

#include "base/text.h"
#include "dataset/optimizer/rule_internal.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"

namespace gnomon::dataset::internal {

namespace {

using Names = std::set<std::string>;

Names AllOf(const arrow::Schema& schema) {
  const auto names = schema.field_names();
  return {names.begin(), names.end()};
}

Status AddColumns(const std::string& text, Names* names) {
  GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
  for (const std::string& column : expression.columns()) names->insert(column);
  return Status::OK();
}

/// Gives a plan with at least the needed columns, in the order of the plan; `needed` are names of
/// its columns.
class Pruner {
 public:
  explicit Pruner(Notes* notes) : notes_(notes) {}

  Result<Plan> Prune(const Plan& plan, const Names& needed) {
    return std::visit([&](const auto& spec) { return PruneNode(plan, spec, needed); },
                      plan->spec());
  }

 private:
  Result<Plan> PruneInput(const Plan& plan, const Names& needed) {
    GNOMON_ASSIGN_OR_RETURN(auto input, Prune(plan->inputs()[0], needed));
    return WithInputs(plan, {std::move(input)});
  }

  /// Nodes that need all columns of their inputs.
  template <typename Spec>
  Result<Plan> PruneNode(const Plan& plan, const Spec& /*spec*/, const Names& /*needed*/) {
    std::vector<Plan> inputs;
    for (const Plan& input : plan->inputs()) {
      GNOMON_ASSIGN_OR_RETURN(auto pruned, Prune(input, AllOf(*input->schema())));
      inputs.push_back(std::move(pruned));
    }
    return WithInputs(plan, std::move(inputs));
  }

  Result<Plan> PruneNode(const Plan& plan, const ScanSpec& spec, const Names& needed) {
    std::vector<std::string> columns;
    for (const auto& field : plan->schema()->fields()) {
      if (needed.contains(field->name())) columns.push_back(field->name());
    }
    if (columns.size() == static_cast<size_t>(plan->schema()->num_fields())) return plan;
    notes_->push_back(Concat("projection into a scan: ", columns.size(), " of ",
                             plan->schema()->num_fields(), " columns"));
    ScanSpec pruned = spec;
    pruned.columns = std::move(columns);
    return MakeNode(std::move(pruned));
  }

  Result<Plan> PruneNode(const Plan& plan, const ProjectSpec& spec, const Names& needed) {
    ProjectSpec pruned;
    Names below;
    for (const NamedExpression& named : spec.expressions) {
      if (!needed.contains(named.name)) continue;
      GNOMON_RETURN_NOT_OK(AddColumns(named.expression, &below));
      pruned.expressions.push_back(named);
    }
    GNOMON_ASSIGN_OR_RETURN(auto input, Prune(plan->inputs()[0], below));
    return MakeNode(std::move(pruned), {std::move(input)});
  }

  Result<Plan> PruneNode(const Plan& plan, const DeriveSpec& spec, const Names& needed) {
    DeriveSpec pruned;
    Names below = needed;
    for (const NamedExpression& named : spec.expressions) below.erase(named.name);
    for (const NamedExpression& named : spec.expressions) {
      if (!needed.contains(named.name)) continue;
      GNOMON_RETURN_NOT_OK(AddColumns(named.expression, &below));
      pruned.expressions.push_back(named);
      // A column that is replaced keeps its place.
      if (plan->inputs()[0]->schema()->GetFieldIndex(named.name) >= 0) below.insert(named.name);
    }
    GNOMON_ASSIGN_OR_RETURN(auto input, Prune(plan->inputs()[0], below));
    if (pruned.expressions.empty()) return input;
    return MakeNode(std::move(pruned), {std::move(input)});
  }

  Result<Plan> PruneNode(const Plan& plan, const FilterSpec& spec, const Names& needed) {
    Names below = needed;
    GNOMON_RETURN_NOT_OK(AddColumns(spec.predicate, &below));
    return PruneInput(plan, below);
  }

  Result<Plan> PruneNode(const Plan& plan, const SortSpec& spec, const Names& needed) {
    Names below = needed;
    for (const SortKey& key : spec.keys) below.insert(key.column);
    return PruneInput(plan, below);
  }

  Result<Plan> PruneNode(const Plan& plan, const RepartitionSpec& spec, const Names& needed) {
    Names below = needed;
    below.insert(spec.keys.begin(), spec.keys.end());
    return PruneInput(plan, below);
  }

  Result<Plan> PruneNode(const Plan& plan, const LatestSpec& spec, const Names& needed) {
    LatestSpec pruned = spec;
    std::erase_if(pruned.sums, [&](const std::string& name) { return !needed.contains(name); });
    Names below = needed;
    below.insert(spec.keys.begin(), spec.keys.end());
    below.insert(spec.time);
    if (!spec.created.empty()) below.insert(spec.created);
    GNOMON_ASSIGN_OR_RETURN(auto input, Prune(plan->inputs()[0], below));
    return MakeNode(std::move(pruned), {std::move(input)});
  }

  Result<Plan> PruneNode(const Plan& plan, const TimeRangeSpec& spec, const Names& needed) {
    TimeRangeSpec pruned = spec;
    Names below = needed;
    if (!spec.name.empty()) below.erase(spec.name);
    if (!needed.contains(spec.name)) pruned.name.clear();
    below.insert(spec.time);
    if (spec.created_before) below.insert(spec.created);
    if (!spec.created_before) pruned.created.clear();
    GNOMON_ASSIGN_OR_RETURN(auto input, Prune(plan->inputs()[0], below));
    return MakeNode(std::move(pruned), {std::move(input)});
  }

  Result<Plan> PruneNode(const Plan& plan, const LimitSpec& /*spec*/, const Names& needed) {
    return PruneInput(plan, needed);
  }

  Result<Plan> PruneNode(const Plan& plan, const SampleSpec& /*spec*/, const Names& needed) {
    return PruneInput(plan, needed);
  }

  Result<Plan> PruneNode(const Plan& plan, const AggregateSpec& spec, const Names& needed) {
    AggregateSpec pruned{.keys = spec.keys};
    Names below(spec.keys.begin(), spec.keys.end());
    for (const AggregateItem& item : spec.items) {
      if (!needed.contains(item.name)) continue;
      pruned.items.push_back(item);
      if (!item.column.empty()) below.insert(item.column);
    }
    GNOMON_ASSIGN_OR_RETURN(auto input, Prune(plan->inputs()[0], below));
    return MakeNode(std::move(pruned), {std::move(input)});
  }

  Result<Plan> PruneNode(const Plan& plan, const JoinSpec& spec, const Names& needed) {
    const arrow::Schema& left_schema = *plan->inputs()[0]->schema();
    Names left(spec.left_keys.begin(), spec.left_keys.end());
    Names right(spec.right_keys.begin(), spec.right_keys.end());
    for (const auto& field : left_schema.fields()) {
      if (needed.contains(field->name())) left.insert(field->name());
    }
    int column = left_schema.num_fields();
    for (const auto& field : plan->inputs()[1]->schema()->fields()) {
      if (column == plan->schema()->num_fields()) break;
      if (std::ranges::find(spec.right_keys, field->name()) != spec.right_keys.end()) continue;
      const std::string& output = plan->schema()->field(column++)->name();
      if (!needed.contains(output)) continue;
      right.insert(field->name());
      // The left column of the same name makes the suffix.
      if (output != field->name()) left.insert(field->name());
    }
    GNOMON_ASSIGN_OR_RETURN(auto new_left, Prune(plan->inputs()[0], left));
    GNOMON_ASSIGN_OR_RETURN(auto new_right, Prune(plan->inputs()[1], right));
    return WithInputs(plan, {std::move(new_left), std::move(new_right)});
  }

  /// The left's needed columns; of the right only what is matched by and what is given.
  Result<Plan> PruneTimeMatch(const Plan& plan, const TimeMatch& match, NodeSpec pruned,
                              const Names& needed, Names right) {
    Names left(match.left_keys.begin(), match.left_keys.end());
    left.insert(match.left_time);
    for (const auto& field : plan->inputs()[0]->schema()->fields()) {
      if (needed.contains(field->name())) left.insert(field->name());
    }
    right.insert(match.right_keys.begin(), match.right_keys.end());
    right.insert(match.right_time);
    if (!match.created.empty()) right.insert(match.created);
    GNOMON_ASSIGN_OR_RETURN(auto new_left, Prune(plan->inputs()[0], left));
    GNOMON_ASSIGN_OR_RETURN(auto new_right, Prune(plan->inputs()[1], right));
    return MakeNode(std::move(pruned), {std::move(new_left), std::move(new_right)});
  }

  Result<Plan> PruneNode(const Plan& plan, const AsOfJoinSpec& spec, const Names& needed) {
    AsOfJoinSpec pruned = spec;
    std::erase_if(pruned.features,
                  [&](const AsOfFeature& feature) { return !needed.contains(feature.name); });
    Names right;
    for (const AsOfFeature& feature : pruned.features) right.insert(feature.column);
    return PruneTimeMatch(plan, spec.match, std::move(pruned), needed, std::move(right));
  }

  Result<Plan> PruneNode(const Plan& plan, const WindowAggregateSpec& spec, const Names& needed) {
    WindowAggregateSpec pruned = spec;
    std::erase_if(pruned.items,
                  [&](const WindowItem& item) { return !needed.contains(item.name); });
    Names right;
    for (const WindowItem& item : pruned.items) right.insert(item.column);
    return PruneTimeMatch(plan, spec.match, std::move(pruned), needed, std::move(right));
  }

  Result<Plan> PruneNode(const Plan& plan, const UnionSpec& /*spec*/, const Names& needed) {
    std::vector<Plan> inputs;
    for (const Plan& input : plan->inputs()) {
      GNOMON_ASSIGN_OR_RETURN(auto pruned, Prune(input, needed));
      GNOMON_ASSIGN_OR_RETURN(pruned, Exactly(std::move(pruned), needed));
      inputs.push_back(std::move(pruned));
    }
    return WithInputs(plan, std::move(inputs));
  }

 public:
  /// Drops the columns that came along unasked.
  static Result<Plan> Exactly(Plan plan, const Names& needed) {
    ProjectSpec project;
    for (const auto& field : plan->schema()->fields()) {
      if (needed.contains(field->name()))
        project.expressions.push_back({field->name(), ColumnExpression(field->name())});
    }
    if (project.expressions.size() == static_cast<size_t>(plan->schema()->num_fields()))
      return plan;
    return MakeNode(std::move(project), {std::move(plan)});
  }

 private:
  Notes* const notes_;
};

}  // namespace

Result<Plan> PushDownProjections(const Plan& plan, Notes* notes) {
  const Names all = AllOf(*plan->schema());
  GNOMON_ASSIGN_OR_RETURN(auto pruned, Pruner(notes).Prune(plan, all));
  return Pruner::Exactly(std::move(pruned), all);
}

}  // namespace gnomon::dataset::internal
