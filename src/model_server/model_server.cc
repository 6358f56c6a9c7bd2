#include "model_server/model_server.h"

#include <algorithm>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/time.h"
#include "net/json.h"
#include "net/json_columns.h"

namespace gnomon::model_server {
namespace {

Result<std::shared_ptr<const serve::Predictor>> Find(const Models& models, std::string_view name) {
  auto found = models.find(name);
  if (found != models.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [other, predictor] : models) names.push_back(other);
  return MakeError(ErrorKind::kNotFound, Concat("model does not exist: ", Quoted(name)), {},
                   DidYouMean(name, names));
}

struct Instances {
  std::shared_ptr<arrow::RecordBatch> rows;
  std::optional<int64_t> as_of;
};

Result<Instances> ParseInstances(const serve::Predictor& predictor,
                                 const net::HttpRequest& request) {
  if (request.body.empty()) {
    return Error(ErrorKind::kUser, "the request has no body; send {\"instances\": [{...}]}");
  }
  GNOMON_ASSIGN_OR_RETURN(
      auto document,
      net::JsonDocument::Parse(request.body, request.body.size() + net::kBodyPadding));
  Instances instances;
  auto rows = document.GetRows(document.Has("instances") ? "instances" : "inputs");
  if (!rows.ok()) {
    if (KindOf(rows.status()) != ErrorKind::kNotFound) return rows.status();
    return MakeError(ErrorKind::kUser, "'instances' is missing", {},
                     "send {\"instances\": [{...}]}");
  }
  instances.rows = *std::move(rows);
  std::vector<std::string> known;
  for (const feature::Field& field : predictor.Inputs()) known.push_back(field.name);
  if (instances.rows->num_rows() > 0) {
    for (const std::string& name : instances.rows->schema()->field_names()) {
      if (std::ranges::find(known, name) == known.end()) {
        return MakeError(ErrorKind::kUser,
                         Concat("instances have an unknown member ", Quoted(name),
                                "; the model takes ", Join(known, ", ")),
                         {}, DidYouMean(name, known));
      }
    }
  }
  if (document.Has("as_of")) {
    GNOMON_ASSIGN_OR_RETURN(std::string text, document.GetString("as_of"));
    GNOMON_ASSIGN_OR_RETURN(instances.as_of, ParseTimestamp(text));
  }
  return instances;
}

Result<std::string> Predict(const Context& context, const Models& models,
                            const net::HttpRequest& request, std::optional<int64_t> default_as_of) {
  GNOMON_ASSIGN_OR_RETURN(auto predictor, Find(models, request.Param("model")));
  GNOMON_ASSIGN_OR_RETURN(Instances instances, ParseInstances(*predictor, request));
  std::vector<double> predictions;
  if (instances.rows->num_rows() > 0) {
    GNOMON_ASSIGN_OR_RETURN(predictions,
                            predictor->Predict(context, *instances.rows,
                                               instances.as_of ? instances.as_of : default_as_of));
  }
  std::string body;
  net::JsonWriter json(&body);
  json.BeginObject().Key("predictions").BeginArray();
  for (double value : predictions) json.Double(value);
  json.EndArray().EndObject();
  return body;
}

std::string ModelList(const Models& models) {
  std::string body;
  net::JsonWriter json(&body);
  json.BeginObject().Key("models").BeginArray();
  for (const auto& [name, predictor] : models) json.String(name);
  json.EndArray().EndObject();
  return body;
}

net::Handler Fixed(std::string body) {
  return [body = std::move(body)](const Context&, const net::HttpRequest&) {
    return net::JsonResponse(200, body);
  };
}

}  // namespace

net::Router MakeRouter(const Models& models, Metrics& metrics,
                       std::optional<int64_t> default_as_of) {
  constexpr net::RouteOptions kHealth{.blocking = false, .unlimited = true};
  for (const auto& [name, predictor] : models) {
    metrics.GetHistogram("request_predict_seconds", "Time to predict (KServe's name)",
                         {{"model_name", name}});
  }
  net::Router router;
  router.Post(
      "/v1/models/{model}:predict",
      [&models, &metrics, default_as_of](const Context& context, const net::HttpRequest& request) {
        const double start = MonotonicSeconds();
        auto body = Predict(context, models, request, default_as_of);
        if (!body.ok()) return net::ErrorResponse(body.status());
        metrics
            .GetHistogram("request_predict_seconds", "Time to predict (KServe's name)",
                          {{"model_name", std::string(request.Param("model"))}})
            .Observe(MonotonicSeconds() - start);
        return net::JsonResponse(200, *std::move(body));
      });
  router.Get("/v1/models", Fixed(ModelList(models)));
  router.Get("/v1/models/{model}", [&models](const Context&, const net::HttpRequest& request) {
    auto predictor = Find(models, request.Param("model"));
    if (!predictor.ok()) return net::ErrorResponse(predictor.status());
    std::string body;
    net::JsonWriter json(&body);
    json.BeginObject()
        .Key("name")
        .String((*predictor)->model().name())
        .Key("ready")
        .Bool(true)
        .EndObject();
    return net::JsonResponse(200, std::move(body));
  });
  router.Get("/", Fixed(R"({"status":"alive"})"), kHealth);
  router.Get("/healthz", Fixed(R"({"status":"ok"})"), kHealth);
  return router;
}

Result<Models> LoadModels(const feature::FeatureStore& store,
                          const model::ModelRepository& repository,
                          const std::vector<std::string>& names) {
  std::vector<std::string> wanted = names;
  if (wanted.empty()) {
    GNOMON_ASSIGN_OR_RETURN(wanted, repository.List());
  }
  if (wanted.empty()) {
    return MakeError(ErrorKind::kNotFound, Concat("there is no model in ", repository.folder()), {},
                     "train one: gnomon train FILE.yaml");
  }
  Models models;
  for (const std::string& name : wanted) {
    GNOMON_ASSIGN_OR_RETURN(auto loaded, repository.Load(name));
    GNOMON_ASSIGN_OR_RETURN(models[name], serve::Predictor::Make(store, std::move(loaded)));
  }
  return models;
}

}  // namespace gnomon::model_server
