#include "serve/predictor.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/plan/feature_plan.h"
#include "table/column.h"

namespace gnomon::serve {
namespace {

/// "store=1, dept=3" of one instance.
std::string KeyText(const std::vector<std::string>& columns, const arrow::RecordBatch& instances,
                    int64_t row) {
  std::string text;
  for (const std::string& name : columns) {
    if (!text.empty()) text += ", ";
    text += name + "=";
    auto value = instances.GetColumnByName(name)->GetScalar(row);
    text += value.ok() ? (*value)->ToString() : "?";
  }
  return text;
}

/// kNotFound for the first instance of which a view has no row; names the view and the key.
Status CheckKnown(const feature::FeaturePlan& plan, const feature::OnlineResponse& response,
                  const arrow::RecordBatch& instances) {
  for (int64_t row = 0; row < response.num_rows; ++row) {
    for (size_t i = 0; i < response.features.size(); ++i) {
      const feature::ColumnSlot& slot = plan.outputs[i].slot;
      if (slot.kind != feature::ColumnSlot::Kind::kView) continue;
      const auto status = response.features[i].statuses[static_cast<size_t>(row)];
      if (status != feature::FieldStatus::kNotFound) continue;
      const feature::PlannedView& view = plan.views[static_cast<size_t>(slot.index)];
      return MakeError(
          ErrorKind::kNotFound,
          Concat("entity is not in the online store: ",
                 KeyText(view.entity_columns, instances, row), " (feature view ", view.alias, ")"),
          {.file = {}, .line = 0, .column = 0, .row = row},
          "materialize it, check the key, or train with missing_entities: allow");
    }
  }
  return Status::OK();
}

}  // namespace

Predictor::Predictor(const feature::FeatureStore& store, model::Model model)
    : store_(store), model_(std::move(model)) {}

Result<std::shared_ptr<const Predictor>> Predictor::Make(const feature::FeatureStore& store,
                                                         model::Model model) {
  std::shared_ptr<Predictor> predictor(new Predictor(store, std::move(model)));
  const model::ModelSource& source = predictor->model_.source();
  const std::string context = Concat("model ", Quoted(predictor->model_.name()));
  auto fingerprint = feature::FingerprintOf(*store.definitions(), source.feature_service);
  if (!fingerprint.ok()) return WithContext(fingerprint.status(), context);
  if (!source.feature_service_fingerprint.empty() &&
      *fingerprint != source.feature_service_fingerprint) {
    return MakeError(ErrorKind::kConflict,
                     Concat(context, ": feature service ", Quoted(source.feature_service),
                            " has changed since the model was trained"),
                     {}, "train again, or apply the definitions that it was trained with");
  }
  predictor->request_.feature_service = source.feature_service;
  auto reader = store.OnlineReaderFor(predictor->request_);
  if (!reader.ok()) return WithContext(reader.status(), context);
  predictor->reader_ = *std::move(reader);
  return predictor;
}

std::vector<feature::Field> Predictor::Inputs() const {
  std::vector<feature::Field> fields = reader_->plan().entity_fields;
  std::ranges::copy(reader_->plan().request_fields, std::back_inserter(fields));
  return fields;
}

Result<std::vector<double>> Predictor::Predict(const Context& context,
                                               const arrow::RecordBatch& instances,
                                               std::optional<int64_t> as_of) const {
  GNOMON_ASSIGN_OR_RETURN(auto response,
                          store_.GetOnlineFeatures(context, request_, instances, as_of));
  if (!model_.source().allow_missing_entities) {
    GNOMON_RETURN_NOT_OK(CheckKnown(reader_->plan(), response, instances));
  }
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  for (const feature::OnlineColumn& column : response.features) {
    fields.push_back(arrow::field(column.name, column.values->type()));
    columns.push_back(column.values);
  }
  auto features = arrow::RecordBatch::Make(arrow::schema(std::move(fields)), response.num_rows,
                                           std::move(columns));
  return model_.Predict(context, *features);
}

Result<std::vector<double>> Predictor::PredictHistorical(
    const Context& context, const std::shared_ptr<arrow::Table>& entity_rows) const {
  GNOMON_ASSIGN_OR_RETURN(auto job, store_.GetHistoricalFeatures(request_, entity_rows));
  GNOMON_ASSIGN_OR_RETURN(auto table, job->ToTable(context));
  GNOMON_ASSIGN_OR_RETURN(auto batch, table::SingleBatch(*table));
  return model_.Predict(context, *batch);
}

}  // namespace gnomon::serve
