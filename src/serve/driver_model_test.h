#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/time.h"
#include "feature/plan/feature_plan.h"
#include "feature/store/feature_store.h"
#include "model/model.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

/// A materialized repository of drivers and a small model on it, for tests of what serves models.
namespace gnomon::serve {

inline constexpr const char* kDriverFeatures = R"yaml(
entities: [{name: driver, join_keys: [driver_id], value_type: INT64}]
data_sources:
  - {name: stats, type: file, path: stats.csv, timestamp_field: event_timestamp}
feature_views:
  - {name: latest, entities: [driver], source: stats, ttl: 1d, schema: [{name: rate, dtype: Float64}, {name: trips, dtype: Int64}]}
  - {name: week, entities: [driver], source: stats, aggregations: [{column: trips, function: mean, time_window: 7d, name: mean_trips}]}
on_demand_feature_views:
  - name: effort
    sources: [latest]
    request: [{name: hours, dtype: Float64}]
    features: [{name: per_hour, dtype: Float64, expression: trips / hours}]
feature_services:
  - {name: driver_service, features: [latest, week, effort]}
)yaml";

/// Driver 1 has two rows, driver 2 one; driver 3's trips are null.
inline constexpr const char* kDriverStats = R"(driver_id,event_timestamp,rate,trips
1,2026-01-01T10:00:00Z,0.5,10
2,2026-01-01T12:00:00Z,0.25,24
1,2026-01-02T10:00:00Z,0.75,20
3,2026-01-02T10:00:00Z,0.125,
)";

struct DriverModel {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  FakeClock clock{test::ValueOf(ParseTimestamp("2026-01-02T11:00:00Z"))};
  Context context;
  std::unique_ptr<feature::FeatureStore> store;

  DriverModel() {
    context.clock = &clock;
    test::RequireOk(WriteFileAtomic(folder.path() + "/feature_store.yaml", "project: drivers\n"));
    test::RequireOk(WriteFileAtomic(folder.path() + "/features.yaml", kDriverFeatures));
    test::RequireOk(WriteFileAtomic(folder.path() + "/stats.csv", kDriverStats));
    store = test::ValueOf(feature::FeatureStore::Open(context, folder.path()));
    test::RequireOk(store->Apply(context, test::ValueOf(store->LoadRepository())).status());
    test::RequireOk(store->Materialize(context, {.start = 0}).status());
  }

  /// Two layers with fixed weights that no float holds exactly.
  model::Model MakeModel(const std::string& name = "driver-model") const {
    const std::vector<std::string> columns = {"rate", "trips", "mean_trips", "per_hour"};
    std::vector<test::Column> fields;
    for (const std::string& column : columns) fields.push_back({column, arrow::float64()});
    const auto training = test::ValueOf(table::SingleBatch(
        *test::TableOf(fields, "[[0.1, 7, 3, 1.5], [0.7, null, 13, 2.9], [0.9, 31, 19, null]]")));
    auto preprocessor = test::ValueOf(model::Preprocessor::Fit(*training, columns, {0, 1, 2}));
    const model::MlpSpec spec{.inputs = preprocessor.inputs(), .hidden = {5}};
    auto mlp =
        test::ValueOf(model::Mlp::Make(spec, {Layer(spec.inputs, 5, 0.37F), Layer(5, 1, -0.91F)}));
    const auto fingerprint =
        test::ValueOf(feature::FingerprintOf(*store->definitions(), "driver_service"));
    return test::ValueOf(model::Model::Make(name,
                                            {.project = "drivers",
                                             .feature_service = "driver_service",
                                             .feature_service_fingerprint = fingerprint,
                                             .label = "earned",
                                             .data_fingerprint = "",
                                             .run_id = ""},
                                            std::move(preprocessor), std::move(mlp),
                                            {.mean = 100, .scale = 10}));
  }

  static std::shared_ptr<arrow::RecordBatch> Instances(std::string_view rows) {
    return test::ValueOf(table::SingleBatch(
        *test::TableOf({{"driver_id", arrow::int64()}, {"hours", arrow::float64()}}, rows)));
  }

 private:
  static model::DenseLayer Layer(int64_t inputs, int64_t outputs, float step) {
    model::DenseLayer layer{.inputs = inputs, .outputs = outputs, .weight = {}, .bias = {}};
    for (int64_t i = 0; i < inputs * outputs; ++i)
      layer.weight.push_back(step * static_cast<float>(i % 7 - 3));
    for (int64_t i = 0; i < outputs; ++i) layer.bias.push_back(step / static_cast<float>(i + 3));
    return layer;
  }
};

}  // namespace gnomon::serve
