// ModelServer: a model of the repository behind KServe's HTTP protocol, in a program of one's own.
// Requests carry entity keys; the features come from the online store.
#include "model_server/model_server.h"

#include <cstdio>

#include <arrow/record_batch.h>

#include "base/files.h"
#include "base/time.h"
#include "demo/template.h"
#include "feature/plan/feature_plan.h"
#include "net/client.h"
#include "table/column.h"
#include "table/file.h"

using gnomon::Context;
using gnomon::Result;
using gnomon::Status;
namespace feature = gnomon::feature;
namespace model = gnomon::model;

namespace {

// Trips per hour, by a network of one weight. examples/trainer.cc learns its weights instead. The
// fingerprint ties a model to the feature service that it was made for.
Result<model::Model> MakeModel(const feature::FeatureStore& store, const std::string& stats) {
  GNOMON_ASSIGN_OR_RETURN(auto table, gnomon::table::ReadTable(Context{}, stats));
  GNOMON_ASSIGN_OR_RETURN(auto batch, gnomon::table::SingleBatch(*table));
  GNOMON_ASSIGN_OR_RETURN(auto scaler,
                          model::Preprocessor::Fit(*batch, {"avg_daily_trips"}, {0, 1, 2, 3, 4}));
  GNOMON_ASSIGN_OR_RETURN(
      auto network,
      model::Mlp::Make({.inputs = 1}, {{.inputs = 1, .outputs = 1, .weight = {1}, .bias = {0}}}));
  model::ModelSource source;
  source.feature_service = "driver_activity";
  source.label = "trips_per_hour";
  GNOMON_ASSIGN_OR_RETURN(source.feature_service_fingerprint,
                          feature::FingerprintOf(*store.definitions(), source.feature_service));
  const model::FittedColumn& trips = scaler.columns()[0];
  const model::TargetScale target{.mean = trips.mean / 24, .scale = trips.scale / 24};
  return model::Model::Make("hourly-trips", source, scaler, std::move(network), target);
}

Status Run(const Context& context, const std::string& folder) {
  GNOMON_RETURN_NOT_OK(gnomon::demo::WriteTemplate(context, "minimal", folder).status());
  GNOMON_ASSIGN_OR_RETURN(auto store, feature::FeatureStore::Open(context, folder));
  GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
  GNOMON_RETURN_NOT_OK(store->Apply(context, definitions).status());
  GNOMON_RETURN_NOT_OK(store->Materialize(context, {.start = 0}).status());
  const model::ModelRepository repository(store->config().models);
  GNOMON_ASSIGN_OR_RETURN(auto made, MakeModel(*store, folder + "/data/driver_stats.csv"));
  GNOMON_RETURN_NOT_OK(repository.Add(made).status());

  // Serve all models of the repository on a free port. Models and metrics outlive the server.
  gnomon::Metrics metrics;
  GNOMON_ASSIGN_OR_RETURN(const auto models,
                          gnomon::model_server::LoadModels(*store, repository, {}));
  GNOMON_ASSIGN_OR_RETURN(
      auto server, gnomon::net::HttpServer::Start(
                       {.port = 0}, gnomon::model_server::MakeRouter(models, metrics), &metrics));
  std::printf("listening on %s\n", server->url().c_str());

  // What any KServe client would send. Driver 1002 made 25 trips a day when last heard of.
  gnomon::net::HttpClient client;
  const std::string url = server->url() + "/v1/models/hourly-trips:predict";
  GNOMON_ASSIGN_OR_RETURN(
      const auto reply,
      client.PostJson(context, url,
                      R"({"instances": [{"driver_id": 1002}], "as_of": "2026-01-02T10:00:00Z"})"));
  std::printf("%d %s\n", reply.status, reply.body.c_str());
  GNOMON_ASSIGN_OR_RETURN(const auto unknown,
                          client.PostJson(context, url, R"({"instances": [{"driver_id": 5}]})"));
  std::printf("%d %s\n", unknown.status, unknown.body.c_str());

  // Requests under way may finish, then the port is free again.
  GNOMON_RETURN_NOT_OK(server->Drain(std::chrono::seconds(5)));
  const bool right = reply.status == 200 && reply.body.starts_with(R"({"predictions":[1.0416)") &&
                     unknown.status == 404;
  return right ? Status::OK() : gnomon::Error(gnomon::ErrorKind::kInternal, "wrong answers");
}

}  // namespace

int main() {
  auto folder = gnomon::TemporaryFolder::Make("gnomon-example");
  if (!folder.ok()) return 1;
  const Status status = Run(Context{}, folder->path() + "/repository");
  if (!status.ok()) std::fprintf(stderr, "%s\n", gnomon::FormatError(status).c_str());
  return status.ok() ? 0 : 1;
}
