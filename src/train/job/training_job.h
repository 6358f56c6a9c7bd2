#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "feature/store/feature_store.h"
#include "model/model.h"
#include "tracking/run_store.h"
#include "train/trainer.h"

namespace gnomon::train {

/// What one training left behind.
struct TrainingOutcome {
  tracking::Run run;          ///< as finished, with all parameters and metrics
  int64_t model_version = 0;  ///< in the model repository
  int64_t rows = 0;           ///< of the training table
  double retrieve_seconds = 0;
  double train_seconds = 0;
  TrainingResult result;
};

/// From a training file to a tracked run and a model that can be served: historical features for
/// the entity rows, then Train, then the model in `models` and everything about it in `runs`
/// (parameters, metrics per epoch, the model's folder with scaler and weights, the feature service
/// and its fingerprint, the data's fingerprint). A run that fails ends as FAILED (KILLED when
/// cancelled) and leaves no model. Relative paths are below the repository folder.
Result<TrainingOutcome> RunTraining(const Context& context, const feature::FeatureStore& store,
                                    const TrainingConfig& config, tracking::RunStore& runs,
                                    const model::ModelRepository& models,
                                    const std::function<void(const EpochReport&)>& on_epoch = {});

}  // namespace gnomon::train
