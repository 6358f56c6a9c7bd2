#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "demo/demo.h"
#include "demo/plot.h"
#include "demo/workspace.h"
#include "feature/store/feature_store.h"
#include "net/json.h"
#include "train/job/training_job.h"

/// What the demos have in common: the steps from apply to serving, and how they are told.
namespace gnomon::demo {

/// What a flow leaves for its report.
struct Flow {
  Steps steps;
  feature::MaterializationJob job;
  std::optional<train::TrainingOutcome> training;
  Latency latency;
  std::string first_request;
  std::string first_reply;

  /// Of the training run; 0 when it was not logged.
  double Metric(const std::string& key) const;
};

/// The steps "apply" and "materialize" on the repository in the demo's folder.
Result<std::unique_ptr<feature::FeatureStore>> ApplyAndMaterialize(const Context& context,
                                                                   const DemoOptions& options,
                                                                   int64_t start, int64_t end,
                                                                   Flow* flow);

/// Runs training.yaml of the demo's folder with the demo's seed: the steps "historical features"
/// and "train and track".
Status TrainModel(const Context& context, const DemoOptions& options,
                  const feature::FeatureStore& store, Flow* flow);

/// A model server with one model on a free port of loopback; ends with the object.
class ServedModel {
 public:
  /// `store` outlives it. Windows and TTL count back from `as_of`.
  static Result<std::unique_ptr<ServedModel>> Start(const feature::FeatureStore& store,
                                                    const std::string& model, int64_t as_of);
  virtual ~ServedModel() = default;
  /// Where predictions are asked for.
  virtual std::string predict_url() const = 0;
};

/// The members "steps" and "total_seconds" of the demo's JSON.
void AppendSteps(const Steps& steps, net::JsonWriter* json);
/// A line for each step.
std::string StepsText(const Steps& steps);
std::vector<Bar> StepBars(const Steps& steps);
/// Training and validation loss by epoch.
std::vector<Series> LossSeries(const train::TrainingResult& result);
/// A histogram in milliseconds.
std::string LatencyPlot(const Latency& latency);

/// With so many digits behind the point.
std::string Fixed(double value, int digits);

}  // namespace gnomon::demo
