#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "feature/plan/feature_plan.h"

namespace gnomon::feature {
namespace {

const std::shared_ptr<arrow::Array>& ColumnOf(
    const ColumnSlot& slot, const PlanInputs& inputs,
    const std::vector<std::shared_ptr<arrow::Array>>& computed) {
  const auto index = static_cast<size_t>(slot.index);
  switch (slot.kind) {
    case ColumnSlot::Kind::kView:
      return inputs.views[index][static_cast<size_t>(slot.feature)];
    case ColumnSlot::Kind::kRequest:
      return inputs.request[index];
    case ColumnSlot::Kind::kExpression:
      break;
  }
  return computed[index];
}

void Describe(const Field& field, std::string* out) {
  *out += Concat(field.name, ":", field.dtype.ToString(), ";");
}

}  // namespace

Result<std::vector<std::shared_ptr<arrow::Array>>> EvaluateOutputs(const FeaturePlan& plan,
                                                                   const PlanInputs& inputs) {
  std::vector<std::shared_ptr<arrow::Array>> computed;
  computed.reserve(plan.expressions.size());
  for (const PlannedExpression& expression : plan.expressions) {
    arrow::ArrayVector columns;
    columns.reserve(expression.inputs.size());
    for (const ColumnSlot& slot : expression.inputs)
      columns.push_back(ColumnOf(slot, inputs, computed));
    auto batch =
        arrow::RecordBatch::Make(expression.input_schema, inputs.num_rows, std::move(columns));
    auto values = expression.program.Evaluate(*batch);
    if (!values.ok()) {
      return WithContext(values.status(),
                         Concat(expression.view->name, ":", expression.field->name));
    }
    computed.push_back(*std::move(values));
  }
  std::vector<std::shared_ptr<arrow::Array>> outputs;
  outputs.reserve(plan.outputs.size());
  for (const PlannedOutput& output : plan.outputs)
    outputs.push_back(ColumnOf(output.slot, inputs, computed));
  return outputs;
}

Result<std::string> FingerprintOf(const Definitions& definitions,
                                  const std::string& feature_service) {
  auto shared = std::make_shared<Definitions>(definitions);
  GNOMON_ASSIGN_OR_RETURN(FeaturePlan plan, PlanFeatureService(shared, feature_service, true));
  std::string text;
  for (const PlannedView& planned : plan.views) {
    const FeatureView& view = *planned.view;
    text += Concat("view ", view.name, " as ", planned.alias, " ttl ", view.ttl, " filter ",
                   view.filter, "\n");
    for (const std::string& column : planned.entity_columns) text += Concat("key ", column, "\n");
    for (const Transformation& step : view.transformations)
      text += Concat(step.name, " = ", step.expression, "\n");
    for (const Aggregation& aggregation : view.aggregations) {
      text += Concat(aggregation.name, " = ", FunctionName(aggregation), "(", aggregation.column,
                     ") over ", aggregation.time_window.value_or(-1), " k ", aggregation.k, " q ",
                     aggregation.quantile, " ddof ", aggregation.ddof, "\n");
    }
    for (const std::string& id : PluginIds(plan.definitions->plugins, view))
      text += Concat("plugin ", id, "\n");
    for (const Field* field : planned.features) Describe(*field, &text);
  }
  for (const PlannedExpression& expression : plan.expressions) {
    const auto index = static_cast<size_t>(expression.field - expression.view->schema.data());
    text += Concat("\nexpression ", expression.view->expressions[index].expression, " as ");
    Describe(*expression.field, &text);
    const std::string& code = expression.view->expressions[index].expression;
    for (const std::string& id : PluginIds(plan.definitions->plugins, {code}, {}))
      text += Concat("plugin ", id, "\n");
  }
  for (const PlannedOutput& output : plan.outputs) text += Concat("\noutput ", output.name);
  return Sha256Hex(text);
}

}  // namespace gnomon::feature
