#include "train/job/training_job.h"

#include <utility>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/files.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/plan/feature_plan.h"
#include "table/column.h"
#include "table/file.h"
#include "table/file_system.h"

namespace gnomon::train {
namespace {

/// "20240207-123456" in UTC.
std::string CompactTime(int64_t micros) {
  std::string text;
  for (char character : FormatTimestamp(micros - micros % kMicrosPerSecond)) {
    if (character == 'T') text.push_back('-');
    if (character >= '0' && character <= '9') text.push_back(character);
  }
  return text;
}

std::map<std::string, std::string> ParamsOf(const TrainingConfig& config,
                                            const std::string& fingerprint) {
  std::vector<std::string> hidden;
  for (int64_t width : config.network.hidden) hidden.push_back(std::to_string(width));
  return {{"model", config.name},
          {"task", model::NameOf(config.network.task)},
          {"hidden", Join(hidden, ",")},
          {"activation", model::NameOf(config.network.activation)},
          {"dropout", Concat(config.network.dropout)},
          {"epochs", Concat(config.fit.epochs)},
          {"lr", Concat(config.fit.learning_rate)},
          {"batch_size", Concat(config.fit.batch_size)},
          {"weight_decay", Concat(config.fit.weight_decay)},
          {"patience", Concat(config.fit.patience)},
          {"seed", Concat(config.fit.seed)},
          {"label", config.label},
          {"feature_service", config.feature_service},
          {"feature_service_fingerprint", fingerprint}};
}

/// The table that the model learns from.
Result<std::shared_ptr<arrow::Table>> Retrieve(const Context& context,
                                               const feature::FeatureStore& store,
                                               const TrainingConfig& config) {
  const std::string entities = table::PathBelow(store.config().folder, config.entities);
  feature::FeatureRequest request;
  request.feature_service = config.feature_service;
  GNOMON_ASSIGN_OR_RETURN(auto job, store.GetHistoricalFeatures(request, entities));
  return job->ToTable(context);
}

/// The columns of the retrieved table that are not the entity file's own: only those may be learned
/// from unasked.
Result<std::vector<std::string>> FeatureColumns(const Context& context,
                                                const feature::FeatureStore& store,
                                                const TrainingConfig& config,
                                                const arrow::Table& table) {
  const std::string entities = table::PathBelow(store.config().folder, config.entities);
  GNOMON_ASSIGN_OR_RETURN(auto own, table::ReadSchema(context, entities));
  std::vector<std::string> features = table.schema()->field_names();
  std::erase_if(features, [&](const std::string& name) { return own->GetFieldIndex(name) >= 0; });
  return features;
}

/// Runs the training inside an open run.
Result<TrainingOutcome> TrainInRun(const Context& context, const feature::FeatureStore& store,
                                   const TrainingConfig& config, tracking::RunStore& runs,
                                   const model::ModelRepository& models, const tracking::Run& run,
                                   const std::function<void(const EpochReport&)>& on_epoch) {
  GNOMON_ASSIGN_OR_RETURN(std::string fingerprint,
                          feature::FingerprintOf(*store.definitions(), config.feature_service));
  GNOMON_RETURN_NOT_OK(runs.LogParams(context, run.id, ParamsOf(config, fingerprint)));

  double start = MonotonicSeconds();
  GNOMON_ASSIGN_OR_RETURN(auto table, Retrieve(context, store, config));
  const double retrieve_seconds = MonotonicSeconds() - start;
  GNOMON_ASSIGN_OR_RETURN(std::string data_fingerprint, table::Fingerprint(*table));
  GNOMON_RETURN_NOT_OK(
      runs.SetTags(context, run.id, {{"gnomon.data_fingerprint", data_fingerprint}}));

  start = MonotonicSeconds();
  const model::ModelSource source{.project = store.config().project,
                                  .feature_service = config.feature_service,
                                  .feature_service_fingerprint = fingerprint,
                                  .label = config.label,
                                  .data_fingerprint = data_fingerprint,
                                  .run_id = run.id.value,
                                  .allow_missing_entities = config.allow_missing_entities};
  ProgressPhase phase(context.progress, Concat("train ", config.name), config.fit.epochs, "epochs");
  std::vector<tracking::MetricPoint> points;
  auto report = [&](const EpochReport& epoch) {
    const int64_t now = context.clock->NowMicros();
    points.push_back(
        {.key = "train_loss", .value = epoch.train_loss, .step = epoch.epoch, .timestamp = now});
    points.push_back({.key = "validation_loss",
                      .value = epoch.validation_loss,
                      .step = epoch.epoch,
                      .timestamp = now});
    phase.Advance(1);
    if (on_epoch) on_epoch(epoch);
  };
  TrainingConfig with_features = config;
  GNOMON_ASSIGN_OR_RETURN(with_features.features, FeatureColumns(context, store, config, *table));
  GNOMON_ASSIGN_OR_RETURN(TrainingResult result,
                          Train(context, with_features, *table, source, report));
  const double train_seconds = MonotonicSeconds() - start;

  for (const auto& [key, value] : result.metrics) {
    points.push_back(
        {.key = key, .value = value, .step = 0, .timestamp = context.clock->NowMicros()});
  }
  GNOMON_RETURN_NOT_OK(runs.LogMetrics(context, run.id, points));
  GNOMON_RETURN_NOT_OK(FaultPoint("train.before_save"));
  GNOMON_ASSIGN_OR_RETURN(TemporaryFolder folder, TemporaryFolder::Make("gnomon-model"));
  const std::string saved = Concat(folder.path(), "/model");
  GNOMON_RETURN_NOT_OK(result.model.Save(saved));
  GNOMON_RETURN_NOT_OK(runs.LogArtifact(context, run.id, saved, "model"));
  GNOMON_ASSIGN_OR_RETURN(int64_t version, models.Add(result.model));
  GNOMON_RETURN_NOT_OK(runs.SetTags(
      context, run.id,
      {{"gnomon.model", config.name}, {"gnomon.model_version", std::to_string(version)}}));
  return TrainingOutcome{.run = run,
                         .model_version = version,
                         .rows = table->num_rows(),
                         .retrieve_seconds = retrieve_seconds,
                         .train_seconds = train_seconds,
                         .result = std::move(result)};
}

}  // namespace

Result<TrainingOutcome> RunTraining(const Context& context, const feature::FeatureStore& store,
                                    const TrainingConfig& config, tracking::RunStore& runs,
                                    const model::ModelRepository& models,
                                    const std::function<void(const EpochReport&)>& on_epoch) {
  const std::string name =
      Concat(config.run_name_prefix, "-", CompactTime(context.clock->NowMicros()));
  GNOMON_ASSIGN_OR_RETURN(
      tracking::Run run,
      runs.CreateRun(context, config.experiment, name,
                     {{"mlflow.source.type", "LOCAL"}, {"mlflow.source.name", "gnomon train"}}));
  auto outcome = TrainInRun(context, store, config, runs, models, run, on_epoch);
  auto status = tracking::RunStatus::kFinished;
  if (!outcome.ok()) {
    status = KindOf(outcome.status()) == ErrorKind::kCancelled ? tracking::RunStatus::kKilled
                                                               : tracking::RunStatus::kFailed;
  }
  // A cancelled caller still gets its run closed.
  Context record = context;
  record.stop = {};
  record.deadline = {};
  const Status ended = runs.EndRun(record, run.id, status);
  GNOMON_RETURN_NOT_OK(outcome.status());
  GNOMON_RETURN_NOT_OK(ended);
  GNOMON_ASSIGN_OR_RETURN(outcome->run, runs.GetRun(record, run.id.value));
  return outcome;
}

}  // namespace gnomon::train
