#include "feature_server/feature_server.h"

#include <string>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include "base/text.h"
#include "base/time.h"
#include "net/json_columns.h"
#include "table/column.h"

namespace gnomon::feature_server {
namespace {

Result<net::JsonDocument> ParseBody(const net::HttpRequest& request) {
  if (request.body.empty())
    return Error(ErrorKind::kUser, "the request has no body; send a JSON object");
  return net::JsonDocument::Parse(request.body, request.body.size() + net::kBodyPadding);
}

Status CheckMembers(const net::JsonDocument& document, const std::vector<std::string>& known) {
  GNOMON_ASSIGN_OR_RETURN(auto members, document.Members());
  for (const std::string& member : members) {
    if (std::ranges::find(known, member) == known.end()) {
      return MakeError(ErrorKind::kUser, Concat("unknown member ", Quoted(member)), {},
                       DidYouMean(member, known));
    }
  }
  return Status::OK();
}

/// A member that a request must have: its absence is the caller's mistake, not a thing that was not
/// found.
template <typename Value>
Result<Value> Required(Result<Value> member) {
  if (member.ok() || KindOf(member.status()) != ErrorKind::kNotFound) return member;
  return Error(ErrorKind::kUser, member.status().message());
}

struct OnlineQuery {
  feature::FeatureRequest request;
  std::shared_ptr<arrow::RecordBatch> entities;
  std::optional<int64_t> as_of;
};

Result<OnlineQuery> ParseQuery(const net::HttpRequest& request) {
  GNOMON_ASSIGN_OR_RETURN(net::JsonDocument document, ParseBody(request));
  GNOMON_RETURN_NOT_OK(CheckMembers(
      document, {"entities", "features", "feature_service", "full_feature_names",
                 "include_feature_view_version_metadata", "request_context", "as_of"}));
  OnlineQuery query;
  if (document.Has("features")) {
    GNOMON_ASSIGN_OR_RETURN(query.request.features, document.GetStrings("features"));
  }
  if (document.Has("feature_service")) {
    GNOMON_ASSIGN_OR_RETURN(query.request.feature_service, document.GetString("feature_service"));
  }
  if (query.request.features.empty() && query.request.feature_service.empty()) {
    return Error(ErrorKind::kUser, "'features' or 'feature_service' is missing");
  }
  if (document.Has("full_feature_names")) {
    GNOMON_ASSIGN_OR_RETURN(query.request.full_feature_names,
                            document.GetBool("full_feature_names"));
  }
  if (document.Has("as_of")) {
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

/// Counts reads by view under Feast's metric names and ours.
struct ReadMetrics {
  Counter& requests;
  Counter& entities;
  Histogram& seconds;
};

/// Texts in columns that should hold times: RFC 3339 or seconds since the epoch.
Result<std::shared_ptr<arrow::RecordBatch>> WithTimes(std::shared_ptr<arrow::RecordBatch> rows,
                                                      const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const int place = rows->schema()->GetFieldIndex(name);
    if (place < 0 || table::IsTime(*rows->column(place)->type())) continue;
    const auto type = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
    arrow::TimestampBuilder builder(type, arrow::default_memory_pool());
    const arrow::Array& column = *rows->column(place);
    for (int64_t row = 0; row < column.length(); ++row) {
      if (column.IsNull(row)) {
        GNOMON_RETURN_NOT_OK(builder.AppendNull());
      } else if (column.type_id() == arrow::Type::STRING) {
        auto micros = ParseTimestamp(static_cast<const arrow::StringArray&>(column).GetView(row));
        if (!micros.ok()) return WithContext(micros.status(), Concat("df.", name, "[", row, "]"));
        GNOMON_RETURN_NOT_OK(builder.Append(*micros));
      } else if (column.type_id() == arrow::Type::INT64) {
        GNOMON_RETURN_NOT_OK(builder.Append(
            static_cast<const arrow::Int64Array&>(column).Value(row) * kMicrosPerSecond));
      } else {
        return Error(ErrorKind::kUser, "df.", name, ": expected timestamps, got ",
                     column.type()->ToString());
      }
    }
    GNOMON_ASSIGN_OR_RETURN(auto times, builder.Finish());
    GNOMON_ASSIGN_OR_RETURN(rows, rows->SetColumn(place, arrow::field(name, type), times));
  }
  return rows;
}

Result<int64_t> HandlePush(const Context& context, feature::FeatureStore& store,
                           const net::HttpRequest& request) {
  GNOMON_ASSIGN_OR_RETURN(net::JsonDocument document, ParseBody(request));
  GNOMON_RETURN_NOT_OK(
      CheckMembers(document, {"push_source_name", "feature_view_name", "df", "allow_registry_cache",
                              "to", "transform_on_write"}));
  const char* member = document.Has("feature_view_name") ? "feature_view_name" : "push_source_name";
  GNOMON_ASSIGN_OR_RETURN(std::string name, Required(document.GetString(member)));
  auto mode = feature::PushMode::kOnline;
  if (document.Has("to")) {
    GNOMON_ASSIGN_OR_RETURN(std::string to, document.GetString("to"));
    GNOMON_ASSIGN_OR_RETURN(mode, feature::ParsePushMode(to));
  }
  GNOMON_ASSIGN_OR_RETURN(auto rows, Required(document.GetColumns("df")));
  std::vector<std::string> times = {"event_timestamp"};
  auto definitions = store.definitions();
  for (const feature::FeatureView* view : definitions->PushTargets(name)) {
    GNOMON_ASSIGN_OR_RETURN(const feature::DataSource source,
                            feature::SourceOf(*definitions, *view));
    times.push_back(source.timestamp_field);
    times.push_back(source.created_timestamp_column);
  }
  GNOMON_ASSIGN_OR_RETURN(rows, WithTimes(std::move(rows), times));
  return store.Push(context, name, *rows, mode);
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

net::Router MakeRouter(feature::FeatureStore& store, Metrics& metrics,
                       std::optional<int64_t> default_as_of) {
  auto counters = std::make_shared<ReadMetrics>(ReadMetrics{
      metrics.GetCounter("feast_online_features_request_total", "Requests for online features"),
      metrics.GetCounter("feast_online_features_entity_count",
                         "Entity rows in requests for online features"),
      metrics.GetHistogram("gnomon_feature_online_read_seconds", "Time to read online features")});
  net::Router router;
  router.Post("/get-online-features", [&store, counters, default_as_of](
                                          const Context& context, const net::HttpRequest& request) {
    auto answer = [&]() -> Result<std::string> {
      GNOMON_ASSIGN_OR_RETURN(OnlineQuery query, ParseQuery(request));
      GNOMON_ASSIGN_OR_RETURN(auto reader, store.OnlineReaderFor(query.request));
      const double start = MonotonicSeconds();
      const std::optional<int64_t> as_of = query.as_of ? query.as_of : default_as_of;
      GNOMON_ASSIGN_OR_RETURN(
          auto response, store.GetOnlineFeatures(context, query.request, *query.entities, as_of));
      counters->seconds.Observe(MonotonicSeconds() - start);
      counters->requests.Increment();
      counters->entities.Increment(static_cast<double>(response.num_rows));
      return FormatResponse(response, reader->plan(), *query.entities);
    };
    auto body = answer();
    return body.ok() ? net::JsonResponse(200, *std::move(body)) : net::ErrorResponse(body.status());
  });
  Counter& pushes = metrics.GetCounter("feast_push_request_total", "Pushes to the online store",
                                       {{"mode", "online"}});
  router.Post("/push",
              [&store, &pushes](const Context& context, const net::HttpRequest& request) {
                auto rows = HandlePush(context, store, request);
                if (!rows.ok()) return net::ErrorResponse(rows.status());
                pushes.Increment();
                return net::JsonResponse(200, "null");
              },
              {.blocking = true, .unlimited = false});
  router.Get("/health",
             [](const Context&, const net::HttpRequest&) {
               return net::JsonResponse(200, R"({"status":"ok"})");
             },
             {.blocking = false, .unlimited = true});
  return router;
}

}  // namespace gnomon::feature_server
