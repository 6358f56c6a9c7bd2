#pragma once

#include <memory>
#include <optional>
#include <stop_token>

#include "base/context.h"
#include "base/error.h"
#include "base/metrics.h"
#include "feature/store/feature_store.h"
#include "net/router.h"
#include "net/server.h"

namespace gnomon::feature_server {

struct RouterOptions {
  /// The instant for TTL and windows where a request names none; absent: the clock.
  std::optional<int64_t> as_of = {};
  /// When it fires, materializations end as cancelled, at once.
  std::stop_token stop = {};
  /// How many materializations run side by side; further ones wait their turn.
  int materializations = 2;
};

/// Materializations that wait their turn; still further ones are answered with 429.
inline constexpr int kMaxWaitingMaterializations = 16;

/// The routes of Feast's feature server (docs/guide/feature_server.md):
///
///   POST /get-online-features      {"entities": {"driver_id": [1001]}, "features":
///                                  ["view:feature"] or "feature_service": "name",
///                                  "full_feature_names": false, "as_of": "2024-01-05T00:00:00Z"}
///   POST /push                     {"push_source_name": "name", "df": {column: [..]}, "to": ..}
///   POST /write-to-online-store    {"feature_view_name": "view", "df": {column: [..]}}
///   POST /materialize              {"start_ts": .., "end_ts": .., "feature_views": ["view"]}
///   POST /materialize-incremental  {"end_ts": .., "feature_views": ["view"]}
///   GET  /health                   200, or 503 while the online store does not answer reads
///   GET  /metrics                  Prometheus (by the server core)
///
/// Answers are Feast's, errors too. `as_of` is ours. ?async=true of the materializations answers
/// 202 once the job is begun, ?force=true begins it beside a running one. Requests that read or
/// write have the deadline of the server's request_timeout, materializations none.
///
/// `store` and `metrics` must outlive the router. Its end cancels the materializations under way
/// and waits for them.
net::Router MakeRouter(feature::FeatureStore& store, Metrics& metrics,
                       const RouterOptions& options = {});

/// ServerOptions::blocking_workers for the router: enough for reads that wait for a database, and
/// for all materializations.
int BlockingWorkers(const RouterOptions& options);

/// Feast's JSON of an answer; `entities` are the request's columns.
Result<std::string> FormatResponse(const feature::OnlineResponse& response,
                                   const feature::FeaturePlan& plan,
                                   const arrow::RecordBatch& entities);

}  // namespace gnomon::feature_server
