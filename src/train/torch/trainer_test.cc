#include "train/trainer.h"

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/json/from_string.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/time.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::train {
namespace {

using test::ValueOf;

constexpr int64_t kWeek = 7 * kMicrosPerDay;
constexpr double kNoise = 2;

template <typename Builder, typename Value>
std::shared_ptr<arrow::Array> Column(const std::vector<Value>& values) {
  Builder builder;
  CHECK_OK(builder.AppendValues(values));
  return ValueOf(builder.Finish());
}

struct SalesOptions {
  int64_t weeks = 60;
  int64_t stores = 100;
  bool shuffled = false;
  uint64_t test_seed = 0;  ///< values of the features of the last 8 weeks
};

// Sales of store s in week w are 50 + 10 level(s) + 5 season + noise. Features: the level, the
// season, a text that names half of the stores, a list; and a column of the entity rows that gives
// the label away.
std::shared_ptr<arrow::Table> Sales(const SalesOptions& options) {
  std::mt19937_64 random(1);
  std::mt19937_64 late_random(options.test_seed);
  std::normal_distribution<double> normal;
  std::vector<double> levels;
  for (int64_t store = 0; store < options.stores; ++store) levels.push_back(normal(random));
  std::vector<int64_t> times;
  std::vector<int64_t> stores;
  std::vector<double> labels;
  std::vector<double> level_features;
  std::vector<double> seasons;
  std::vector<double> lasts;
  std::vector<std::string> texts;
  for (int64_t week = 0; week < options.weeks; ++week) {
    for (int64_t store = 0; store < options.stores; ++store) {
      const double season = normal(random);
      const double level = levels[static_cast<size_t>(store)];
      times.push_back(week * kWeek);
      stores.push_back(store);
      labels.push_back(50 + 10 * level + 5 * season + kNoise * normal(random));
      const bool late = options.test_seed != 0 && week >= options.weeks - 8;
      level_features.push_back(late ? 100 * normal(late_random) : level);
      seasons.push_back(late ? 100 * normal(late_random) : season);
      lasts.push_back(50 + 10 * level + 5 * normal(random));
      texts.emplace_back(store % 2 == 0 ? "even" : "odd");
    }
  }
  if (options.shuffled) std::ranges::shuffle(labels, random);
  std::string lists = "[";
  for (size_t row = 0; row < times.size(); ++row) lists += row == 0 ? "[1]" : ",[1]";
  const auto time_type = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  const auto time_column = ValueOf(Column<arrow::Int64Builder>(times)->View(time_type));
  const auto label_column = Column<arrow::DoubleBuilder>(labels);
  return arrow::Table::Make(
      arrow::schema(
          {arrow::field("store", arrow::int64()), arrow::field("event_timestamp", time_type),
           arrow::field("sales", arrow::float64()), arrow::field("answer", arrow::float64()),
           arrow::field("level", arrow::float64()), arrow::field("season", arrow::float64()),
           arrow::field("last", arrow::float64()), arrow::field("parity", arrow::utf8()),
           arrow::field("history", arrow::list(arrow::float64()))}),
      {Column<arrow::Int64Builder>(stores), time_column, label_column, label_column,
       Column<arrow::DoubleBuilder>(level_features), Column<arrow::DoubleBuilder>(seasons),
       Column<arrow::DoubleBuilder>(lasts), Column<arrow::StringBuilder>(texts),
       ValueOf(arrow::json::ArrayFromJSONString(arrow::list(arrow::float64()), lists + "]"))});
}

TrainingConfig Config() {
  TrainingConfig config;
  config.name = "sales-model";
  config.label = "sales";
  config.features = {"level", "season", "last", "parity", "history"};
  config.test = {.duration = 8 * kWeek, .fraction = 0};
  config.validation = {.duration = 4 * kWeek, .fraction = 0};
  config.network.hidden = {32, 16};
  config.fit = {.epochs = 20,
                .batch_size = 128,
                .learning_rate = 3e-3,
                .patience = 0,
                .seed = 3,
                .threads = 1};
  config.baseline_last_value = "last";
  config.baseline_group_mean = {"store"};
  return config;
}

TrainingResult TrainSales(const SalesOptions& options, const TrainingConfig& config = Config()) {
  return ValueOf(Train({}, config, *Sales(options), {}));
}

TEST_CASE("a table with signal is learned to near its noise, far below both baselines") {
  const TrainingResult result = TrainSales({});
  const auto& metrics = result.metrics;
  CHECK(metrics.at("test_mse") < 1.15 * kNoise * kNoise);
  CHECK(metrics.at("test_mse") > 0.85 * kNoise * kNoise);
  CHECK(metrics.at("test_r2") > 0.95);
  CHECK(metrics.at("baseline_group_mean_mse") ==
        doctest::Approx(25 + kNoise * kNoise).epsilon(0.15));
  CHECK(metrics.at("baseline_last_value_mse") ==
        doctest::Approx(50 + kNoise * kNoise).epsilon(0.15));
  CHECK(metrics.at("baseline_mean_mse") > 100);
  CHECK(metrics.at("training_rows") == 48 * 100);
  CHECK(metrics.at("validation_rows") == 4 * 100);
  CHECK(metrics.at("test_rows") == 8 * 100);
  CHECK(metrics.at("null_label_rows") == 0);
  CHECK(metrics.at("network_inputs") ==
        5);  // three numbers, one text of two values; no list, no answer, no store
  CHECK(result.split.test_start == 52 * kWeek);
  CHECK(result.test_times.front() == 52 * kWeek);
  CHECK(result.epochs.size() == 20);
}

TEST_CASE("with shuffled labels the model does not beat the mean") {
  TrainingConfig config = Config();
  config.fit.patience = 3;
  const auto metrics = TrainSales({.shuffled = true}, config).metrics;
  CHECK(metrics.at("test_mse") > 0.985 * metrics.at("baseline_mean_mse"));
  CHECK(metrics.at("test_r2") < 0.015);
}

TEST_CASE("the scaler and the weights come from the training and validation rows only") {
  const TrainingResult plain = TrainSales({});
  const TrainingResult changed = TrainSales({.test_seed = 99});
  CHECK(plain.model.preprocessor().ToJson() == changed.model.preprocessor().ToJson());
  CHECK(plain.model.target().mean == changed.model.target().mean);
  CHECK(plain.model.mlp().layers()[0].weight == changed.model.mlp().layers()[0].weight);
  CHECK(plain.metrics.at("test_mse") != changed.metrics.at("test_mse"));
}

TEST_CASE("rows without a label are left out and counted") {
  const auto table = Sales({.weeks = 20, .stores = 20});
  arrow::DoubleBuilder builder;
  const auto& labels = static_cast<const arrow::DoubleArray&>(*table->column(2)->chunk(0));
  for (int64_t row = 0; row < labels.length(); ++row) {
    CHECK_OK(row % 4 == 1 ? builder.AppendNull() : builder.Append(labels.Value(row)));
  }
  const auto holed =
      ValueOf(table->SetColumn(2, table->schema()->field(2),
                               std::make_shared<arrow::ChunkedArray>(ValueOf(builder.Finish()))));
  TrainingConfig config = Config();
  config.fit.epochs = 1;
  const TrainingResult result = ValueOf(Train({}, config, *holed, {}));
  CHECK(result.metrics.at("null_label_rows") == 100);
  CHECK(result.metrics.at("training_rows") + result.metrics.at("validation_rows") +
            result.metrics.at("test_rows") ==
        300);
  for (const int64_t row : result.split.training) CHECK(row % 4 != 1);
}

TEST_CASE("a classification reports itself beside the base rate") {
  const auto table = Sales({});
  arrow::BooleanBuilder builder;
  const auto& labels = static_cast<const arrow::DoubleArray&>(*table->column(2)->chunk(0));
  for (int64_t row = 0; row < labels.length(); ++row)
    CHECK_OK(builder.Append(labels.Value(row) > 55));
  const auto binary =
      ValueOf(table->SetColumn(2, arrow::field("sales", arrow::boolean()),
                               std::make_shared<arrow::ChunkedArray>(ValueOf(builder.Finish()))));
  TrainingConfig config = Config();
  config.network.task = model::Task::kBinaryClassification;
  const auto metrics = ValueOf(Train({}, config, *binary, {})).metrics;
  CHECK(metrics.at("test_auc") > 0.95);
  CHECK(metrics.at("baseline_base_rate_auc") == 0.5);
  CHECK(metrics.at("test_log_loss") < 0.5 * metrics.at("baseline_base_rate_log_loss"));
  CHECK(metrics.at("test_accuracy") > 0.9);
}

TEST_CASE(
    "a saved model predicts what the training reported, from a table that went through Parquet") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/sales.parquet";
  CHECK_OK(table::WriteTable({}, *Sales({.weeks = 20}), path));
  const auto table = ValueOf(table::ReadTable({}, path));
  TrainingConfig config = Config();
  config.fit.epochs = 2;
  const TrainingResult result = ValueOf(Train({}, config, *table, {}));
  CHECK_OK(result.model.Save(folder.path() + "/model"));
  const model::Model loaded = ValueOf(model::Model::Load(folder.path() + "/model"));
  const auto batch = ValueOf(table->CombineChunksToBatch());
  const std::vector<double> predicted = ValueOf(loaded.Predict({}, *batch));
  for (size_t i = 0; i < result.split.test.size(); ++i) {
    CHECK(predicted[static_cast<size_t>(result.split.test[i])] == result.test_predicted[i]);
  }
}

TEST_CASE("inputs that are named are taken, in their order, and dropped ones are not") {
  TrainingConfig config = Config();
  config.fit.epochs = 1;
  config.inputs = {"season", "store", "event_timestamp"};
  config.drop = {"event_timestamp"};
  const TrainingResult result = TrainSales({.weeks = 20}, config);
  REQUIRE(result.model.preprocessor().columns().size() == 2);
  CHECK(result.model.preprocessor().columns()[0].name == "season");
  CHECK(result.model.preprocessor().columns()[1].name == "store");
}

}  // namespace
}  // namespace gnomon::train
