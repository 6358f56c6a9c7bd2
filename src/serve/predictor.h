#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/store/feature_store.h"
#include "model/model.h"

namespace gnomon::serve {

/// A model with its features: entity keys in, predictions out. The same features, expressions,
/// scaler and network as in training, and the same bits served as in batch. Thread-safe; the store
/// must outlive it.
class Predictor {
 public:
  /// Plans the model's feature service. kConflict when the service has changed since the model was
  /// trained.
  static Result<std::shared_ptr<const Predictor>> Make(const feature::FeatureStore& store,
                                                       model::Model model);

  const model::Model& model() const { return model_; }
  /// Columns that an instance must have: join keys and request data, with their types.
  std::vector<feature::Field> Inputs() const;

  /// Features from the online store as of `as_of` (absent: the context's clock). An instance of
  /// which some view has no row is kNotFound and names view and key, unless the model allows
  /// missing entities: then these features are null.
  Result<std::vector<double>> Predict(const Context& context, const arrow::RecordBatch& instances,
                                      std::optional<int64_t> as_of) const;

  /// Features from the offline store as of each row's event timestamp.
  Result<std::vector<double>> PredictHistorical(
      const Context& context, const std::shared_ptr<arrow::Table>& entity_rows) const;

 private:
  Predictor(const feature::FeatureStore& store, model::Model model);
  const feature::FeatureStore& store_;
  const model::Model model_;
  feature::FeatureRequest request_;
  std::shared_ptr<const feature::OnlineReader> reader_;
};

}  // namespace gnomon::serve
