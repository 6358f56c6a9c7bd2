#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace gnomon::model {

enum class Activation { kRelu, kTanh, kGelu, kSilu };
Result<Activation> ParseActivation(std::string_view text);
const char* NameOf(Activation activation);

/// What is predicted, and so the loss and the link of the last layer.
enum class Task {
  kRegression,            ///< mean squared error, identity
  kBinaryClassification,  ///< log loss, sigmoid
};
Result<Task> ParseTask(std::string_view text);
const char* NameOf(Task task);

struct MlpSpec {
  int64_t inputs = 0;
  std::vector<int64_t> hidden = {};  ///< widths; empty: a linear model
  Activation activation = Activation::kRelu;
  double dropout = 0;  ///< in training only
  Task task = Task::kRegression;
};

/// weight: [outputs, inputs] row-major, bias: [outputs].
struct DenseLayer {
  int64_t inputs = 0;
  int64_t outputs = 0;
  std::vector<float> weight;
  std::vector<float> bias;
};

/// A multi-layer perceptron with one output, evaluated without libtorch: serving needs neither its
/// 450 MB nor its start-up time. Each row is summed in one fixed order, so a prediction does not
/// depend on the batch that it is in: a served prediction equals batch `predict` bit for bit.
/// Immutable, thread-safe.
class Mlp {
 public:
  /// kDataLoss when the layers' shapes do not fit the spec or a weight is not finite.
  static Result<Mlp> Make(MlpSpec spec, std::vector<DenseLayer> layers);

  const MlpSpec& spec() const { return spec_; }
  const std::vector<DenseLayer>& layers() const { return layers_; }

  /// features: [rows, inputs] row-major; output: [rows], the value of the last layer before the
  /// link (a logit for classification). REQUIRES: features.size() == rows * inputs.
  void Forward(std::span<const float> features, std::span<float> output) const;

 private:
  Mlp(MlpSpec spec, std::vector<DenseLayer> layers);
  MlpSpec spec_;
  std::vector<DenseLayer> layers_;
  std::vector<std::vector<float>> transposed_;  ///< per layer [inputs, outputs padded to 8]
};

}  // namespace gnomon::model
