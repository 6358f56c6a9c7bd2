#pragma once

#include <memory>
#include <optional>

#include "base/context.h"
#include "base/error.h"
#include "base/metrics.h"
#include "feature/store/feature_store.h"
#include "net/router.h"
#include "net/server.h"

namespace gnomon::feature_server {

/// The routes of Feast's feature server (docs/guide/feature_server.md):
///
///   POST /get-online-features  {"entities": {"driver_id": [1001]}, "features": ["view:feature"] |
///                               "feature_service": "name", "full_feature_names": false, "as_of":
///                               "2024-01-05T00:00:00Z"}
///   POST /push                 {"push_source_name" or "feature_view_name": "view", "df": {column:
///   [..]}} GET  /health               200 {"status": "ok"} GET  /metrics              Prometheus
///   (by the server core)
///
/// Answers are Feast's: {"results": [{"values", "statuses", "event_timestamps"}], "metadata":
/// {"feature_names"}}, join keys first. `as_of` is ours: the instant for TTL and windows, by
/// default `default_as_of` or the clock. `store` and `metrics` must outlive the router.
net::Router MakeRouter(feature::FeatureStore& store, Metrics& metrics,
                       std::optional<int64_t> default_as_of = {});

/// Feast's JSON of an answer; `entities` are the request's columns.
Result<std::string> FormatResponse(const feature::OnlineResponse& response,
                                   const feature::FeaturePlan& plan,
                                   const arrow::RecordBatch& entities);

}  // namespace gnomon::feature_server
