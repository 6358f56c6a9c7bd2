#include "model/model.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>

#include <arrow/record_batch.h>

#include "base/parallel.h"
#include "base/text.h"
#include "model/model_file_internal.h"

namespace gnomon::model {

Result<Model> Model::Make(std::string name, ModelSource source, Preprocessor preprocessor, Mlp mlp,
                          TargetScale target) {
  GNOMON_RETURN_NOT_OK(CheckModelName(name));
  if (mlp.spec().inputs != preprocessor.inputs()) {
    return Error(ErrorKind::kUser, "the network has ", mlp.spec().inputs,
                 " inputs but the preprocessor gives ", preprocessor.inputs());
  }
  if (!std::isfinite(target.mean) || !std::isfinite(target.scale) || target.scale <= 0) {
    return Error(ErrorKind::kUser,
                 "the scale of the target is not a positive number: ", target.mean, ", ",
                 target.scale);
  }
  return Model(std::move(name), std::move(source), std::move(preprocessor), std::move(mlp), target);
}

Model::Model(std::string name, ModelSource source, Preprocessor preprocessor, Mlp mlp,
             TargetScale target)
    : name_(std::move(name)),
      source_(std::move(source)),
      preprocessor_(std::move(preprocessor)),
      mlp_(std::move(mlp)),
      target_(target) {}

Result<std::vector<double>> Model::Predict(const Context& context,
                                           const arrow::RecordBatch& features) const {
  GNOMON_RETURN_NOT_OK(context.Check());
  constexpr int64_t kGrain = 4096;
  const int64_t rows = features.num_rows();
  std::vector<double> predictions(static_cast<size_t>(rows));
  const auto predict = [&](const arrow::RecordBatch& batch, int64_t begin) -> Status {
    GNOMON_ASSIGN_OR_RETURN(const std::vector<float> inputs, preprocessor_.Transform(batch));
    std::vector<float> outputs(static_cast<size_t>(batch.num_rows()));
    mlp_.Forward(inputs, outputs);
    const bool regression = mlp_.spec().task == Task::kRegression;
    std::ranges::transform(outputs, predictions.begin() + begin, [&](float output) {
      const auto value = static_cast<double>(output);
      return regression ? value * target_.scale + target_.mean : 1 / (1 + std::exp(-value));
    });
    return Status::OK();
  };
  if (rows <= kGrain) {
    GNOMON_RETURN_NOT_OK(predict(features, 0));
  } else {
    GNOMON_RETURN_NOT_OK(ParallelRanges(context, rows, kGrain, [&](int64_t begin, int64_t end) {
      return predict(*features.Slice(begin, end - begin), begin);
    }));
  }
  return predictions;
}

}  // namespace gnomon::model
