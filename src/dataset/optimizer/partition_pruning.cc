#include <algorithm>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/optimizer/rule_internal.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"
#include "table/partition_path.h"

namespace gnomon::dataset::internal {

namespace {

/// The predicates that look at partition columns only.
Result<std::vector<expr::BoundExpression>> PartitionPredicates(const ScanSpec& spec) {
  std::vector<expr::BoundExpression> predicates;
  for (const std::string& text : spec.predicates) {
    GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
    const auto columns = expression.columns();
    const bool known = !columns.empty() && std::ranges::all_of(columns, [&](const auto& name) {
      return spec.partition_schema->GetFieldIndex(name) >= 0;
    });
    if (!known) continue;
    GNOMON_ASSIGN_OR_RETURN(auto bound, expression.Bind(*spec.partition_schema));
    predicates.push_back(std::move(bound));
  }
  return predicates;
}

Result<bool> Passes(const ScanFile& file, const std::shared_ptr<arrow::Schema>& schema,
                    const std::vector<expr::BoundExpression>& predicates) {
  arrow::ArrayVector columns;
  for (int i = 0; i < schema->num_fields(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto column,
                            table::PartitionColumn(file.partition_values[static_cast<size_t>(i)],
                                                   schema->field(i)->type(), 1));
    columns.push_back(std::move(column));
  }
  const auto row = arrow::RecordBatch::Make(schema, 1, std::move(columns));
  for (const auto& predicate : predicates) {
    GNOMON_ASSIGN_OR_RETURN(const auto selected, predicate.Select(*row));
    if (selected.empty()) return false;
  }
  return true;
}

Result<Plan> PruneScan(const Plan& plan, const ScanSpec& spec, Notes* notes) {
  if (spec.partition_schema == nullptr || spec.predicates.empty()) return plan;
  GNOMON_ASSIGN_OR_RETURN(const auto predicates, PartitionPredicates(spec));
  if (predicates.empty()) return plan;
  ScanSpec pruned = spec;
  pruned.files.clear();
  for (const ScanFile& file : spec.files) {
    GNOMON_ASSIGN_OR_RETURN(const bool passes, Passes(file, spec.partition_schema, predicates));
    if (passes) pruned.files.push_back(file);
  }
  if (pruned.files.size() == spec.files.size()) return plan;
  notes->push_back(Concat("partitions: ", spec.files.size() - pruned.files.size(), " of ",
                          spec.files.size(), " files left out by their folders"));
  pruned.pruned = true;
  return MakeNode(std::move(pruned));
}

}  // namespace

Result<Plan> PrunePartitions(const Plan& plan, Notes* notes) {
  if (const auto* scan = std::get_if<ScanSpec>(&plan->spec())) return PruneScan(plan, *scan, notes);
  std::vector<Plan> inputs;
  for (const Plan& input : plan->inputs()) {
    GNOMON_ASSIGN_OR_RETURN(auto pruned, PrunePartitions(input, notes));
    inputs.push_back(std::move(pruned));
  }
  return WithInputs(plan, std::move(inputs));
}

}  // namespace gnomon::dataset::internal
