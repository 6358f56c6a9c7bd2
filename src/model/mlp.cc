#include "model/mlp.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "base/text.h"

namespace gnomon::model {

namespace {

constexpr int64_t kLanes = 8;  // floats in an AVX register
constexpr int64_t kMaxWidth = 1 << 20;

constexpr std::array<std::pair<const char*, Activation>, 4> kActivations = {{
    {"relu", Activation::kRelu},
    {"tanh", Activation::kTanh},
    {"gelu", Activation::kGelu},
    {"silu", Activation::kSilu},
}};
constexpr std::array<std::pair<const char*, Task>, 2> kTasks = {{
    {"regression", Task::kRegression},
    {"binary_classification", Task::kBinaryClassification},
}};

template <typename Value, size_t kCount>
Result<Value> FindByName(const std::array<std::pair<const char*, Value>, kCount>& names,
                         std::string_view text, std::string_view what) {
  std::vector<std::string> known;
  for (const auto& [name, value] : names) {
    if (text == name) return value;
    known.emplace_back(name);
  }
  std::string hint = DidYouMean(text, known);
  return MakeError(ErrorKind::kUser,
                   Concat("unknown ", what, " ", Quoted(text), "; one of: ", Join(known, ", ")), {},
                   std::move(hint));
}

template <typename Value, size_t kCount>
const char* FindName(const std::array<std::pair<const char*, Value>, kCount>& names, Value value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return name;
  }
  return "unknown";
}

int64_t Padded(int64_t width) { return (width + kLanes - 1) / kLanes * kLanes; }

bool AllFinite(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

// output[o] = bias[o] + sum over i, in order, of input[i] * weight[i][o]; `width` is a multiple of
// kLanes. One row at a time and never inlined: every row of every batch runs the same instructions.
[[gnu::noinline]] void Multiply(const float* __restrict input, int64_t inputs,
                                const float* __restrict weight, const float* __restrict bias,
                                int64_t width, float* __restrict output) {
  constexpr int64_t kBlock = 4 * kLanes;
  int64_t first = 0;
  for (; first + kBlock <= width; first += kBlock) {
    float sums[kBlock];
    for (int64_t o = 0; o < kBlock; ++o) sums[o] = bias[first + o];
    for (int64_t i = 0; i < inputs; ++i) {
      const float value = input[i];
      const float* row = weight + i * width + first;
      for (int64_t o = 0; o < kBlock; ++o) sums[o] += value * row[o];
    }
    for (int64_t o = 0; o < kBlock; ++o) output[first + o] = sums[o];
  }
  for (; first < width; first += kLanes) {
    float sums[kLanes];
    for (int64_t o = 0; o < kLanes; ++o) sums[o] = bias[first + o];
    for (int64_t i = 0; i < inputs; ++i) {
      const float value = input[i];
      const float* row = weight + i * width + first;
      for (int64_t o = 0; o < kLanes; ++o) sums[o] += value * row[o];
    }
    for (int64_t o = 0; o < kLanes; ++o) output[first + o] = sums[o];
  }
}

// The same functions as libtorch's (its gelu is the exact one). All map 0 to 0, so padding stays 0.
[[gnu::noinline]] void Activate(Activation activation, float* values, int64_t width) {
  switch (activation) {
    case Activation::kRelu:
      for (int64_t o = 0; o < width; ++o) values[o] = values[o] < 0 ? 0 : values[o];
      break;
    case Activation::kTanh:
      for (int64_t o = 0; o < width; ++o) values[o] = std::tanh(values[o]);
      break;
    case Activation::kGelu:
      for (int64_t o = 0; o < width; ++o) {
        values[o] = 0.5F * values[o] * (1 + std::erf(values[o] * 0.70710678118654752F));
      }
      break;
    case Activation::kSilu:
      for (int64_t o = 0; o < width; ++o) values[o] = values[o] / (1 + std::exp(-values[o]));
      break;
  }
}

}  // namespace

Result<Activation> ParseActivation(std::string_view text) {
  return FindByName(kActivations, text, "activation");
}
const char* NameOf(Activation activation) { return FindName(kActivations, activation); }
Result<Task> ParseTask(std::string_view text) { return FindByName(kTasks, text, "task"); }
const char* NameOf(Task task) { return FindName(kTasks, task); }

Result<Mlp> Mlp::Make(MlpSpec spec, std::vector<DenseLayer> layers) {
  std::vector<int64_t> widths = {spec.inputs};
  widths.insert(widths.end(), spec.hidden.begin(), spec.hidden.end());
  widths.push_back(1);
  for (const int64_t width : widths) {
    if (width < 1 || width > kMaxWidth) {
      return Error(ErrorKind::kDataLoss, "a network layer has an impossible width: ", width);
    }
  }
  if (layers.size() + 1 != widths.size()) {
    return Error(ErrorKind::kDataLoss, "the network should have ", widths.size() - 1,
                 " layers but has ", layers.size());
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const DenseLayer& layer = layers[i];
    if (layer.inputs != widths[i] || layer.outputs != widths[i + 1]) {
      return Error(ErrorKind::kDataLoss, "layer ", i, " should be [", widths[i + 1], ", ",
                   widths[i], "] but is [", layer.outputs, ", ", layer.inputs, "]");
    }
    if (std::cmp_not_equal(layer.weight.size(), layer.inputs * layer.outputs) ||
        std::cmp_not_equal(layer.bias.size(), layer.outputs)) {
      return Error(ErrorKind::kDataLoss, "layer ", i, " has ", layer.weight.size(), " weights and ",
                   layer.bias.size(), " biases, which do not fit its shape [", layer.outputs, ", ",
                   layer.inputs, "]");
    }
    if (!AllFinite(layer.weight) || !AllFinite(layer.bias)) {
      return Error(ErrorKind::kDataLoss, "layer ", i, " has a weight that is not a finite number");
    }
  }
  return Mlp(std::move(spec), std::move(layers));
}

Mlp::Mlp(MlpSpec spec, std::vector<DenseLayer> layers)
    : spec_(std::move(spec)), layers_(std::move(layers)) {
  for (const DenseLayer& layer : layers_) {
    const int64_t width = Padded(layer.outputs);
    // The padded bias stands behind the weights.
    std::vector<float> transposed(static_cast<size_t>((layer.inputs + 1) * width), 0.0F);
    for (int64_t o = 0; o < layer.outputs; ++o) {
      for (int64_t i = 0; i < layer.inputs; ++i) {
        transposed[static_cast<size_t>(i * width + o)] =
            layer.weight[static_cast<size_t>(o * layer.inputs + i)];
      }
      transposed[static_cast<size_t>(layer.inputs * width + o)] =
          layer.bias[static_cast<size_t>(o)];
    }
    transposed_.push_back(std::move(transposed));
  }
}

void Mlp::Forward(std::span<const float> features, std::span<float> output) const {
  GNOMON_CHECK(std::cmp_equal(features.size(), std::ssize(output) * spec_.inputs), features.size(),
               " values for ", output.size(), " rows");
  int64_t widest = 1;
  for (const DenseLayer& layer : layers_) widest = std::max(widest, Padded(layer.outputs));
  std::vector<float> scratch(static_cast<size_t>(2 * widest));
  const float* row_features = features.data();
  for (float& result : output) {
    const float* input = row_features;
    float* sums = scratch.data();
    float* spare = scratch.data() + widest;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const DenseLayer& layer = layers_[i];
      const int64_t width = Padded(layer.outputs);
      const float* weight = transposed_[i].data();
      Multiply(input, layer.inputs, weight, weight + layer.inputs * width, width, sums);
      if (i + 1 < layers_.size()) Activate(spec_.activation, sums, width);
      input = sums;
      std::swap(sums, spare);
    }
    result = input[0];
    row_features += spec_.inputs;
  }
}

}  // namespace gnomon::model
