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
#include "demo/flow.h"
#include "demo/plot.h"
#include "demo/report.h"
#include "demo/template.h"
#include "demo/workspace.h"
#include "net/json.h"
#include "net/json_columns.h"
#include "table/file.h"

namespace gnomon::demo {
namespace {

constexpr int kRequests = 1000;
constexpr const char* kModel = "flights-model";
constexpr int64_t kBeginning = 1'325'376'000'000'000;  // 2012-01-01T00:00:00Z

struct FlightsFlow : Flow {
  FlightsData data;
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
  GNOMON_ASSIGN_OR_RETURN(const auto served, ServedModel::Start(store, kModel, flow->data.end));
  std::vector<std::string> bodies;
  const int64_t rows = flow->data.flights->num_rows();
  for (int64_t i = 0; i < kRequests; ++i) {
    GNOMON_ASSIGN_OR_RETURN(std::string body,
                            Instance(*flow->data.flights, rows - 1 - (i * 37) % rows));
    bodies.push_back(std::move(body));
  }
  std::vector<std::string> replies;
  GNOMON_ASSIGN_OR_RETURN(flow->latency,
                          MeasureRequests(context, served->predict_url(), bodies, &replies));
  flow->first_request = bodies.front();
  flow->first_reply = replies.front();
  return Status::OK();
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
  report.AddFigure(Fixed(flow.Metric("test_auc"), 4), "AUC on the held-out weeks (base rate: 0.5)");
  report.AddFigure(
      Fixed(flow.Metric("test_log_loss"), 4),
      Concat("log loss (base rate: ", Fixed(flow.Metric("baseline_base_rate_log_loss"), 4), ")"));
  report.AddFigure(FormatSeconds(flow.latency.Quantile(0.5)), "median prediction over HTTP");
  report.AddFigure(FormatSeconds(flow.latency.Quantile(0.99)), "99th percentile");
  report.AddPlot("Loss per epoch", "Log loss.",
                 LinePlot(LossSeries(result), {.x_label = "epoch", .y_label = "log loss"}));
  report.AddPlot(
      "Calibration",
      "How many flights of each class of predictions were late; on the dashed line they agree.",
      ScatterPlot({Calibration(result)},
                  {.x_label = "predicted probability", .y_label = "late", .diagonal = true}));
  report.AddPlot("Latency of predictions",
                 Concat(flow.latency.seconds.size(), " requests one after another over loopback."),
                 LatencyPlot(flow.latency));
  report.AddPlot("Time of each step", "Wall time of this run.", BarPlot(StepBars(flow.steps)));
  report.AddTable("A request and its answer", Concat("POST /v1/models/", kModel, ":predict"),
                  {"request", "answer"}, {{flow.first_request, flow.first_reply}});
  return report;
}

std::string FormatJson(const FlightsFlow& flow, const DemoOptions& options,
                       const std::string& report) {
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject();
  AppendSteps(flow.steps, &json);
  json.Key("metrics").BeginObject();
  for (const auto& [key, name] : std::vector<std::pair<std::string, std::string>>{
           {"auc", "test_auc"},
           {"log_loss", "test_log_loss"},
           {"baseline_base_rate_log_loss", "baseline_base_rate_log_loss"}}) {
    json.Key(key).Double(flow.Metric(name));
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
  std::string text =
      Concat("\n", StepsText(flow.steps), "\n\n  ", flow.training->rows, " flights, ",
             flow.job.rows, " online keys, run ", flow.training->run.name, "\n");
  text += Concat("  AUC ", Fixed(flow.Metric("test_auc"), 4), " (base rate 0.5), log loss ",
                 Fixed(flow.Metric("test_log_loss"), 4), " (base rate ",
                 Fixed(flow.Metric("baseline_base_rate_log_loss"), 4), ")\n");
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
  GNOMON_ASSIGN_OR_RETURN(const auto store,
                          ApplyAndMaterialize(context, options, kBeginning, flow.data.end, &flow));
  GNOMON_RETURN_NOT_OK(TrainModel(context, options, *store, &flow));
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
