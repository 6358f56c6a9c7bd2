#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/metrics.h"
#include "net/router.h"
#include "net/server.h"
#include "serve/predictor.h"

namespace gnomon::model_server {

using Models = std::map<std::string, std::shared_ptr<const serve::Predictor>, std::less<>>;

/// KServe's V1 protocol over entity keys (docs/guide/model_server.md):
///
///   POST /v1/models/{model}:predict  {"instances": [{"store": 1, "dept": 3}], "as_of":
///   "2024-12-27T00:00:00Z"}
///                                    -> {"predictions": [24500.0]}
///   GET  /v1/models                  {"models": ["sales-model"]}
///   GET  /v1/models/{model}          {"name": "sales-model", "ready": true}
///   GET  /                           {"status": "alive"}
///   GET  /healthz                    {"status": "ok"}
///   GET  /metrics                    Prometheus (by the server core)
///
/// `as_of` is ours: the instant for TTL and windows, by default `default_as_of` or the clock.
/// Errors are
/// {"error": "...", "kind": "...", "hint": "..."}: 400 for instances of the wrong shape or type,
/// 404 for an unknown model or an entity that the online store does not have. `models` and
/// `metrics` must outlive the router.
net::Router MakeRouter(const Models& models, Metrics& metrics,
                       std::optional<int64_t> default_as_of = {});

/// Loads the named models (all when there are none) of a repository, latest versions.
Result<Models> LoadModels(const feature::FeatureStore& store,
                          const model::ModelRepository& repository,
                          const std::vector<std::string>& names);

}  // namespace gnomon::model_server
