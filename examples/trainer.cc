// Trainer: from labels and a feature service to a tracked run and a model in the repository. The
// features of every label are those that were known at its time, the split is by time.
#include <cstdio>
#include <random>

#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/store/feature_store.h"
#include "train/job/training_job.h"

using gnomon::Concat;
using gnomon::Context;
using gnomon::Status;

namespace {

constexpr const char* kFeatures = R"yaml(
entities: [{name: shop, join_keys: [shop], value_type: INT64}]
data_sources: [{name: events, type: file, path: events.csv, timestamp_field: event_timestamp}]
feature_views:
  - {name: shop_week, entities: [shop], source: events, schema: [{name: visits, dtype: Float64}, {name: rain, dtype: Float64}]}
feature_services: [{name: sales_service, features: [shop_week]}]
)yaml";

// Twenty shops, sixty weeks. A week's row is stamped when the week is over; what a shop sells in
// the next week follows from it, with some noise.
Status WriteData(const std::string& folder) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> visits(0, 100), rain(0, 20), noise(-10, 10);
  std::string events = "shop,event_timestamp,visits,rain\n";
  std::string labels = "shop,event_timestamp,sales\n";
  GNOMON_ASSIGN_OR_RETURN(const int64_t start, gnomon::ParseTimestamp("2025-01-06"));
  for (int week = 0; week < 60; ++week) {
    const std::string time = gnomon::FormatTimestamp(start + 7 * week * gnomon::kMicrosPerDay);
    for (int shop = 0; shop < 20; ++shop) {
      const double v = visits(random), r = rain(random);
      events += Concat(shop, ",", time, ",", v, ",", r, "\n");
      labels += Concat(shop, ",", time, ",", 5 * v - 8 * r + noise(random), "\n");
    }
  }
  GNOMON_RETURN_NOT_OK(gnomon::WriteFileAtomic(folder + "/feature_store.yaml", "project: shops\n"));
  GNOMON_RETURN_NOT_OK(gnomon::WriteFileAtomic(folder + "/features.yaml", kFeatures));
  GNOMON_RETURN_NOT_OK(gnomon::WriteFileAtomic(folder + "/events.csv", events));
  return gnomon::WriteFileAtomic(folder + "/labels.csv", labels);
}

Status Run(const Context& context, const std::string& folder) {
  GNOMON_RETURN_NOT_OK(WriteData(folder));
  GNOMON_ASSIGN_OR_RETURN(auto store, gnomon::feature::FeatureStore::Open(context, folder));
  GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
  GNOMON_RETURN_NOT_OK(store->Apply(context, definitions).status());

  // The same that a training file says (docs/guide/training.md).
  gnomon::train::TrainingConfig config;
  config.name = "sales-model";
  config.experiment = "shops";
  config.feature_service = "sales_service";
  config.entities = "labels.csv";
  config.label = "sales";
  config.test.duration = 8 * 7 * gnomon::kMicrosPerDay;
  config.validation.duration = 4 * 7 * gnomon::kMicrosPerDay;
  config.network.hidden = {16};
  config.fit = {.epochs = 40, .batch_size = 32, .learning_rate = 0.01, .patience = 5, .seed = 7};

  GNOMON_ASSIGN_OR_RETURN(auto runs, gnomon::tracking::OpenLocalRunStore(folder + "/runs"));
  const gnomon::model::ModelRepository models(folder + "/models");
  GNOMON_ASSIGN_OR_RETURN(
      const auto outcome,
      gnomon::train::RunTraining(context, *store, config, *runs, models,
                                 [](const gnomon::train::EpochReport& epoch) {
                                   std::printf("epoch %2lld: validation loss %.5f%s\n",
                                               static_cast<long long>(epoch.epoch),
                                               epoch.validation_loss, epoch.best ? " *" : "");
                                 }));
  for (const auto& [name, value] : outcome.run.metrics)
    std::printf("%s = %g\n", name.c_str(), value);

  // It must have learned the rule, and be there for whoever serves it.
  if (outcome.run.metrics.at("test_r2") < 0.98)
    return gnomon::Error(gnomon::ErrorKind::kInternal, "the model has not learned");
  return models.Load("sales-model", outcome.model_version).status();
}

}  // namespace

int main() {
  auto folder = gnomon::TemporaryFolder::Make("gnomon-example");
  if (!folder.ok()) return 1;
  const Status status = Run(Context{}, folder->path());
  if (!status.ok()) std::fprintf(stderr, "%s\n", gnomon::FormatError(status).c_str());
  return status.ok() ? 0 : 1;
}
