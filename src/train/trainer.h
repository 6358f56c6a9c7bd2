#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "model/model.h"
#include "train/network_trainer.h"

namespace gnomon::train {

/// A training file (docs/guide/training.md):
///
///   name: sales-model
///   experiment: sales
///   feature_service: sales_service
///   entities: data/labels.parquet       # entity rows with event_timestamp and the label
///   label: weekly_sales
///   split: {test: 8w, validation: 4w}   # the last 8 weeks by event_timestamp, the 4 before them;
///   or fractions 0.2 model: {type: mlp, task: regression, hidden: [64, 32], activation: relu,
///   dropout: 0.0} optimizer: {lr: 0.001, weight_decay: 0.0, batch_size: 1024, epochs: 30,
///   patience: 4} baselines: {last_value: lag_1, group_mean: [store, dept]}   # optional, reported
///   beside the model seed: 7
struct TrainingConfig {
  std::string name;
  std::string experiment;
  std::string feature_service;
  std::string entities;  ///< path, relative to the repository
  std::string label;
  std::string run_name_prefix;    ///< "<prefix>-<UTC time>"; by default the name without "-model"
                                  ///< plus "-training"
  std::vector<std::string> drop;  ///< retrieved columns that are no inputs
  bool allow_missing_entities = false;  ///< when serving, see model::ModelSource
  /// The columns to learn from, of any kind that a preprocessor takes. Empty: every number, bool
  /// and text among `features`; lists, times and binaries among them are left out.
  std::vector<std::string> inputs;
  /// Which columns of the table are features; not in the file, the caller that retrieved them
  /// knows. Empty: all but the label, event_timestamp and the columns of baseline_group_mean.
  std::vector<std::string> features;
  struct Part {
    std::optional<int64_t> duration;  ///< microseconds at the end of the time range
    double fraction = 0;              ///< of the distinct times when there is no duration
  };
  Part test{.duration = {}, .fraction = 0.2};
  Part validation{.duration = {}, .fraction = 0.1};
  model::MlpSpec network;           ///< inputs are filled in by the trainer
  FitOptions fit;                   ///< seed is `seed`; threads is optimizer's `threads`
  std::string baseline_last_value;  ///< a feature column, or empty
  std::vector<std::string> baseline_group_mean;  ///< entity columns, or empty
};
Result<TrainingConfig> ParseTrainingConfig(const ConfigNode& root);

/// Rows by time: everything before `validation_start` trains, then validation, from `test_start` on
/// test.
struct TimeSplit {
  int64_t validation_start = 0;  ///< microseconds
  int64_t test_start = 0;
  std::vector<int64_t> training, validation, test;  ///< row numbers
};
/// A duration counts back from the last time of what is left, exclusively: `8w` of weekly data are
/// its last 8 weeks. The validation part is cut from what the test part leaves. Both starts are
/// times that occur. kUser when a part would be empty.
Result<TimeSplit> SplitByTime(const std::vector<int64_t>& times,
                              const TrainingConfig::Part& validation,
                              const TrainingConfig::Part& test);

struct TrainingResult {
  model::Model model;
  TimeSplit split;
  std::vector<EpochReport> epochs;
  int64_t best_epoch = 0;
  /// test_mse, test_mae, test_r2, baseline_mean_mse and, where configured, baseline_last_value_mse
  /// and baseline_group_mean_mse; or test_auc, test_log_loss, test_accuracy,
  /// baseline_base_rate_log_loss and baseline_base_rate_auc. Also best_epoch, epochs_run,
  /// best_validation_loss (of the scaled target), network_inputs, training_rows, validation_rows,
  /// test_rows, null_label_rows.
  std::map<std::string, double> metrics;
  std::vector<double> test_actual;
  std::vector<double> test_predicted;  ///< by the saved model's own code
  std::vector<int64_t> test_times;
};

/// Trains on a table of entity rows with features; the time is in `event_timestamp`. Splits by
/// time, fits the preprocessor on the training part only, scales the target by it, fits the
/// network, evaluates on the test part beside the baselines (which see only what was known:
/// training and validation labels for the group mean, the named feature for the last value; a
/// missing baseline value falls back to the training mean). Rows with a null label are left out and
/// counted. The label of a binary classification is 0 or 1, or a bool. Memory: about 8 bytes for
/// each row and network input beside the table.
Result<TrainingResult> Train(const Context& context, const TrainingConfig& config,
                             const arrow::Table& table, const model::ModelSource& source,
                             const std::function<void(const EpochReport&)>& on_epoch = {});

}  // namespace gnomon::train
