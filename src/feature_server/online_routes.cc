#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include "base/clock.h"
#include "base/text.h"
#include "base/time.h"
#include "feature_server/online_routes_internal.h"
#include "feature_server/request_internal.h"
#include "net/json_columns.h"

namespace gnomon::feature_server {
namespace {

struct OnlineQuery {
  feature::FeatureRequest request;
  std::shared_ptr<arrow::RecordBatch> entities;
  std::optional<int64_t> as_of;
};

Result<OnlineQuery> ParseQuery(const net::HttpRequest& request) {
  GNOMON_ASSIGN_OR_RETURN(
      const net::JsonDocument document,
      ParseBody(request, {"entities", "features", "feature_service", "full_feature_names",
                          "include_feature_view_version_metadata", "request_context", "as_of"}));
  OnlineQuery query;
  if (document.HasValue("features")) {
    GNOMON_ASSIGN_OR_RETURN(query.request.features, document.GetStrings("features"));
  }
  if (document.HasValue("feature_service")) {
    GNOMON_ASSIGN_OR_RETURN(query.request.feature_service, document.GetString("feature_service"));
  }
  if (query.request.features.empty() && query.request.feature_service.empty()) {
    return Error(ErrorKind::kUser, "'features' or 'feature_service' is missing");
  }
  if (document.HasValue("full_feature_names")) {
    GNOMON_ASSIGN_OR_RETURN(query.request.full_feature_names,
                            document.GetBool("full_feature_names"));
  }
  if (document.HasValue("as_of")) {
    GNOMON_ASSIGN_OR_RETURN(std::string text, document.GetString("as_of"));
    GNOMON_ASSIGN_OR_RETURN(query.as_of, ParseTimestamp(text));
  }
  GNOMON_ASSIGN_OR_RETURN(query.entities, Required(document.GetColumns("entities")));
  return query;
}

std::string_view TimestampText(int64_t micros, std::string* buffer) {
  static constexpr std::string_view kNone = "1970-01-01T00:00:00Z";
  if (micros == 0) return kNone;
  *buffer = FormatTimestamp(micros);
  return *buffer;
}

/// {"values": [...], "statuses": [...], "event_timestamps": [...]}
Status AppendColumn(const arrow::Array& values, const std::vector<feature::FieldStatus>* statuses,
                    const std::vector<int64_t>* event_times, net::JsonWriter* json) {
  json->BeginObject().Key("values").BeginArray();
  for (int64_t row = 0; row < values.length(); ++row)
    GNOMON_RETURN_NOT_OK(net::AppendJsonValue(values, row, json));
  json->EndArray().Key("statuses").BeginArray();
  for (int64_t row = 0; row < values.length(); ++row) {
    json->String(statuses == nullptr ? "PRESENT"
                                     : feature::NameOf((*statuses)[static_cast<size_t>(row)]));
  }
  json->EndArray().Key("event_timestamps").BeginArray();
  std::string buffer;
  for (int64_t row = 0; row < values.length(); ++row) {
    json->String(TimestampText(
        event_times == nullptr ? 0 : (*event_times)[static_cast<size_t>(row)], &buffer));
  }
  json->EndArray().EndObject();
  return Status::OK();
}

/// Counts reads under Feast's metric names and ours.
struct ReadMetrics {
  Counter& requests;
  Counter& entities;
  Histogram& seconds;
};

/// What Feast raises when something of the request was not found.
std::string_view NotFoundClass(const feature::Definitions& definitions,
                               const feature::FeatureRequest& request) {
  if (!request.feature_service.empty()) {
    const bool known = definitions.FindFeatureService(request.feature_service) != nullptr;
    return known ? kFeastNotFound : kFeastServiceNotFound;
  }
  const std::vector<std::string> views = definitions.ViewNames();
  for (const std::string& text : request.features) {
    const auto ref = feature::FeatureRef::Parse(text);
    if (ref.ok() && std::ranges::find(views, ref->view) == views.end()) return kFeastViewNotFound;
  }
  return kFeastNotFound;
}

}  // namespace

Result<std::string> FormatResponse(const feature::OnlineResponse& response,
                                   const feature::FeaturePlan& plan,
                                   const arrow::RecordBatch& entities) {
  std::string body;
  body.reserve(256 + response.features.size() * static_cast<size_t>(response.num_rows) * 48);
  net::JsonWriter json(&body, net::NonFinite::kString);
  json.BeginObject().Key("results").BeginArray();
  for (const feature::Field& field : plan.entity_fields) {
    GNOMON_RETURN_NOT_OK(
        AppendColumn(*entities.GetColumnByName(field.name), nullptr, nullptr, &json));
  }
  for (const feature::OnlineColumn& column : response.features) {
    GNOMON_RETURN_NOT_OK(
        AppendColumn(*column.values, &column.statuses, &column.event_times, &json));
  }
  json.EndArray().Key("metadata").BeginObject().Key("feature_names").BeginArray();
  for (const feature::Field& field : plan.entity_fields) json.String(field.name);
  for (const feature::OnlineColumn& column : response.features) json.String(column.name);
  json.EndArray().EndObject().EndObject();
  return body;
}

void AddOnlineRoutes(const feature::FeatureStore& store, Metrics& metrics,
                     std::optional<int64_t> default_as_of, std::shared_ptr<StoreHealth> health,
                     net::Router* router) {
  auto counters = std::make_shared<ReadMetrics>(ReadMetrics{
      metrics.GetCounter("feast_online_features_request_total", "Requests for online features"),
      metrics.GetCounter("feast_online_features_entity_count",
                         "Entity rows in requests for online features"),
      metrics.GetHistogram("gnomon_feature_online_read_seconds", "Time to read online features")});
  auto handle = [&store, health = std::move(health), counters, default_as_of](
                    const Context& context, const net::HttpRequest& request) {
    feature::FeatureRequest asked;
    auto answer = [&]() -> Result<std::string> {
      GNOMON_ASSIGN_OR_RETURN(OnlineQuery query, ParseQuery(request));
      asked = query.request;
      GNOMON_ASSIGN_OR_RETURN(auto reader, store.OnlineReaderFor(query.request));
      const double start = MonotonicSeconds();
      const std::optional<int64_t> as_of = query.as_of ? query.as_of : default_as_of;
      auto response = store.GetOnlineFeatures(context, query.request, *query.entities, as_of);
      health->Observe(response.status());
      GNOMON_RETURN_NOT_OK(response.status());
      counters->seconds.Observe(MonotonicSeconds() - start);
      counters->requests.Increment();
      counters->entities.Increment(static_cast<double>(response->num_rows));
      return FormatResponse(*response, reader->plan(), *query.entities);
    };
    auto body = answer();
    if (body.ok()) return net::JsonResponse(200, *std::move(body));
    return FeastErrorResponse(body.status(), NotFoundClass(*store.definitions(), asked));
  };
  // A database may let us wait: the I/O threads go on meanwhile.
  const bool waits = store.config().online_store.type != "sqlite";
  router->Post("/get-online-features", std::move(handle), {.blocking = waits, .unlimited = false});
}

}  // namespace gnomon::feature_server
