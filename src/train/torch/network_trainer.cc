#include "train/network_trainer.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include <ATen/Parallel.h>
#include <torch/nn/functional/activation.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/adam.h>
#include <torch/types.h>

#include "base/clock.h"
#include "base/parallel.h"
#include "base/text.h"

/// The one file of libgnomon_torch.so. Parameters live in one flat tensor with a view for each
/// layer, and so do their gradients: an optimiser step is a dozen operations on one small tensor
/// instead of a dozen for each layer.
namespace gnomon::train {

namespace {

using model::Activation;
using model::Task;
using torch::Tensor;

// Torch's exceptions end here.
template <typename T, typename Body>
Result<T> TorchCall(const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory in libtorch");
  } catch (const c10::Error& error) {
    return Error(ErrorKind::kInternal,
                 "libtorch: ", std::string_view(error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return Error(ErrorKind::kInternal, "libtorch: ", std::string_view(error.what()));
  }
}

// A view of floats that somebody else owns. Torch has no tensor of constants; it is only read.
Tensor ViewOf(std::span<const float> values, at::IntArrayRef shape) {
  return torch::from_blob(const_cast<float*>(values.data()), shape, torch::kFloat32);
}

Tensor Activate(Activation activation, const Tensor& x) {
  switch (activation) {
    case Activation::kRelu:
      return torch::relu(x);
    case Activation::kTanh:
      return torch::tanh(x);
    case Activation::kGelu:
      return torch::gelu(x);
    case Activation::kSilu:
      return torch::silu(x);
  }
  return x;
}

class Network {
 public:
  // Weights and biases uniform in +-1/sqrt(inputs), as torch.nn.Linear's.
  Network(const model::MlpSpec& spec, const at::Generator& generator)
      : spec_(spec), generator_(generator) {
    std::vector<int64_t> widths = {spec.inputs};
    widths.insert(widths.end(), spec.hidden.begin(), spec.hidden.end());
    widths.push_back(1);
    int64_t size = 0;
    for (size_t i = 0; i + 1 < widths.size(); ++i) size += (widths[i] + 1) * widths[i + 1];
    flat_ = torch::empty({size}, torch::kFloat32);
    gradient_ = torch::zeros({size}, torch::kFloat32);
    int64_t offset = 0;
    const auto add = [&](std::vector<int64_t> shape, int64_t count, double bound) {
      Tensor view = flat_.narrow(0, offset, count).view(shape).detach();
      view.uniform_(-bound, bound, generator_);
      view.requires_grad_(true);
      // An existing gradient is added to in place.
      view.mutable_grad() = gradient_.narrow(0, offset, count).view(shape);
      offset += count;
      return view;
    };
    for (size_t i = 0; i + 1 < widths.size(); ++i) {
      const int64_t inputs = widths[i];
      const int64_t outputs = widths[i + 1];
      const double bound = 1 / std::sqrt(static_cast<double>(inputs));
      weights_.push_back(add({outputs, inputs}, inputs * outputs, bound));
      biases_.push_back(add({outputs}, outputs, bound));
    }
    flat_.mutable_grad() = gradient_;
  }

  Tensor& flat() { return flat_; }
  Tensor& gradient() { return gradient_; }

  // x: [rows, inputs] -> [rows], the output before the link.
  Tensor Forward(const Tensor& x, bool training) const {
    Tensor h = x;
    for (size_t i = 0; i < weights_.size(); ++i) {
      h = torch::addmm(biases_[i], h, weights_[i].t());
      if (i + 1 == weights_.size()) break;
      h = Activate(spec_.activation, h);
      if (training && spec_.dropout > 0) h = Dropout(h);
    }
    return h.squeeze(1);
  }

  // The mean over the rows.
  Tensor Loss(const Tensor& output, const Tensor& y) const {
    if (spec_.task == Task::kRegression) return torch::mse_loss(output, y);
    return torch::binary_cross_entropy_with_logits(output, y);
  }

  std::vector<model::DenseLayer> Layers() const {
    const torch::NoGradGuard no_gradients;
    std::vector<model::DenseLayer> layers;
    for (size_t i = 0; i < weights_.size(); ++i) {
      layers.push_back({.inputs = weights_[i].size(1),
                        .outputs = weights_[i].size(0),
                        .weight = Values(weights_[i]),
                        .bias = Values(biases_[i])});
    }
    return layers;
  }

 private:
  // With our own generator: torch::dropout draws from the process's.
  Tensor Dropout(const Tensor& h) const {
    const double keep = 1 - spec_.dropout;
    return h * torch::empty_like(h, at::TensorOptions().requires_grad(false))
                   .bernoulli_(keep, generator_)
                   .div_(keep);
  }

  static std::vector<float> Values(const Tensor& tensor) {
    const Tensor dense = tensor.contiguous();
    const float* first = dense.const_data_ptr<float>();
    return {first, first + dense.numel()};
  }

  const model::MlpSpec& spec_;
  at::Generator generator_;
  Tensor flat_;                  // [all parameters]
  Tensor gradient_;              // [all parameters]
  std::vector<Tensor> weights_;  // views of flat_: [outputs, inputs]
  std::vector<Tensor> biases_;   // views of flat_: [outputs]
};

Status CheckOptions(const model::MlpSpec& spec, const FitOptions& options, const FitData& training,
                    const FitData& validation) {
  for (const FitData* data : {&training, &validation}) {
    GNOMON_CHECK(data->x.size() == data->y.size() * static_cast<size_t>(spec.inputs),
                 data->x.size(), " values, ", data->y.size(), " rows");
  }
  if (training.y.empty()) return Error(ErrorKind::kUser, "there are no training rows");
  if (spec.inputs < 1) return Error(ErrorKind::kUser, "a network needs at least one input");
  for (const int64_t width : spec.hidden) {
    if (width < 1)
      return Error(ErrorKind::kUser, "the width of a hidden layer is not positive: ", width);
  }
  if (!(spec.dropout >= 0 && spec.dropout < 1)) {
    return Error(ErrorKind::kUser, "dropout must be at least 0 and less than 1: ", spec.dropout);
  }
  if (options.epochs < 1)
    return Error(ErrorKind::kUser, "epochs must be positive: ", options.epochs);
  if (options.batch_size < 1)
    return Error(ErrorKind::kUser, "batch_size must be positive: ", options.batch_size);
  if (!(options.learning_rate > 0) || !std::isfinite(options.learning_rate)) {
    return Error(ErrorKind::kUser, "lr must be positive: ", options.learning_rate);
  }
  return Status::OK();
}

// One thread for each 200 million operations of a step (forward and backward: six for each weight
// and row).
int ThreadsFor(const model::MlpSpec& spec, const FitOptions& options) {
  if (options.threads > 0) return options.threads;
  constexpr double kWorth = 2e8;
  double weights = 0;
  int64_t inputs = spec.inputs;
  for (const int64_t width : spec.hidden) {
    weights += static_cast<double>(inputs) * static_cast<double>(width);
    inputs = width;
  }
  const double work = 6 * weights * static_cast<double>(options.batch_size);
  return static_cast<int>(std::clamp(work / kWorth, 1.0, static_cast<double>(NumCpus())));
}

Status Diverged(int64_t epoch, double learning_rate) {
  return MakeError(
      ErrorKind::kUser,
      Concat("training diverged in epoch ", epoch, ": the loss is not a finite number"), {},
      Concat("use a lower learning rate than lr: ", learning_rate));
}

// One training: the state between epochs.
class Fitting {
 public:
  Fitting(const Context& context, const model::MlpSpec& spec, const FitOptions& options,
          const FitData& training, const FitData& validation)
      : context_(context),
        spec_(spec),
        options_(options),
        training_(training),
        validation_(validation),
        generator_(at::make_generator<at::CPUGeneratorImpl>(options.seed)),
        network_(spec, generator_),
        optimizer_(
            std::vector<Tensor>{network_.flat()},
            torch::optim::AdamOptions(options.learning_rate).weight_decay(options.weight_decay)) {}

  Result<FitResult> Run(const std::function<void(const EpochReport&)>& on_epoch) {
    FitResult result;
    double best_loss = std::numeric_limits<double>::infinity();
    Tensor best = network_.flat().clone();
    for (int64_t epoch = 1; epoch <= options_.epochs; ++epoch) {
      const double start = MonotonicSeconds();
      EpochReport report{.epoch = epoch};
      GNOMON_ASSIGN_OR_RETURN(report.train_loss, TrainEpoch());
      report.validation_loss = report.train_loss;
      if (!validation_.y.empty()) {
        GNOMON_ASSIGN_OR_RETURN(report.validation_loss, Validate());
      }
      if (!std::isfinite(report.train_loss) || !std::isfinite(report.validation_loss)) {
        return Diverged(epoch, options_.learning_rate);
      }
      report.seconds = MonotonicSeconds() - start;
      report.best = report.validation_loss < best_loss;
      if (report.best) {
        best_loss = report.validation_loss;
        best.copy_(network_.flat());
        result.best_epoch = epoch;
      }
      result.epochs.push_back(report);
      if (on_epoch) on_epoch(report);
      if (options_.patience > 0 && epoch - result.best_epoch >= options_.patience) break;
    }
    network_.flat().copy_(best);
    result.layers = network_.Layers();
    return result;
  }

 private:
  // The mean loss over the rows, with the weights as they were at each step; not finite as soon as
  // a step's is not.
  Result<double> TrainEpoch() {
    const auto rows = static_cast<int64_t>(training_.y.size());
    const Tensor x = ViewOf(training_.x, {rows, spec_.inputs});
    const Tensor y = ViewOf(training_.y, {rows});
    const Tensor order = torch::randperm(rows, generator_, torch::kInt64);
    double loss_sum = 0;
    for (int64_t begin = 0; begin < rows; begin += options_.batch_size) {
      GNOMON_RETURN_NOT_OK(context_.Check());
      const int64_t count = std::min(options_.batch_size, rows - begin);
      const Tensor batch = order.narrow(0, begin, count);
      const Tensor loss = network_.Loss(
          network_.Forward(x.index_select(0, batch), /*training=*/true), y.index_select(0, batch));
      network_.gradient().zero_();
      loss.backward();
      optimizer_.step();
      loss_sum += loss.item<double>() * static_cast<double>(count);
      if (!std::isfinite(loss_sum)) break;
    }
    return loss_sum / static_cast<double>(rows);
  }

  Result<double> Validate() const {
    constexpr int64_t kBatch = 16'384;
    const torch::NoGradGuard no_gradients;
    const auto rows = static_cast<int64_t>(validation_.y.size());
    const Tensor x = ViewOf(validation_.x, {rows, spec_.inputs});
    const Tensor y = ViewOf(validation_.y, {rows});
    double loss_sum = 0;
    for (int64_t begin = 0; begin < rows; begin += kBatch) {
      GNOMON_RETURN_NOT_OK(context_.Check());
      const int64_t count = std::min(kBatch, rows - begin);
      const Tensor output = network_.Forward(x.narrow(0, begin, count), /*training=*/false);
      loss_sum += network_.Loss(output, y.narrow(0, begin, count)).item<double>() *
                  static_cast<double>(count);
    }
    return loss_sum / static_cast<double>(rows);
  }

  const Context& context_;
  const model::MlpSpec& spec_;
  const FitOptions& options_;
  const FitData& training_;
  const FitData& validation_;
  at::Generator generator_;
  Network network_;
  torch::optim::Adam optimizer_;
};

class TorchNetworkTrainer final : public NetworkTrainer {
 public:
  Result<FitResult> Fit(const Context& context, const model::MlpSpec& spec,
                        const FitOptions& options, const FitData& training,
                        const FitData& validation,
                        const std::function<void(const EpochReport&)>& on_epoch) override {
    GNOMON_RETURN_NOT_OK(CheckOptions(spec, options, training, validation));
    return TorchCall<FitResult>([&] {
      at::set_num_threads(ThreadsFor(spec, options));
      return Fitting(context, spec, options, training, validation).Run(on_epoch);
    });
  }

  Result<std::vector<float>> Forward(const model::Mlp& mlp, std::span<const float> x) override {
    return TorchCall<std::vector<float>>([&]() -> Result<std::vector<float>> {
      const torch::NoGradGuard no_gradients;
      const int64_t inputs = mlp.spec().inputs;
      Tensor h = ViewOf(x, {static_cast<int64_t>(x.size()) / inputs, inputs});
      for (size_t i = 0; i < mlp.layers().size(); ++i) {
        const model::DenseLayer& layer = mlp.layers()[i];
        h = torch::addmm(ViewOf(layer.bias, {layer.outputs}), h,
                         ViewOf(layer.weight, {layer.outputs, layer.inputs}).t());
        if (i + 1 < mlp.layers().size()) h = Activate(mlp.spec().activation, h);
      }
      h = h.contiguous();
      const float* first = h.const_data_ptr<float>();
      return std::vector<float>(first, first + h.numel());
    });
  }
};

}  // namespace

}  // namespace gnomon::train

/// What the program looks up after dlopen. The version changes with the interface in
/// train/network_trainer.h.
extern "C" __attribute__((visibility("default"))) gnomon::train::NetworkTrainer*
gnomon_network_trainer_v1() {
  static gnomon::train::TorchNetworkTrainer trainer;
  return &trainer;
}
