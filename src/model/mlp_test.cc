#include "model/mlp.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace gnomon::model {
namespace {

Mlp RandomMlp(MlpSpec spec, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, 0.5F);
  std::vector<int64_t> widths = {spec.inputs};
  widths.insert(widths.end(), spec.hidden.begin(), spec.hidden.end());
  widths.push_back(1);
  std::vector<DenseLayer> layers;
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    DenseLayer layer{.inputs = widths[i], .outputs = widths[i + 1], .weight = {}, .bias = {}};
    layer.weight.resize(static_cast<size_t>(layer.inputs * layer.outputs));
    layer.bias.resize(static_cast<size_t>(layer.outputs));
    for (float& weight : layer.weight) weight = normal(random);
    for (float& bias : layer.bias) bias = normal(random);
    layers.push_back(std::move(layer));
  }
  return Mlp::Make(std::move(spec), std::move(layers)).ValueOrDie();
}

std::vector<float> RandomRows(int64_t rows, int64_t inputs, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(rows * inputs));
  for (float& value : values) value = normal(random);
  return values;
}

// The definition, in double.
double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kGelu:
      return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
  }
  return 0;
}

double Reference(const Mlp& mlp, std::span<const float> row) {
  std::vector<double> values(row.begin(), row.end());
  for (size_t i = 0; i < mlp.layers().size(); ++i) {
    const DenseLayer& layer = mlp.layers()[i];
    std::vector<double> next(layer.bias.begin(), layer.bias.end());
    for (size_t o = 0; o < next.size(); ++o) {
      for (size_t k = 0; k < values.size(); ++k) {
        next[o] += static_cast<double>(layer.weight[o * values.size() + k]) * values[k];
      }
      if (i + 1 < mlp.layers().size()) next[o] = Activate(mlp.spec().activation, next[o]);
    }
    values = next;
  }
  return values[0];
}

TEST_CASE(
    "the forward pass is the definition, for every activation and for widths that are no multiple "
    "of a register") {
  for (const Activation activation :
       {Activation::kRelu, Activation::kTanh, Activation::kGelu, Activation::kSilu}) {
    for (const std::vector<int64_t>& hidden :
         {std::vector<int64_t>{}, {1}, {7}, {8}, {33, 5}, {64, 32}, {100, 3, 40}}) {
      const Mlp mlp = RandomMlp({.inputs = 11, .hidden = hidden, .activation = activation}, 5);
      const std::vector<float> rows = RandomRows(9, 11, 6);
      std::vector<float> output(9);
      mlp.Forward(rows, output);
      for (size_t row = 0; row < output.size(); ++row) {
        const double expected = Reference(mlp, std::span(rows).subspan(row * 11, 11));
        CHECK(std::abs(static_cast<double>(output[row]) - expected) <=
              1e-5 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST_CASE("a prediction has the same bits in every batch") {
  const Mlp mlp = RandomMlp({.inputs = 20, .hidden = {64, 32}, .activation = Activation::kSilu}, 1);
  constexpr int64_t kRows = 257;
  const std::vector<float> rows = RandomRows(kRows, 20, 2);
  std::vector<float> whole(kRows);
  mlp.Forward(rows, whole);
  for (const int64_t batch : {1, 2, 3, 8, 100}) {
    for (int64_t begin = 0; begin < kRows; begin += batch) {
      const int64_t count = std::min(batch, kRows - begin);
      std::vector<float> part(static_cast<size_t>(count));
      mlp.Forward(
          std::span(rows).subspan(static_cast<size_t>(begin * 20), static_cast<size_t>(count * 20)),
          part);
      for (int64_t i = 0; i < count; ++i) {
        CHECK(std::bit_cast<uint32_t>(part[static_cast<size_t>(i)]) ==
              std::bit_cast<uint32_t>(whole[static_cast<size_t>(begin + i)]));
      }
    }
  }
}

TEST_CASE("no rows give no outputs") {
  const Mlp mlp = RandomMlp({.inputs = 3, .hidden = {4}}, 1);
  mlp.Forward({}, {});
}

TEST_CASE("layers that do not fit the spec are data loss") {
  const auto kind = [](MlpSpec spec, std::vector<DenseLayer> layers) {
    const auto mlp = Mlp::Make(std::move(spec), std::move(layers));
    REQUIRE_FALSE(mlp.ok());
    return KindOf(mlp.status());
  };
  const DenseLayer good{.inputs = 2, .outputs = 1, .weight = {1, 2}, .bias = {3}};
  CHECK(Mlp::Make({.inputs = 2, .hidden = {}}, {good}).ok());
  CHECK(kind({.inputs = 3, .hidden = {}}, {good}) == ErrorKind::kDataLoss);
  CHECK(kind({.inputs = 2, .hidden = {4}}, {good}) == ErrorKind::kDataLoss);
  CHECK(kind({.inputs = 2, .hidden = {}}, {}) == ErrorKind::kDataLoss);
  CHECK(kind({.inputs = 0, .hidden = {}}, {good}) == ErrorKind::kDataLoss);
  CHECK(kind({.inputs = 2, .hidden = {-1}}, {good, good}) == ErrorKind::kDataLoss);
  DenseLayer bad = good;
  bad.weight = {1};
  CHECK(kind({.inputs = 2, .hidden = {}}, {bad}) == ErrorKind::kDataLoss);
  bad = good;
  bad.bias = {};
  CHECK(kind({.inputs = 2, .hidden = {}}, {bad}) == ErrorKind::kDataLoss);
  bad = good;
  bad.weight[1] = std::numeric_limits<float>::quiet_NaN();
  CHECK(kind({.inputs = 2, .hidden = {}}, {bad}) == ErrorKind::kDataLoss);
  bad.weight[1] = std::numeric_limits<float>::infinity();
  CHECK(kind({.inputs = 2, .hidden = {}}, {bad}) == ErrorKind::kDataLoss);
}

TEST_CASE("names of activations and tasks are read back, others are refused with a hint") {
  for (const Activation activation :
       {Activation::kRelu, Activation::kTanh, Activation::kGelu, Activation::kSilu}) {
    CHECK(ParseActivation(NameOf(activation)).ValueOrDie() == activation);
  }
  for (const Task task : {Task::kRegression, Task::kBinaryClassification}) {
    CHECK(ParseTask(NameOf(task)).ValueOrDie() == task);
  }
  const auto wrong = ParseActivation("rellu");
  REQUIRE_FALSE(wrong.ok());
  CHECK(KindOf(wrong.status()) == ErrorKind::kUser);
  CHECK(HintOf(wrong.status()) == "did you mean 'relu'?");
  CHECK_FALSE(ParseTask("clustering").ok());
}

}  // namespace
}  // namespace gnomon::model
