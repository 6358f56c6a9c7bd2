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
#include "demo/flow.h"
#include "demo/plot.h"
#include "demo/random.h"
#include "demo/report.h"
#include "demo/sales_data.h"
#include "demo/template.h"
#include "demo/workspace.h"
#include "model/metrics.h"
#include "net/json.h"
#include "net/json_columns.h"
#include "table/file.h"

namespace gnomon::demo {
namespace {

constexpr int kRequests = 2000;
constexpr const char* kModel = "sales-model";

/// Everything that the flow leaves for the report.
struct SalesFlow : Flow {
  SalesData data;
  double noise_floor_r2 = 0;
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

/// The generator's own mean on the held-out rows: what no honest model can beat.
double NoiseFloor(const SalesFlow& flow) {
  const train::TrainingResult& result = flow.training->result;
  std::vector<double> mean;
  for (int64_t row : result.split.test) mean.push_back(flow.data.mean[static_cast<size_t>(row)]);
  return model::EvaluateRegression(result.test_actual, mean).r2;
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
  GNOMON_ASSIGN_OR_RETURN(const auto served, ServedModel::Start(store, kModel, flow->data.end));
  const std::string url = served->predict_url();

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
  return Status::OK();
}

std::string FormatJson(const SalesFlow& flow, const DemoOptions& options,
                       const std::string& report) {
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject();
  AppendSteps(flow.steps, &json);
  json.Key("metrics").BeginObject();
  for (const auto& [key, name] : std::vector<std::pair<std::string, std::string>>{
           {"mse", "test_mse"},
           {"mae", "test_mae"},
           {"r2", "test_r2"},
           {"baseline_last_value_mse", "baseline_last_value_mse"},
           {"baseline_group_mean_mse", "baseline_group_mean_mse"}}) {
    json.Key(key).Double(flow.Metric(name));
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
  report.AddFigure(Fixed(flow.Metric("test_r2"), 4),
                   Concat("test R2 (noise floor ", Fixed(flow.noise_floor_r2, 4), ")"));
  report.AddFigure(Fixed(flow.Metric("test_mae"), 0), "mean absolute error of a week's sales");
  report.AddFigure(FormatSeconds(flow.latency.Quantile(0.5)), "median prediction over HTTP");
  report.AddFigure(FormatSeconds(flow.latency.Quantile(0.99)), "99th percentile");

  report.AddPlot(
      "Loss per epoch",
      "Mean squared error of the standardised target; validation is the four weeks "
      "before the test.",
      LinePlot(LossSeries(result), {.x_label = "epoch", .y_label = "loss", .zero_based = true}));

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
  report.AddPlot("Latency of predictions",
                 Concat(flow.latency.seconds.size(),
                        " requests one after another over loopback: entity keys in, prediction "
                        "out. The document: 20 to 50 ms."),
                 LatencyPlot(flow.latency));

  std::vector<Bar> bars = StepBars(flow.steps);
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
      {{"model", Fixed(flow.Metric("test_mse"), 0), "1.00"},
       {"last week's sales", Fixed(flow.Metric("baseline_last_value_mse"), 0),
        Fixed(flow.Metric("baseline_last_value_mse") / flow.Metric("test_mse"), 2)},
       {"mean of the same store and department", Fixed(flow.Metric("baseline_group_mean_mse"), 0),
        Fixed(flow.Metric("baseline_group_mean_mse") / flow.Metric("test_mse"), 2)}});
  report.AddTable("A request and its answer", Concat("POST /v1/models/", kModel, ":predict"),
                  {"request", "answer"}, {{flow.first_request, flow.first_reply}});
  return report;
}

std::string FormatText(const SalesFlow& flow, const DemoOptions& options,
                       const std::string& report) {
  std::string text = Concat("\n", StepsText(flow.steps), "   (the document: 15 to 20 minutes)\n\n");
  text += Concat("  rows ", flow.training->rows, ", online keys ",
                 options.stores * options.departments, ", run ", flow.training->run.name, "\n");
  text += Concat("  test R2 ", Fixed(flow.Metric("test_r2"), 4), " (noise floor ",
                 Fixed(flow.noise_floor_r2, 4), "), MAE ", Fixed(flow.Metric("test_mae"), 1), "\n");
  text +=
      Concat("  test MSE ", Fixed(flow.Metric("test_mse"), 0), "; last value ",
             Fixed(flow.Metric("baseline_last_value_mse"), 0), ", mean of store and department ",
             Fixed(flow.Metric("baseline_group_mean_mse"), 0), "\n");
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
  GNOMON_ASSIGN_OR_RETURN(const auto store,
                          ApplyAndMaterialize(context, options, kFirstWeek, flow.data.end, &flow));
  GNOMON_RETURN_NOT_OK(TrainModel(context, options, *store, &flow));
  flow.noise_floor_r2 = NoiseFloor(flow);
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
