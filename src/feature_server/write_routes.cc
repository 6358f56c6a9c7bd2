#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include "base/text.h"
#include "base/time.h"
#include "feature_server/request_internal.h"
#include "feature_server/write_routes_internal.h"
#include "net/json_columns.h"
#include "table/column.h"

namespace gnomon::feature_server {
namespace {

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

/// The columns of `df`, with times where the views' sources have them.
Result<std::shared_ptr<arrow::RecordBatch>> Rows(
    const feature::Definitions& definitions, const std::vector<const feature::FeatureView*>& views,
    const net::JsonDocument& document) {
  GNOMON_ASSIGN_OR_RETURN(auto rows, Required(document.GetColumns("df")));
  std::vector<std::string> times = {"event_timestamp"};
  for (const feature::FeatureView* view : views) {
    GNOMON_ASSIGN_OR_RETURN(const feature::DataSource source,
                            feature::SourceOf(definitions, *view));
    times.push_back(source.timestamp_field);
    times.push_back(source.created_timestamp_column);
  }
  return WithTimes(std::move(rows), times);
}

Status Push(const Context& context, feature::FeatureStore& store, const net::HttpRequest& request) {
  GNOMON_ASSIGN_OR_RETURN(const net::JsonDocument document,
                          ParseBody(request, {"push_source_name", "feature_view_name", "df",
                                              "allow_registry_cache", "to", "transform_on_write"}));
  const char* member = document.Has("feature_view_name") ? "feature_view_name" : "push_source_name";
  GNOMON_ASSIGN_OR_RETURN(const std::string name, Required(document.GetString(member)));
  auto mode = feature::PushMode::kOnline;
  if (document.Has("to")) {
    GNOMON_ASSIGN_OR_RETURN(const std::string to, document.GetString("to"));
    GNOMON_ASSIGN_OR_RETURN(mode, feature::ParsePushMode(to));
  }
  const auto definitions = store.definitions();
  GNOMON_ASSIGN_OR_RETURN(const auto rows,
                          Rows(*definitions, definitions->PushTargets(name), document));
  return store.Push(context, name, *rows, mode).status();
}

Status Write(const Context& context, feature::FeatureStore& store,
             const net::HttpRequest& request) {
  GNOMON_ASSIGN_OR_RETURN(const net::JsonDocument document,
                          ParseBody(request, {"feature_view_name", "df", "allow_registry_cache",
                                              "transform_on_write"}));
  GNOMON_ASSIGN_OR_RETURN(const std::string name,
                          Required(document.GetString("feature_view_name")));
  const auto definitions = store.definitions();
  std::vector<const feature::FeatureView*> views;
  if (const auto* view = definitions->FindFeatureView(name)) views.push_back(view);
  GNOMON_ASSIGN_OR_RETURN(const auto rows, Rows(*definitions, views, document));
  if (rows->num_rows() == 0 && !views.empty()) return Status::OK();  // as Feast
  return store.WriteToOnlineStore(context, name, *rows).status();
}

}  // namespace

void AddWriteRoutes(feature::FeatureStore& store, Metrics& metrics, net::Router* router) {
  constexpr net::RouteOptions kBlocking{.blocking = true, .unlimited = false};
  Counter& pushes = metrics.GetCounter("feast_push_request_total", "Pushes to the online store",
                                       {{"mode", "online"}});
  router->Post(
      "/push",
      [&store, &pushes](const Context& context, const net::HttpRequest& request) {
        const Status status = Push(context, store, request);
        if (!status.ok()) return FeastErrorResponse(status, kFeastPushSourceNotFound);
        pushes.Increment();
        return net::JsonResponse(200, "null");
      },
      kBlocking);
  router->Post(
      "/write-to-online-store",
      [&store](const Context& context, const net::HttpRequest& request) {
        const Status status = Write(context, store, request);
        return status.ok() ? net::JsonResponse(200, "null") : FeastErrorResponse(status);
      },
      kBlocking);
}

}  // namespace gnomon::feature_server
