#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "model/mlp.h"

/// The seam to libtorch: what libgnomon_torch.so, opened when first needed, gives to the trainer.
/// No torch type is visible here.
namespace gnomon::train {

struct FitOptions {
  int64_t epochs = 20;
  int64_t batch_size = 1024;
  double learning_rate = 1e-3;
  double weight_decay = 0;
  /// Ends when the validation loss has not become better for this many epochs; 0: never. The best
  /// epoch's weights are kept.
  int64_t patience = 3;
  uint64_t seed = 0;
  /// Of libtorch. 0: as many as a step's work is worth, NumCpus() at most. Small networks are
  /// fastest with one: its threads wait for each other several times a step, and on a machine that
  /// has other work to do such a wait takes a time slice.
  int threads = 0;
};

struct EpochReport {
  int64_t epoch = 0;  ///< from 1
  double train_loss = 0;
  double validation_loss = 0;
  double seconds = 0;
  bool best = false;
};

/// x: [rows, spec.inputs] row-major; y: [rows] (scaled target, or 0/1).
struct FitData {
  std::span<const float> x;
  std::span<const float> y;
};

struct FitResult {
  std::vector<model::DenseLayer> layers;
  std::vector<EpochReport> epochs;
  int64_t best_epoch = 0;
};

/// Adam on mini-batches, shuffled by the seed each epoch. The same seed, data and thread count give
/// the same weights.
class NetworkTrainer {
 public:
  virtual ~NetworkTrainer() = default;
  virtual Result<FitResult> Fit(const Context& context, const model::MlpSpec& spec,
                                const FitOptions& options, const FitData& training,
                                const FitData& validation,
                                const std::function<void(const EpochReport&)>& on_epoch) = 0;
  /// Forward pass by libtorch, for tests of model::Mlp: [rows].
  virtual Result<std::vector<float>> Forward(const model::Mlp& mlp, std::span<const float> x) = 0;
};

/// Opens libgnomon_torch.so (beside libgnomon.so or the program, then the loader's path).
/// kUnavailable says which file was looked for and why it failed. Opened once per process.
Result<NetworkTrainer*> LoadNetworkTrainer();

}  // namespace gnomon::train
