#include <algorithm>
#include <filesystem>
#include <map>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>

#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "demo/demo.h"
#include "demo/plot.h"
#include "demo/random.h"
#include "demo/report.h"
#include "demo/sales_data.h"
#include "demo/template.h"
#include "demo/workspace.h"
#include "feature/store/feature_store.h"
#include "model/metrics.h"
#include "model_server/model_server.h"
#include "net/json.h"
#include "net/json_columns.h"
#include "net/server.h"
#include "table/file.h"
#include "tracking/run_store.h"
#include "train/job/training_job.h"

namespace gnomon::demo {
namespace {

constexpr int kRequests = 2000;
constexpr const char* kModel = "sales-model";

/// Everything that the flow leaves for the report.
struct SalesFlow {
  SalesData data;
  Steps steps;
  feature::MaterializationJob job;
  std::optional<train::TrainingOutcome> training;
  double noise_floor_r2 = 0;
  Latency latency;
  std::string first_request;
  std::string first_reply;
  std::vector<double> first_predictions;
};

/// Permutes the labels of each store and department over the weeks: what is left to learn is their
/// mean.
Result<std::shared_ptr<arrow::Table>> ShuffleLabels(const arrow::Table& labels, int64_t weeks,
                                                    uint64_t seed) {
  const int place = labels.schema()->GetFieldIndex("weekly_sales");
  const auto& column = static_cast<const arrow::DoubleArray&>(*labels.column(place)->chunk(0));
  std::vector<double> values(column.raw_values(), column.raw_values() + column.length());
  Random random(seed);
  for (size_t group = 0; group < values.size(); group += static_cast<size_t>(weeks)) {
    for (auto i = static_cast<size_t>(weeks) - 1; i > 0; --i) {
      std::swap(values[group + i], values[group + random.Next() % (i + 1)]);
    }
  }
  arrow::DoubleBuilder builder;
  GNOMON_RETURN_NOT_OK(builder.AppendValues(values));
  GNOMON_ASSIGN_OR_RETURN(auto shuffled, builder.Finish());
  return labels.SetColumn(place, labels.field(place),
                          std::make_shared<arrow::ChunkedArray>(shuffled));
}

Status Generate(const Context& context, const DemoOptions& options, SalesFlow* flow) {
  GNOMON_ASSIGN_OR_RETURN(flow->data, GenerateSales(context, {.stores = options.stores,
                                                              .departments = options.departments,
                                                              .weeks = options.weeks,
                                                              .seed = options.seed}));
  if (options.shuffle_labels) {
    GNOMON_ASSIGN_OR_RETURN(flow->data.labels,
                            ShuffleLabels(*flow->data.labels, options.weeks, options.seed));
  }
  GNOMON_RETURN_NOT_OK(
      table::WriteTable(context, *flow->data.sales, options.folder + "/data/sales.parquet"));
  return table::WriteTable(context, *flow->data.labels, options.folder + "/data/labels.parquet");
}

Status Train(const Context& context, const DemoOptions& options, const feature::FeatureStore& store,
             SalesFlow* flow) {
  GNOMON_ASSIGN_OR_RETURN(auto root, LoadConfigFile(options.folder + "/training.yaml"));
  GNOMON_ASSIGN_OR_RETURN(auto config, train::ParseTrainingConfig(root));
  config.fit.seed = options.seed;
  GNOMON_ASSIGN_OR_RETURN(auto runs, tracking::OpenLocalRunStore(store.config().tracking.path));
  const model::ModelRepository models(store.config().models);
  GNOMON_ASSIGN_OR_RETURN(flow->training,
                          train::RunTraining(context, store, config, *runs, models));
  // The generator's own mean on the held-out rows: what no honest model can beat.
  const train::TrainingResult& result = flow->training->result;
  std::vector<double> mean;
  for (int64_t row : result.split.test) mean.push_back(flow->data.mean[static_cast<size_t>(row)]);
  flow->noise_floor_r2 = model::EvaluateRegression(result.test_actual, mean).r2;
  return Status::OK();
}

std::string Instance(int64_t store, int64_t dept) {
  return Concat("{\"store\":", store, ",\"dept\":", dept, "}");
}

Result<std::vector<double>> ParsePredictions(const std::string& body) {
  GNOMON_ASSIGN_OR_RETURN(auto document, net::JsonDocument::Parse("{\"answer\":" + body + "}"));
  GNOMON_ASSIGN_OR_RETURN(auto columns, document.GetColumns("answer"));
  const auto& values = static_cast<const arrow::DoubleArray&>(*columns->column(0));
  return std::vector<double>(values.raw_values(), values.raw_values() + values.length());
}

/// Starts the model server on a free port of loopback, asks it as a client would, measures.
Status Serve(const Context& context, const DemoOptions& options, const feature::FeatureStore& store,
             SalesFlow* flow) {
  const model::ModelRepository repository(store.config().models);
  GNOMON_ASSIGN_OR_RETURN(auto models, model_server::LoadModels(store, repository, {kModel}));
  Metrics metrics;
  net::ServerOptions server_options;
  server_options.name = "gnomon-model-server";
  server_options.workers = 1;
  GNOMON_ASSIGN_OR_RETURN(
      auto server,
      net::HttpServer::Start(server_options,
                             model_server::MakeRouter(models, metrics, flow->data.end), &metrics));
  const std::string url = Concat(server->url(), "/v1/models/", kModel, ":predict");

  flow->first_request = Concat(
      "{\"instances\":[", Instance(1, std::min<int64_t>(3, options.departments)), ",",
      Instance(std::min<int64_t>(5, options.stores), std::min<int64_t>(12, options.departments)),
      "]}");
  std::vector<std::string> replies;
  GNOMON_RETURN_NOT_OK(MeasureRequests(context, url, {flow->first_request}, &replies).status());
  flow->first_reply = replies.front();
  GNOMON_ASSIGN_OR_RETURN(flow->first_predictions, ParsePredictions(flow->first_reply));

  Random random(options.seed + 1);
  std::vector<std::string> bodies;
  for (int i = 0; i < kRequests; ++i) {
    const auto store_number =
        static_cast<int64_t>(random.Next() % static_cast<uint64_t>(options.stores)) + 1;
    const auto dept =
        static_cast<int64_t>(random.Next() % static_cast<uint64_t>(options.departments)) + 1;
    bodies.push_back(Concat("{\"instances\":[", Instance(store_number, dept), "]}"));
  }
  GNOMON_ASSIGN_OR_RETURN(flow->latency, MeasureRequests(context, url, bodies, nullptr));
  server->Stop();
  return Status::OK();
}

double Metric(const SalesFlow& flow, const std::string& key) {
  const auto& metrics = flow.training->result.metrics;
  auto found = metrics.find(key);
  return found == metrics.end() ? 0 : found->second;
}

std::string Fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, value);
  return buffer;
}

std::string FormatJson(const SalesFlow& flow, const DemoOptions& options,
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
           {"mse", "test_mse"},
           {"mae", "test_mae"},
           {"r2", "test_r2"},
           {"baseline_last_value_mse", "baseline_last_value_mse"},
           {"baseline_group_mean_mse", "baseline_group_mean_mse"}}) {
    json.Key(key).Double(Metric(flow, name));
  }
  json.Key("noise_floor_r2").Double(flow.noise_floor_r2).EndObject();
  json.Key("latency_ms").BeginObject().Key("p50").Double(flow.latency.Quantile(0.5) * 1e3);
  json.Key("p99").Double(flow.latency.Quantile(0.99) * 1e3).EndObject();
  json.Key("predictions").BeginArray();
  for (double value : flow.first_predictions) json.Double(value);
  json.EndArray()
      .Key("rows")
      .Int(flow.training->rows)
      .Key("online_keys")
      .Int(options.stores * options.departments);
  json.Key("materialized_rows").Int(flow.job.rows).Key("run").String(flow.training->run.name);
  json.Key("seed").UInt(options.seed).Key("report").String(report).EndObject();
  return out;
}

/// Mean absolute error by test week, as shares of the mean sales of the week.
Series ErrorByWeek(const train::TrainingResult& result) {
  struct Week {
    double error = 0;
    double sales = 0;
  };
  std::map<int64_t, Week> weeks;
  for (size_t i = 0; i < result.test_actual.size(); ++i) {
    Week& week = weeks[(result.test_times[i] - kFirstWeek) / (7 * kMicrosPerDay)];
    week.error += std::abs(result.test_actual[i] - result.test_predicted[i]);
    week.sales += result.test_actual[i];
  }
  Series series{.name = "model", .x = {}, .y = {}, .color = "var(--accent)"};
  for (const auto& [week, sums] : weeks) {
    series.x.push_back(static_cast<double>(week + 1));
    series.y.push_back(100 * sums.error / sums.sales);
  }
  return series;
}

Report MakeReport(const SalesFlow& flow, const DemoOptions& options) {
  const train::TrainingResult& result = flow.training->result;
  Report report("Weekly sales, from events to predictions",
                Concat(options.stores, " stores, ", options.departments, " departments, ",
                       options.weeks, " weeks: ", flow.training->rows, " rows, seed ", options.seed,
                       ", run ", flow.training->run.name));
  report.AddFigure(FormatSeconds(flow.steps.total()),
                   "whole flow (the document: 15 to 20 minutes)");
  report.AddFigure(Fixed(Metric(flow, "test_r2"), 4),
                   Concat("test R2 (noise floor ", Fixed(flow.noise_floor_r2, 4), ")"));
  report.AddFigure(Fixed(Metric(flow, "test_mae"), 0), "mean absolute error of a week's sales");
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
  report.AddPlot("Loss per epoch",
                 "Mean squared error of the standardised target; validation is the four weeks "
                 "before the test.",
                 LinePlot({training, validation},
                          {.x_label = "epoch", .y_label = "loss", .zero_based = true}));

  Series points{.name = "week", .x = {}, .y = {}, .color = "var(--second)"};
  const size_t stride = std::max<size_t>(1, result.test_actual.size() / 1500);
  for (size_t i = 0; i < result.test_actual.size(); i += stride) {
    points.x.push_back(result.test_actual[i]);
    points.y.push_back(result.test_predicted[i]);
  }
  report.AddPlot("Predicted against actual",
                 "A sample of the held-out weeks, both axes logarithmic; the dashed line is a "
                 "perfect prediction.",
                 ScatterPlot({points}, {.x_label = "actual weekly sales",
                                        .y_label = "predicted",
                                        .log_scale = true,
                                        .diagonal = true}));
  report.AddPlot("Error by week",
                 "Mean absolute error of each held-out week as a share of its sales.",
                 LinePlot({ErrorByWeek(result)},
                          {.x_label = "week", .y_label = "error, %", .zero_based = true}));
  std::vector<double> milliseconds;
  for (double seconds : flow.latency.seconds) milliseconds.push_back(seconds * 1e3);
  report.AddPlot("Latency of predictions",
                 Concat(flow.latency.seconds.size(),
                        " requests one after another over loopback: entity keys in, prediction "
                        "out. The document: 20 to 50 ms."),
                 Histogram(milliseconds, 40, {.x_label = "milliseconds", .y_label = "requests"}));

  std::vector<Bar> bars;
  for (const auto& step : flow.steps.steps()) {
    bars.push_back({.name = step.name,
                    .value = step.seconds,
                    .text = FormatSeconds(step.seconds),
                    .color = "var(--second)"});
  }
  bars.push_back({.name = "everything",
                  .value = flow.steps.total(),
                  .text = FormatSeconds(flow.steps.total()),
                  .color = "var(--accent)"});
  report.AddPlot("Time of each step", "Wall time of this run.", BarPlot(bars));
  report.AddPlot("Beside the document",
                 "The same flow as the document describes it, with Feast, Ray, MLflow and KServe.",
                 BarPlot({{.name = "gnomon, this run",
                           .value = flow.steps.total(),
                           .text = FormatSeconds(flow.steps.total()),
                           .color = "var(--accent)"},
                          {.name = "document, at least",
                           .value = 15 * 60,
                           .text = "15 min",
                           .color = "var(--third)"},
                          {.name = "document, at most",
                           .value = 20 * 60,
                           .text = "20 min",
                           .color = "var(--third)"}}));
  report.AddTable(
      "Held-out weeks", "The model beside naive predictions of the same weeks.",
      {"prediction", "mean squared error", "share of the model's"},
      {{"model", Fixed(Metric(flow, "test_mse"), 0), "1.00"},
       {"last week's sales", Fixed(Metric(flow, "baseline_last_value_mse"), 0),
        Fixed(Metric(flow, "baseline_last_value_mse") / Metric(flow, "test_mse"), 2)},
       {"mean of the same store and department", Fixed(Metric(flow, "baseline_group_mean_mse"), 0),
        Fixed(Metric(flow, "baseline_group_mean_mse") / Metric(flow, "test_mse"), 2)}});
  report.AddTable("A request and its answer", Concat("POST /v1/models/", kModel, ":predict"),
                  {"request", "answer"}, {{flow.first_request, flow.first_reply}});
  return report;
}

std::string FormatText(const SalesFlow& flow, const DemoOptions& options,
                       const std::string& report) {
  std::string text = "\n";
  for (const auto& step : flow.steps.steps()) {
    text += Concat("  ", step.name, std::string(std::max<size_t>(1, 26 - step.name.size()), ' '),
                   FormatSeconds(step.seconds), "\n");
  }
  text += Concat("  everything                ", FormatSeconds(flow.steps.total()),
                 "   (the document: 15 to 20 minutes)\n\n");
  text += Concat("  rows ", flow.training->rows, ", online keys ",
                 options.stores * options.departments, ", run ", flow.training->run.name, "\n");
  text +=
      Concat("  test R2 ", Fixed(Metric(flow, "test_r2"), 4), " (noise floor ",
             Fixed(flow.noise_floor_r2, 4), "), MAE ", Fixed(Metric(flow, "test_mae"), 1), "\n");
  text +=
      Concat("  test MSE ", Fixed(Metric(flow, "test_mse"), 0), "; last value ",
             Fixed(Metric(flow, "baseline_last_value_mse"), 0), ", mean of store and department ",
             Fixed(Metric(flow, "baseline_group_mean_mse"), 0), "\n");
  text += Concat("  ", flow.latency.seconds.size(), " predictions over HTTP: p50 ",
                 FormatSeconds(flow.latency.Quantile(0.5)), ", p99 ",
                 FormatSeconds(flow.latency.Quantile(0.99)), "\n");
  text += Concat("  ", flow.first_request, "\n  -> ", flow.first_reply, "\n\n");
  text += Concat("  report: ", report, "\n  look further: gnomon -c ", options.folder,
                 " runs list | feature-views list | status\n");
  return text;
}

}  // namespace

Result<DemoOutcome> RunSalesDemo(const Context& context, const DemoOptions& options) {
  GNOMON_RETURN_NOT_OK(PrepareFolder(options.folder));
  GNOMON_RETURN_NOT_OK(WriteTemplate(context, "sales", options.folder).status());
  SalesFlow flow;
  GNOMON_RETURN_NOT_OK(
      flow.steps.Run(context, "generate", [&] { return Generate(context, options, &flow); }));
  std::unique_ptr<feature::FeatureStore> store;
  GNOMON_RETURN_NOT_OK(flow.steps.Run(context, "apply", [&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(store, feature::FeatureStore::Open(context, options.folder));
    GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
    return store->Apply(context, definitions).status();
  }));
  GNOMON_RETURN_NOT_OK(flow.steps.Run(context, "materialize", [&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(
        flow.job, store->Materialize(context, {.start = kFirstWeek, .end = flow.data.end}));
    return Status::OK();
  }));
  double start = MonotonicSeconds();
  GNOMON_RETURN_NOT_OK(Train(context, options, *store, &flow));
  const double training = MonotonicSeconds() - start;
  flow.steps.Add("historical features", flow.training->retrieve_seconds);
  flow.steps.Add("train and track", training - flow.training->retrieve_seconds);
  GNOMON_RETURN_NOT_OK(flow.steps.Run(context, "serve and measure",
                                      [&] { return Serve(context, options, *store, &flow); }));
  const std::string report = options.folder + "/report.html";
  GNOMON_RETURN_NOT_OK(
      flow.steps.Run(context, "report", [&] { return MakeReport(flow, options).WriteTo(report); }));
  return DemoOutcome{.text = FormatText(flow, options, report),
                     .json = FormatJson(flow, options, report),
                     .report_path = report};
}

}  // namespace gnomon::demo
