#include <algorithm>
#include <cctype>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "feature_server/materialization_queue_internal.h"
#include "feature_server/materialize_routes_internal.h"
#include "feature_server/request_internal.h"
#include "net/json.h"

namespace gnomon::feature_server {
namespace {

/// What a client asks for.
struct MaterializeQuery {
  bool incremental = false;
  int64_t start = INT64_MIN;
  std::optional<int64_t> end = {};
  /// Absent: all that are online. An empty list is no view at all, as in Feast.
  std::optional<std::vector<std::string>> views = {};
  bool async = false;
  bool force = false;
};

Result<int64_t> RequiredTime(const net::JsonDocument& document, const std::string& member) {
  if (!document.HasValue(member)) return Error(ErrorKind::kUser, Quoted(member), " is missing");
  GNOMON_ASSIGN_OR_RETURN(const std::string text, document.GetString(member));
  auto time = ParseTimestamp(text);
  return time.ok() ? time : WithContext(time.status(), member);
}

/// A flag of the query, as FastAPI reads one.
Result<bool> QueryFlag(const net::HttpRequest& request, std::string_view name) {
  std::string text = request.QueryParam(name).value_or("false");
  std::ranges::transform(text, text.begin(), [](unsigned char letter) {
    return static_cast<char>(std::tolower(letter));
  });
  for (const char* yes : {"true", "1", "on", "yes", "t", "y"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"false", "0", "off", "no", "f", "n"}) {
    if (text == no) return false;
  }
  return Error(ErrorKind::kUser, name, ": true or false, got ", Quoted(text));
}

Status ParseInterval(const net::JsonDocument& document, MaterializeQuery* query) {
  if (document.HasValue("disable_event_timestamp")) {
    GNOMON_ASSIGN_OR_RETURN(const bool all, document.GetBool("disable_event_timestamp"));
    query->start = 0;
    if (all) return Status::OK();
  }
  GNOMON_ASSIGN_OR_RETURN(query->start, RequiredTime(document, "start_ts"));
  GNOMON_ASSIGN_OR_RETURN(query->end, RequiredTime(document, "end_ts"));
  if (query->start >= *query->end) {
    return Error(ErrorKind::kUser,
                 "start_ts must be before end_ts: ", FormatTimestamp(query->start),
                 " >= ", FormatTimestamp(*query->end));
  }
  return Status::OK();
}

Result<MaterializeQuery> ParseQuery(const net::HttpRequest& request, bool incremental) {
  std::vector<std::string> known = {"end_ts", "feature_views", "full_feature_names", "version"};
  if (!incremental) {
    known.emplace_back("start_ts");
    known.emplace_back("disable_event_timestamp");
  }
  GNOMON_ASSIGN_OR_RETURN(const net::JsonDocument document, ParseBody(request, known));
  MaterializeQuery query{.incremental = incremental};
  GNOMON_ASSIGN_OR_RETURN(query.async, QueryFlag(request, "async"));
  GNOMON_ASSIGN_OR_RETURN(query.force, QueryFlag(request, "force"));
  if (document.HasValue("version"))
    return Error(ErrorKind::kUnsupported, "version: feature views have no versions here");
  if (document.HasValue("feature_views")) {
    GNOMON_ASSIGN_OR_RETURN(query.views, document.GetStrings("feature_views"));
  }
  if (incremental) {
    GNOMON_ASSIGN_OR_RETURN(query.end, RequiredTime(document, "end_ts"));
  } else {
    GNOMON_RETURN_NOT_OK(ParseInterval(document, &query));
  }
  return query;
}

std::string Accepted(const std::vector<std::string>& views) {
  std::string body;
  net::JsonWriter json(&body);
  json.BeginObject().Key("status").String("accepted").Key("feature_views").BeginArray();
  for (const std::string& view : views) json.String(view);
  json.EndArray().EndObject();
  return body;
}

/// The two routes' state: the queue, and what its jobs are counted by. Thread-safe.
class Materializations {
 public:
  Materializations(feature::FeatureStore& store, Metrics& metrics, const RouterOptions& options)
      : store_(store),
        metrics_(metrics),
        queue_({.running = options.materializations, .waiting = kMaxWaitingMaterializations},
               options.stop,
               [this](const feature::MaterializationJob& begun, const Status& status) {
                 Ended(begun, status);
               }) {}

  net::HttpResponse Handle(const Context& context, const net::HttpRequest& request,
                           bool incremental) {
    auto query = ParseQuery(request, incremental);
    if (!query.ok()) return FeastErrorResponse(query.status());
    if (query->views && query->views->empty())
      return query->async ? net::JsonResponse(202, Accepted({})) : net::JsonResponse(200, "null");
    std::shared_ptr<void> place = queue_.TakePlace();
    if (place == nullptr) return TooMany();
    const auto begin = [&](const Context& of_job) { return Begin(of_job, *query); };
    Context unlimited = context;  // a client that waits may wait for hours
    unlimited.deadline.reset();
    auto job = query->async ? queue_.Start(unlimited, begin, std::move(place))
                            : queue_.Run(unlimited, begin);
    if (!job.ok()) return Refuse(job.status(), *query);
    net::HttpResponse response = query->async ? net::JsonResponse(202, Accepted(job->views))
                                              : net::JsonResponse(200, "null");
    response.headers.emplace_back("Gnomon-Materialization", job->id);
    return response;
  }

 private:
  Result<std::unique_ptr<feature::MaterializationRun>> Begin(const Context& context,
                                                             const MaterializeQuery& query) {
    const std::vector<std::string> views = query.views.value_or(std::vector<std::string>{});
    if (query.incremental)
      return store_.BeginMaterializeIncremental(context, query.end, views, query.force);
    return store_.BeginMaterialize(
        context, {.start = query.start, .end = query.end, .views = views, .force = query.force});
  }

  net::HttpResponse TooMany() const {
    net::HttpResponse response =
        net::HttpErrorResponse(429, "too many materializations at once", "exhausted");
    response.headers.emplace_back("Retry-After", "5");
    return response;
  }

  net::HttpResponse Refuse(const Status& status, const MaterializeQuery& query) const {
    if (KindOf(status) == ErrorKind::kConflict) return Conflict(status, query);
    if (KindOf(status) == ErrorKind::kCancelled && queue_.is_stopping()) {
      return FeastErrorResponse(MakeError(ErrorKind::kUnavailable,
                                          "the server stops, and so did the materialization", {},
                                          "the same request continues it"));
    }
    return FeastErrorResponse(status, kFeastViewNotFound);
  }

  /// Feast's clients read "error" of this one.
  net::HttpResponse Conflict(const Status& status, const MaterializeQuery& query) const {
    std::vector<std::string> views;
    for (const feature::MaterializationJob& job : store_.registry().Jobs()) {
      if (job.state != feature::JobState::kRunning) continue;
      for (const feature::ViewProgress& each : job.progress) {
        const bool asked = !query.views || std::ranges::count(*query.views, each.view) > 0;
        if (asked && !each.done && std::ranges::count(views, each.view) == 0)
          views.push_back(each.view);
      }
    }
    std::string body;
    net::JsonWriter json(&body);
    json.BeginObject()
        .Key("error")
        .String(Concat(status.message(), "; ?force=true begins another beside it"))
        .Key("feature_views")
        .BeginArray();
    for (const std::string& view : views) json.String(view);
    json.EndArray().EndObject();
    return net::JsonResponse(409, std::move(body));
  }

  void Ended(const feature::MaterializationJob& begun, const Status& status) {
    if (!status.ok()) {
      LogError("feature_server", "a materialization did not succeed",
               {{"job", begun.id}, {"error", status.message()}});
    }
    const auto job = store_.GetMaterialization(begun.id);
    for (const feature::ViewProgress& each : job.ok() ? job->progress : begun.progress) {
      metrics_
          .GetCounter("feast_materialization_result_total",
                      "Materializations of a view that clients asked for",
                      {{"feature_view", each.view}, {"status", each.done ? "success" : "failure"}})
          .Increment();
    }
  }

  feature::FeatureStore& store_;
  Metrics& metrics_;
  MaterializationQueue queue_;  // last: ends first
};

}  // namespace

void AddMaterializeRoutes(feature::FeatureStore& store, Metrics& metrics,
                          const RouterOptions& options, net::Router* router) {
  const auto jobs = std::make_shared<Materializations>(store, metrics, options);
  router->Post("/materialize",
               [jobs](const Context& context, const net::HttpRequest& request) {
                 return jobs->Handle(context, request, false);
               },
               {.blocking = true, .unlimited = false});
  router->Post("/materialize-incremental",
               [jobs](const Context& context, const net::HttpRequest& request) {
                 return jobs->Handle(context, request, true);
               },
               {.blocking = true, .unlimited = false});
}

}  // namespace gnomon::feature_server
