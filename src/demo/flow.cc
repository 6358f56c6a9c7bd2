#include "demo/flow.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/clock.h"
#include "base/config.h"
#include "base/metrics.h"
#include "base/text.h"
#include "base/time.h"
#include "model_server/model_server.h"
#include "net/server.h"
#include "tracking/run_store.h"

namespace gnomon::demo {
namespace {

class LoopbackModel : public ServedModel {
 public:
  LoopbackModel(model_server::Models models, std::string model)
      : models_(std::move(models)), model_(std::move(model)) {}
  ~LoopbackModel() override {
    if (server_ != nullptr) server_->Stop();
  }

  Status Start(int64_t as_of) {
    net::ServerOptions options;
    options.name = "gnomon-model-server";
    options.workers = 1;
    GNOMON_ASSIGN_OR_RETURN(
        server_, net::HttpServer::Start(options, model_server::MakeRouter(models_, metrics_, as_of),
                                        &metrics_));
    return Status::OK();
  }

  std::string predict_url() const override {
    return Concat(server_->url(), "/v1/models/", model_, ":predict");
  }

 private:
  const model_server::Models models_;
  const std::string model_;
  Metrics metrics_;
  std::unique_ptr<net::HttpServer> server_;
};

}  // namespace

double Flow::Metric(const std::string& key) const {
  const auto& metrics = training->result.metrics;
  const auto found = metrics.find(key);
  return found == metrics.end() ? 0 : found->second;
}

Result<std::unique_ptr<feature::FeatureStore>> ApplyAndMaterialize(const Context& context,
                                                                   const DemoOptions& options,
                                                                   int64_t start, int64_t end,
                                                                   Flow* flow) {
  std::unique_ptr<feature::FeatureStore> store;
  GNOMON_RETURN_NOT_OK(flow->steps.Run(context, "apply", [&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(store, feature::FeatureStore::Open(context, options.folder));
    GNOMON_ASSIGN_OR_RETURN(const auto definitions, store->LoadRepository());
    return store->Apply(context, definitions).status();
  }));
  GNOMON_RETURN_NOT_OK(flow->steps.Run(context, "materialize", [&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(flow->job, store->Materialize(context, {.start = start, .end = end}));
    return Status::OK();
  }));
  return store;
}

Status TrainModel(const Context& context, const DemoOptions& options,
                  const feature::FeatureStore& store, Flow* flow) {
  const double start = MonotonicSeconds();
  GNOMON_ASSIGN_OR_RETURN(const auto root, LoadConfigFile(options.folder + "/training.yaml"));
  GNOMON_ASSIGN_OR_RETURN(auto config, train::ParseTrainingConfig(root));
  config.fit.seed = options.seed;
  GNOMON_ASSIGN_OR_RETURN(const auto runs,
                          tracking::OpenLocalRunStore(store.config().tracking.path));
  const model::ModelRepository models(store.config().models);
  GNOMON_ASSIGN_OR_RETURN(flow->training,
                          train::RunTraining(context, store, config, *runs, models));
  const double seconds = MonotonicSeconds() - start;
  flow->steps.Add("historical features", flow->training->retrieve_seconds);
  flow->steps.Add("train and track", seconds - flow->training->retrieve_seconds);
  return Status::OK();
}

Result<std::unique_ptr<ServedModel>> ServedModel::Start(const feature::FeatureStore& store,
                                                        const std::string& model, int64_t as_of) {
  const model::ModelRepository repository(store.config().models);
  GNOMON_ASSIGN_OR_RETURN(auto models, model_server::LoadModels(store, repository, {model}));
  auto served = std::make_unique<LoopbackModel>(std::move(models), model);
  GNOMON_RETURN_NOT_OK(served->Start(as_of));
  return served;
}

void AppendSteps(const Steps& steps, net::JsonWriter* json) {
  json->Key("steps").BeginArray();
  for (const auto& step : steps.steps()) {
    json->BeginObject().Key("name").String(step.name).Key("seconds").Double(step.seconds);
    json->EndObject();
  }
  json->EndArray().Key("total_seconds").Double(steps.total());
}

std::string StepsText(const Steps& steps) {
  std::string text;
  for (const auto& step : steps.steps()) {
    text += Concat("  ", step.name, std::string(std::max<size_t>(1, 26 - step.name.size()), ' '),
                   FormatSeconds(step.seconds), "\n");
  }
  return text + Concat("  everything                ", FormatSeconds(steps.total()));
}

std::vector<Bar> StepBars(const Steps& steps) {
  std::vector<Bar> bars;
  for (const auto& step : steps.steps()) {
    bars.push_back({.name = step.name,
                    .value = step.seconds,
                    .text = FormatSeconds(step.seconds),
                    .color = "var(--second)"});
  }
  return bars;
}

std::vector<Series> LossSeries(const train::TrainingResult& result) {
  Series training{.name = "training", .x = {}, .y = {}, .color = "var(--second)"};
  Series validation{.name = "validation", .x = {}, .y = {}, .color = "var(--accent)"};
  for (const auto& epoch : result.epochs) {
    training.x.push_back(static_cast<double>(epoch.epoch));
    training.y.push_back(epoch.train_loss);
    validation.x.push_back(static_cast<double>(epoch.epoch));
    validation.y.push_back(epoch.validation_loss);
  }
  return {std::move(training), std::move(validation)};
}

std::string LatencyPlot(const Latency& latency) {
  std::vector<double> milliseconds;
  for (const double seconds : latency.seconds) milliseconds.push_back(seconds * 1e3);
  return Histogram(milliseconds, 40, {.x_label = "milliseconds", .y_label = "requests"});
}

std::string Fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, value);
  return buffer;
}

}  // namespace gnomon::demo
