#include "train/network_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <span>
#include <stop_token>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon::train {
namespace {

using model::Activation;
using model::Mlp;
using model::MlpSpec;
using model::Task;
using test::ValueOf;

// Rows of a known function of the inputs.
struct Sample {
  std::vector<float> x;
  std::vector<float> y;
  FitData data() const { return {.x = x, .y = y}; }
};

// y = 0.6 x0 - 0.8 x1 + noise of the given deviation; x is standard normal and so is y's signal.
Sample Linear(size_t rows, int64_t inputs, double noise, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Sample sample;
  for (size_t row = 0; row < rows; ++row) {
    const size_t first = sample.x.size();
    for (int64_t i = 0; i < inputs; ++i) sample.x.push_back(static_cast<float>(normal(random)));
    const double signal =
        0.6 * static_cast<double>(sample.x[first]) - 0.8 * static_cast<double>(sample.x[first + 1]);
    sample.y.push_back(static_cast<float>(signal + noise * normal(random)));
  }
  return sample;
}

FitOptions Options() {
  return {.epochs = 12,
          .batch_size = 256,
          .learning_rate = 3e-3,
          .patience = 0,
          .seed = 4,
          .threads = 1};
}

Result<FitResult> Fit(const MlpSpec& spec, const FitOptions& options, const Sample& training,
                      const Sample& validation, const Context& context = {},
                      const std::function<void(const EpochReport&)>& on_epoch = {}) {
  return ValueOf(LoadNetworkTrainer())
      ->Fit(context, spec, options, training.data(), validation.data(), on_epoch);
}

double Mse(const MlpSpec& spec, const FitResult& fit, const Sample& sample) {
  const Mlp mlp = ValueOf(Mlp::Make(spec, fit.layers));
  std::vector<float> output(sample.y.size());
  mlp.Forward(sample.x, output);
  double sum = 0;
  for (size_t row = 0; row < output.size(); ++row) {
    const double error = static_cast<double>(output[row]) - static_cast<double>(sample.y[row]);
    sum += error * error;
  }
  return sum / static_cast<double>(output.size());
}

bool SameWeights(const FitResult& a, const FitResult& b) {
  return std::ranges::equal(a.layers, b.layers, [](const auto& left, const auto& right) {
    return left.weight == right.weight && left.bias == right.bias;
  });
}

TEST_CASE("our forward pass equals libtorch's, for every activation") {
  std::mt19937_64 random(8);
  std::normal_distribution<float> normal(0, 0.4F);
  for (const Activation activation :
       {Activation::kRelu, Activation::kTanh, Activation::kGelu, Activation::kSilu}) {
    std::vector<model::DenseLayer> layers;
    const std::vector<int64_t> widths = {20, 64, 32, 1};
    for (size_t i = 0; i + 1 < widths.size(); ++i) {
      model::DenseLayer layer{
          .inputs = widths[i], .outputs = widths[i + 1], .weight = {}, .bias = {}};
      layer.weight.resize(static_cast<size_t>(layer.inputs * layer.outputs));
      layer.bias.resize(static_cast<size_t>(layer.outputs));
      for (float& weight : layer.weight) weight = normal(random);
      for (float& bias : layer.bias) bias = normal(random);
      layers.push_back(layer);
    }
    const Mlp mlp = ValueOf(
        Mlp::Make({.inputs = 20, .hidden = {64, 32}, .activation = activation}, std::move(layers)));
    const Sample sample = Linear(500, 20, 0, 9);
    std::vector<float> ours(500);
    mlp.Forward(sample.x, ours);
    const std::vector<float> theirs =
        ValueOf(ValueOf(LoadNetworkTrainer())->Forward(mlp, sample.x));
    REQUIRE(theirs.size() == ours.size());
    float largest = 0;
    for (const float value : theirs) largest = std::max(largest, std::abs(value));
    for (size_t row = 0; row < ours.size(); ++row) {
      CHECK(std::abs(ours[row] - theirs[row]) <=
            1e-5F * std::max(std::abs(theirs[row]), 0.1F * largest));
    }
  }
}

TEST_CASE(
    "a linear function is learned to near the noise floor, by every activation and with dropout") {
  constexpr double kNoise = 0.5;
  const Sample training = Linear(20'000, 4, kNoise, 1);
  const Sample validation = Linear(2'000, 4, kNoise, 2);
  const Sample test = Linear(5'000, 4, kNoise, 3);
  const double floor = kNoise * kNoise;
  for (const Activation activation :
       {Activation::kRelu, Activation::kTanh, Activation::kGelu, Activation::kSilu}) {
    const MlpSpec spec{.inputs = 4, .hidden = {16, 8}, .activation = activation};
    const FitResult fit = ValueOf(Fit(spec, Options(), training, validation));
    CHECK(Mse(spec, fit, test) < 1.05 * floor);
    CHECK(Mse(spec, fit, test) > 0.95 * floor);
  }
  const MlpSpec linear{.inputs = 4};
  CHECK(Mse(linear, ValueOf(Fit(linear, Options(), training, validation)), test) < 1.03 * floor);
  const MlpSpec dropout{.inputs = 4, .hidden = {32}, .dropout = 0.1};
  CHECK(Mse(dropout, ValueOf(Fit(dropout, Options(), training, validation)), test) < 1.25 * floor);
}

TEST_CASE(
    "without signal nothing is learned: labels of noise are predicted no better than by their "
    "mean") {
  Sample training = Linear(5'000, 4, 1, 1);
  Sample validation = Linear(1'000, 4, 1, 2);
  Sample test = Linear(5'000, 4, 1, 3);
  std::mt19937_64 random(17);
  for (Sample* sample : {&training, &validation, &test}) std::ranges::shuffle(sample->y, random);
  double variance = 0;
  for (const float y : test.y) variance += static_cast<double>(y) * static_cast<double>(y);
  variance /= static_cast<double>(test.y.size());
  const MlpSpec spec{.inputs = 4, .hidden = {16}};
  CHECK(Mse(spec, ValueOf(Fit(spec, Options(), training, validation)), test) > 0.99 * variance);
}

TEST_CASE("a classification learns the probabilities") {
  // P(y = 1) = 1 / (1 + exp(-2 x0)).
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> uniform;
  Sample training = Linear(20'000, 2, 0, 6);
  Sample validation = Linear(2'000, 2, 0, 7);
  for (Sample* sample : {&training, &validation}) {
    for (size_t row = 0; row < sample->y.size(); ++row) {
      const double p = 1 / (1 + std::exp(-2 * static_cast<double>(sample->x[2 * row])));
      sample->y[row] = uniform(random) < p ? 1 : 0;
    }
  }
  const MlpSpec spec{.inputs = 2, .hidden = {}, .task = Task::kBinaryClassification};
  FitOptions options = Options();
  options.learning_rate = 1e-2;
  const FitResult fit = ValueOf(Fit(spec, options, training, validation));
  CHECK(fit.layers[0].weight[0] == doctest::Approx(2).epsilon(0.05));
  CHECK(std::abs(fit.layers[0].weight[1]) < 0.1F);
  CHECK(std::abs(fit.layers[0].bias[0]) < 0.1F);
}

TEST_CASE("the same seed gives the same weights, another seed others") {
  const Sample training = Linear(3'000, 4, 0.1, 1);
  const Sample validation = Linear(500, 4, 0.1, 2);
  const MlpSpec spec{.inputs = 4, .hidden = {16}, .dropout = 0.2};
  FitOptions options = Options();
  options.epochs = 3;
  for (const int threads : {1, 2}) {
    options.threads = threads;
    options.seed = 4;
    const FitResult first = ValueOf(Fit(spec, options, training, validation));
    CHECK(SameWeights(first, ValueOf(Fit(spec, options, training, validation))));
    options.seed = 5;
    CHECK_FALSE(SameWeights(first, ValueOf(Fit(spec, options, training, validation))));
  }
}

TEST_CASE(
    "training ends after `patience` epochs without a better one, and the best epoch's weights are "
    "kept") {
  const Sample training =
      Linear(200, 4, 1, 1);  // few rows and a large network: it soon learns the noise
  const Sample validation = Linear(2'000, 4, 1, 2);
  const MlpSpec spec{.inputs = 4, .hidden = {64, 64}};
  FitOptions options = Options();
  options.epochs = 500;
  options.batch_size = 32;
  options.patience = 5;
  std::vector<EpochReport> seen;
  const FitResult fit = ValueOf(Fit(spec, options, training, validation, {},
                                    [&](const EpochReport& epoch) { seen.push_back(epoch); }));
  REQUIRE(fit.epochs.size() < 500);
  CHECK(std::ssize(fit.epochs) == fit.best_epoch + options.patience);
  CHECK(seen.size() == fit.epochs.size());
  double best = std::numeric_limits<double>::infinity();
  for (const EpochReport& epoch : fit.epochs) {
    CHECK(epoch.best == (epoch.validation_loss < best));
    best = std::min(best, epoch.validation_loss);
  }
  CHECK(fit.epochs[static_cast<size_t>(fit.best_epoch - 1)].validation_loss == best);
  CHECK(Mse(spec, fit, validation) == doctest::Approx(best).epsilon(1e-4));
}

TEST_CASE("a training that is cancelled stops between steps") {
  const Sample training = Linear(1'000, 4, 1, 1);
  const MlpSpec spec{.inputs = 4, .hidden = {8}};
  FitOptions options = Options();
  options.epochs = 1'000'000'000;
  std::stop_source source;
  const auto fit = Fit(spec, options, training, training, Context{}.WithStop(source.get_token()),
                       [&](const EpochReport& epoch) {
                         if (epoch.epoch == 3) source.request_stop();
                       });
  CHECK_ERROR(fit, ErrorKind::kCancelled, "");
}

TEST_CASE("a loss that is not finite ends with advice") {
  const Sample training = Linear(1'000, 4, 1, 1);
  const MlpSpec spec{.inputs = 4, .hidden = {8, 8}};
  FitOptions options = Options();
  options.learning_rate = 1e30;
  CHECK_ERROR(Fit(spec, options, training, training), ErrorKind::kUser, "diverged in epoch");
  CHECK_ERROR(Fit(spec, options, training, training), ErrorKind::kUser, "lower learning rate");
  Sample broken = training;
  broken.x[0] = std::numeric_limits<float>::quiet_NaN();
  CHECK_ERROR(Fit(spec, Options(), broken, training), ErrorKind::kUser, "diverged in epoch 1");
}

TEST_CASE("options that make no sense are refused before anything runs") {
  const Sample sample = Linear(10, 4, 1, 1);
  const auto with = [&](const auto& change) {
    MlpSpec spec{.inputs = 4, .hidden = {8}};
    FitOptions options = Options();
    change(&spec, &options);
    return Fit(spec, options, sample, sample);
  };
  CHECK_ERROR(with([](auto*, auto* options) { options->epochs = 0; }), ErrorKind::kUser, "epochs");
  CHECK_ERROR(with([](auto*, auto* options) { options->batch_size = 0; }), ErrorKind::kUser,
              "batch_size");
  CHECK_ERROR(with([](auto*, auto* options) { options->learning_rate = 0; }), ErrorKind::kUser,
              "lr");
  CHECK_ERROR(with([](auto* spec, auto*) { spec->dropout = 1; }), ErrorKind::kUser, "dropout");
  CHECK_ERROR(with([](auto* spec, auto*) { spec->hidden = {0}; }), ErrorKind::kUser,
              "hidden layer");
  CHECK_ERROR(Fit({.inputs = 4}, Options(), {}, sample), ErrorKind::kUser, "no training rows");
  // More memory than there is: torch's own error, as a status.
  CHECK_ERROR(with([](auto* spec, auto*) { spec->hidden = {int64_t{1} << 50}; }),
              ErrorKind::kInternal, "libtorch");
}

}  // namespace
}  // namespace gnomon::train
