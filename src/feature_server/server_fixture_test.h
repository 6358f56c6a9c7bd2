#pragma once

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "feature_server/feature_server.h"
#include "net/client.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature_server {

using nlohmann::json;
using test::ValueOf;

inline constexpr const char* kFeatures = R"yaml(
entities: [{name: driver, join_keys: [driver_id], value_type: INT64}]
data_sources:
  - {name: stats, type: file, path: stats.csv, timestamp_field: event_timestamp, created_timestamp_column: created}
feature_views:
  - {name: latest, entities: [driver], source: stats, ttl: 1d, schema: [{name: rate, dtype: Float64}, {name: trips, dtype: Int64}]}
  - {name: week, entities: [driver], source: stats, aggregations: [{column: trips, function: sum, time_window: 7d, name: sum_trips}]}
on_demand_feature_views:
  - name: effort
    sources: [latest]
    request: [{name: hours, dtype: Float64}]
    features: [{name: per_hour, dtype: Float64, expression: trips / hours}]
feature_services:
  - {name: everything, features: [latest, week, effort]}
)yaml";

inline constexpr const char* kStats = R"(driver_id,event_timestamp,created,rate,trips
1,2026-01-01T10:00:00Z,2026-01-01T10:05:00Z,0.5,10
2,2026-01-01T12:00:00Z,2026-01-01T12:05:00Z,0.25,24
1,2026-01-02T10:00:00Z,2026-01-02T10:05:00Z,0.75,20
)";

/// A materialized repository behind a running server; the clock stands at 2026-01-02T11:00:00Z.
struct Fixture {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  FakeClock clock{ValueOf(ParseTimestamp("2026-01-02T11:00:00Z"))};
  Context context;
  Metrics metrics;
  std::unique_ptr<feature::FeatureStore> store;
  std::unique_ptr<net::HttpServer> server;
  net::HttpClient client;

  explicit Fixture(RouterOptions router = {}) {
    context.clock = &clock;
    test::RequireOk(WriteFileAtomic(folder.path() + "/feature_store.yaml", "project: drivers\n"));
    test::RequireOk(WriteFileAtomic(folder.path() + "/features.yaml", kFeatures));
    test::RequireOk(WriteFileAtomic(folder.path() + "/stats.csv", kStats));
    store = ValueOf(feature::FeatureStore::Open(context, folder.path()));
    test::RequireOk(store->Apply(context, ValueOf(store->LoadRepository())).status());
    test::RequireOk(store->Materialize(context, {.start = 0}).status());
    net::ServerOptions options;
    options.workers = 2;
    options.blocking_workers = BlockingWorkers(router);
    options.max_body_bytes = 64 << 10;
    options.context.clock = &clock;
    server =
        ValueOf(net::HttpServer::Start(options, MakeRouter(*store, metrics, router), &metrics));
  }

  net::HttpReply Post(const std::string& path, const std::string& body) {
    return ValueOf(client.PostJson(context, server->url() + path, body));
  }
  net::HttpReply Get(const std::string& path) {
    return ValueOf(client.Get(context, server->url() + path));
  }

  /// The answer to a query that must succeed.
  json Online(const std::string& body) {
    const net::HttpReply reply = Post("/get-online-features", body);
    CAPTURE(reply.body);
    REQUIRE(reply.status == 200);
    CHECK(reply.Header("Content-Type") == "application/json");
    return json::parse(reply.body);
  }
};

/// The values of one result column.
inline json ValuesOf(const json& answer, const std::string& feature) {
  const auto& names = answer["metadata"]["feature_names"];
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == feature) return answer["results"][i]["values"];
  }
  return "no such feature";
}

/// The object in the string that Feast's errors are.
inline json DetailOf(const net::HttpReply& reply) {
  CAPTURE(reply.body);
  const json text = json::parse(reply.body);
  REQUIRE(text.is_string());
  json detail = json::parse(text.get<std::string>());
  CHECK(detail["module"] == "feast.errors");
  return detail;
}

}  // namespace gnomon::feature_server
