#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "model/feature_column.h"
#include "model/metrics.h"
#include "table/column.h"
#include "train/baseline_internal.h"

namespace gnomon::train {

namespace {

constexpr const char* kTimeColumn = "event_timestamp";

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

template <typename T>
std::vector<T> Pick(const std::vector<T>& values, const std::vector<int64_t>& rows) {
  std::vector<T> picked;
  picked.reserve(rows.size());
  for (const int64_t row : rows) picked.push_back(values[static_cast<size_t>(row)]);
  return picked;
}

// The labels, NaN where there is none.
Result<std::vector<double>> Labels(const arrow::RecordBatch& batch, const TrainingConfig& config) {
  GNOMON_ASSIGN_OR_RETURN(const auto column, ColumnNamed(batch, config.label, "label"));
  GNOMON_ASSIGN_OR_RETURN(const model::FeatureKind kind,
                          model::FeatureKindOf(*column->type(), config.label));
  if (kind == model::FeatureKind::kText || table::IsTime(*column->type())) {
    return Error(ErrorKind::kUser, "the label ", Quoted(config.label), " is not a number but ",
                 column->type()->ToString());
  }
  GNOMON_ASSIGN_OR_RETURN(std::vector<double> labels, model::NumberColumn(*column));
  if (config.network.task == model::Task::kBinaryClassification) {
    for (size_t row = 0; row < labels.size(); ++row) {
      if (std::isnan(labels[row]) || labels[row] == 0 || labels[row] == 1) continue;
      return MakeError(ErrorKind::kUser,
                       Concat("the label of a binary classification must be 0 or 1, but ",
                              Quoted(config.label), " is ", labels[row]),
                       {.file = {}, .row = static_cast<int64_t>(row)});
    }
  }
  return labels;
}

// Times of `rows`.
Result<std::vector<int64_t>> Times(const arrow::RecordBatch& batch,
                                   const std::vector<int64_t>& rows) {
  GNOMON_ASSIGN_OR_RETURN(const auto column, ColumnNamed(batch, kTimeColumn, "the time of a row"));
  if (!table::IsTime(*column->type())) {
    return Error(ErrorKind::kUser, "column ", kTimeColumn, " is not a time but ",
                 column->type()->ToString());
  }
  for (const int64_t row : rows) {
    if (column->IsNull(row))
      return MakeError(ErrorKind::kUser, Concat(kTimeColumn, " is null"), {.file = {}, .row = row});
  }
  GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> times, table::TimesAsMicros(*column));
  return Pick(times, rows);
}

Result<TimeSplit> SplitRows(const std::vector<int64_t>& labelled, const std::vector<int64_t>& times,
                            const TrainingConfig& config) {
  GNOMON_ASSIGN_OR_RETURN(TimeSplit split, SplitByTime(times, config.validation, config.test));
  for (std::vector<int64_t>* part : {&split.training, &split.validation, &split.test}) {
    *part = Pick(labelled, *part);
  }
  return split;
}

// The columns to learn from, as trainer.h says at `inputs` and `features`.
Result<std::vector<std::string>> InputColumns(const arrow::RecordBatch& batch,
                                              const TrainingConfig& config) {
  std::vector<std::string> inputs;
  if (!config.inputs.empty()) {
    for (const std::string& name : config.inputs) {
      GNOMON_RETURN_NOT_OK(ColumnNamed(batch, name, "inputs").status());
      if (name == config.label)
        return Error(ErrorKind::kUser, "the label cannot be an input: ", Quoted(name));
      inputs.push_back(name);
    }
  } else {
    for (const std::shared_ptr<arrow::Field>& field : batch.schema()->fields()) {
      const std::string& name = field->name();
      const bool is_feature = config.features.empty() ? !Contains(config.baseline_group_mean, name)
                                                      : Contains(config.features, name);
      if (!is_feature || name == config.label || name == kTimeColumn) continue;
      if (table::IsTime(*field->type()) || !model::FeatureKindOf(*field->type(), name).ok())
        continue;
      inputs.push_back(name);
    }
  }
  for (const std::string& name : config.drop)
    GNOMON_RETURN_NOT_OK(ColumnNamed(batch, name, "drop").status());
  std::erase_if(inputs, [&](const std::string& name) { return Contains(config.drop, name); });
  if (inputs.empty())
    return Error(ErrorKind::kUser, "no column of the training table can be an input");
  return inputs;
}

model::TargetScale FitTarget(const std::vector<double>& labels, model::Task task) {
  model::TargetScale target;
  if (task != model::Task::kRegression) return target;
  const auto count = static_cast<double>(labels.size());
  double sum = 0;
  for (const double label : labels) sum += label - labels.front();
  target.mean = labels.front() + sum / count;
  double squares = 0;
  for (const double label : labels) squares += (label - target.mean) * (label - target.mean);
  const double scale = std::sqrt(squares / count);
  if (scale > 0) target.scale = scale;
  return target;
}

// What the network sees of a part: scaled inputs and labels.
struct NetworkRows {
  std::vector<float> x;
  std::vector<float> y;
  FitData data() const { return {.x = x, .y = y}; }
};

NetworkRows PickNetworkRows(const std::vector<float>& inputs, int64_t width,
                            const std::vector<double>& labels, const model::TargetScale& target,
                            const std::vector<int64_t>& rows) {
  NetworkRows picked;
  picked.x.reserve(rows.size() * static_cast<size_t>(width));
  picked.y.reserve(rows.size());
  for (const int64_t row : rows) {
    const auto first = inputs.begin() + row * width;
    picked.x.insert(picked.x.end(), first, first + width);
    picked.y.push_back(
        static_cast<float>((labels[static_cast<size_t>(row)] - target.mean) / target.scale));
  }
  return picked;
}

// The input columns of some rows.
Result<std::shared_ptr<arrow::RecordBatch>> GatherRows(const arrow::RecordBatch& batch,
                                                       const std::vector<std::string>& columns,
                                                       const std::vector<int64_t>& rows) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (const std::string& name : columns) {
    GNOMON_ASSIGN_OR_RETURN(auto array,
                            table::Gather(arrow::ChunkedArray(batch.GetColumnByName(name)), rows));
    fields.push_back(batch.schema()->GetFieldByName(name));
    arrays.push_back(std::move(array));
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), std::ssize(rows), arrays);
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Wrong names are found before the training, not after it.
Status CheckBaselines(const arrow::RecordBatch& batch, const TrainingConfig& config) {
  if (config.network.task != model::Task::kRegression) return Status::OK();
  if (!config.baseline_last_value.empty()) {
    GNOMON_RETURN_NOT_OK(LastValueBaseline(batch, config.baseline_last_value, {}, 0).status());
  }
  if (config.baseline_group_mean.empty()) return Status::OK();
  return GroupMeanBaseline(batch, config.baseline_group_mean, {}, {}, {}, 0).status();
}

// The metrics of the test part: the model's and the baselines'.
Status Evaluate(const arrow::RecordBatch& batch, const TrainingConfig& config,
                const std::vector<double>& labels, TrainingResult* result) {
  const TimeSplit& split = result->split;
  std::map<std::string, double>& metrics = result->metrics;
  const std::vector<double>& actual = result->test_actual;
  const double training_mean = Mean(Pick(labels, split.training));
  const std::vector<double> constant(actual.size(), training_mean);
  if (config.network.task == model::Task::kBinaryClassification) {
    const auto model = model::EvaluateClassification(actual, result->test_predicted);
    const auto base_rate = model::EvaluateClassification(actual, constant);
    metrics.insert({{"test_auc", model.auc},
                    {"test_log_loss", model.log_loss},
                    {"test_accuracy", model.accuracy},
                    {"baseline_base_rate_log_loss", base_rate.log_loss},
                    {"baseline_base_rate_auc", base_rate.auc}});
    return Status::OK();
  }
  const auto model = model::EvaluateRegression(actual, result->test_predicted);
  metrics.insert({{"test_mse", model.mse},
                  {"test_mae", model.mae},
                  {"test_r2", model.r2},
                  {"baseline_mean_mse", model::EvaluateRegression(actual, constant).mse}});
  if (!config.baseline_last_value.empty()) {
    GNOMON_ASSIGN_OR_RETURN(const auto last, LastValueBaseline(batch, config.baseline_last_value,
                                                               split.test, training_mean));
    metrics["baseline_last_value_mse"] = model::EvaluateRegression(actual, last).mse;
  }
  if (!config.baseline_group_mean.empty()) {
    std::vector<int64_t> known = split.training;
    known.insert(known.end(), split.validation.begin(), split.validation.end());
    GNOMON_ASSIGN_OR_RETURN(const auto mean,
                            GroupMeanBaseline(batch, config.baseline_group_mean, labels, known,
                                              split.test, training_mean));
    metrics["baseline_group_mean_mse"] = model::EvaluateRegression(actual, mean).mse;
  }
  return Status::OK();
}

}  // namespace

Result<TrainingResult> Train(const Context& context, const TrainingConfig& config,
                             const arrow::Table& table, const model::ModelSource& source,
                             const std::function<void(const EpochReport&)>& on_epoch) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_RETURN_NOT_OK(model::CheckModelName(config.name));
  GNOMON_ASSIGN_OR_RETURN(const auto batch, table::SingleBatch(table));
  GNOMON_RETURN_NOT_OK(CheckBaselines(*batch, config));
  GNOMON_ASSIGN_OR_RETURN(const std::vector<double> labels, Labels(*batch, config));
  std::vector<int64_t> labelled;
  for (int64_t row = 0; row < batch->num_rows(); ++row) {
    if (!std::isnan(labels[static_cast<size_t>(row)])) labelled.push_back(row);
  }
  if (labelled.empty()) {
    return Error(ErrorKind::kUser, "there is nothing to learn: no row has a label ",
                 Quoted(config.label));
  }
  GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> times, Times(*batch, labelled));
  GNOMON_ASSIGN_OR_RETURN(TimeSplit split, SplitRows(labelled, times, config));

  GNOMON_ASSIGN_OR_RETURN(const std::vector<std::string> columns, InputColumns(*batch, config));
  GNOMON_ASSIGN_OR_RETURN(model::Preprocessor preprocessor,
                          model::Preprocessor::Fit(*batch, columns, split.training));
  const model::TargetScale target = FitTarget(Pick(labels, split.training), config.network.task);
  model::MlpSpec spec = config.network;
  spec.inputs = preprocessor.inputs();
  GNOMON_RETURN_NOT_OK(context.Check());

  NetworkRows training;
  NetworkRows validation;
  {
    GNOMON_ASSIGN_OR_RETURN(const std::vector<float> inputs, preprocessor.Transform(*batch));
    training = PickNetworkRows(inputs, spec.inputs, labels, target, split.training);
    validation = PickNetworkRows(inputs, spec.inputs, labels, target, split.validation);
  }
  GNOMON_ASSIGN_OR_RETURN(NetworkTrainer* const trainer, LoadNetworkTrainer());
  GNOMON_ASSIGN_OR_RETURN(FitResult fit, trainer->Fit(context, spec, config.fit, training.data(),
                                                      validation.data(), on_epoch));
  GNOMON_ASSIGN_OR_RETURN(model::Mlp mlp, model::Mlp::Make(spec, std::move(fit.layers)));
  GNOMON_ASSIGN_OR_RETURN(
      model::Model model,
      model::Model::Make(config.name, source, std::move(preprocessor), std::move(mlp), target));

  GNOMON_ASSIGN_OR_RETURN(const auto test_rows, GatherRows(*batch, columns, split.test));
  GNOMON_ASSIGN_OR_RETURN(std::vector<double> predicted, model.Predict(context, *test_rows));
  GNOMON_ASSIGN_OR_RETURN(std::vector<int64_t> test_times, Times(*batch, split.test));
  TrainingResult result{.model = std::move(model),
                        .split = std::move(split),
                        .epochs = std::move(fit.epochs),
                        .best_epoch = fit.best_epoch,
                        .metrics = {},
                        .test_actual = {},
                        .test_predicted = std::move(predicted),
                        .test_times = std::move(test_times)};
  result.test_actual = Pick(labels, result.split.test);
  const auto count = [](const auto& rows) { return static_cast<double>(rows.size()); };
  const EpochReport& best = result.epochs[static_cast<size_t>(result.best_epoch - 1)];
  result.metrics = {{"best_epoch", static_cast<double>(result.best_epoch)},
                    {"epochs_run", count(result.epochs)},
                    {"best_validation_loss", best.validation_loss},
                    {"network_inputs", static_cast<double>(spec.inputs)},
                    {"training_rows", count(result.split.training)},
                    {"validation_rows", count(result.split.validation)},
                    {"test_rows", count(result.split.test)},
                    {"null_label_rows", static_cast<double>(batch->num_rows()) - count(labelled)}};
  GNOMON_RETURN_NOT_OK(Evaluate(*batch, config, labels, &result));
  return result;
}

}  // namespace gnomon::train
