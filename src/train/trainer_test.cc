#include "train/trainer.h"

#include <memory>
#include <stop_token>
#include <string>

#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "tests/support/status.h"
#include "tests/support/table.h"

// What is wrong with a table or its configuration is found before libtorch is opened: these tests
// run without it. torch/trainer_test.cc trains.
namespace gnomon::train {
namespace {

std::shared_ptr<arrow::Table> Table(const std::shared_ptr<arrow::DataType>& label,
                                    const std::string& labels) {
  const auto times = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  return test::TableOf({{"store", arrow::int64()},
                        {"event_timestamp", times},
                        {"y", label},
                        {"lag", arrow::float64()},
                        {"history", arrow::list(arrow::float64())}},
                       labels);
}

constexpr const char* kRows =
    "[[1, 10, 1, 1, [1]], [1, 20, 0, 2, [1]], [1, 30, 1, 3, [1]], [1, 40, 0, 4, [1]]]";

Result<TrainingResult> TrainOn(const arrow::Table& table, TrainingConfig config) {
  if (config.name.empty()) config.name = "m";
  if (config.label.empty()) config.label = "y";
  return Train({}, config, table, {});
}

TEST_CASE(
    "columns that the configuration names and the table lacks are errors with the nearest name") {
  const auto table = Table(arrow::float64(), kRows);
  const auto with = [&](const auto& change) {
    TrainingConfig config;
    change(&config);
    return TrainOn(*table, config);
  };
  CHECK_ERROR(with([](auto* config) { config->label = "yy"; }), ErrorKind::kUser, "label");
  CHECK_ERROR(with([](auto* config) { config->inputs = {"lagg"}; }), ErrorKind::kUser,
              "did you mean 'lag'?");
  CHECK_ERROR(with([](auto* config) { config->drop = {"lagg"}; }), ErrorKind::kUser,
              "did you mean 'lag'?");
  CHECK_ERROR(with([](auto* config) { config->baseline_last_value = "lagg"; }), ErrorKind::kUser,
              "did you mean 'lag'?");
  CHECK_ERROR(with([](auto* config) { config->baseline_group_mean = {"stores"}; }),
              ErrorKind::kUser, "did you mean 'store'?");
  CHECK_ERROR(with([](auto* config) { config->inputs = {"y"}; }), ErrorKind::kUser,
              "label cannot be an input");
  CHECK_ERROR(with([](auto* config) { config->inputs = {"history"}; }), ErrorKind::kUser, "list");
  CHECK_ERROR(with([](auto* config) { config->name = "a/b"; }), ErrorKind::kUser, "name");
  CHECK_ERROR(with([](auto* config) { config->features = {"history"}; }), ErrorKind::kUser,
              "no column");
}

TEST_CASE("a label that cannot be learned is refused") {
  CHECK_ERROR(TrainOn(*Table(arrow::utf8(), R"([[1, 10, "a", 1, []]])"), {}), ErrorKind::kUser,
              "not a number");
  CHECK_ERROR(TrainOn(*Table(arrow::float64(), "[[1, 10, null, 1, []]]"), {}), ErrorKind::kUser,
              "nothing to learn");
  CHECK_ERROR(TrainOn(*Table(arrow::float64(), "[]"), {}), ErrorKind::kUser, "nothing to learn");
  TrainingConfig config;
  config.network.task = model::Task::kBinaryClassification;
  const auto result =
      TrainOn(*Table(arrow::int64(), "[[1, 10, 1, 1, []], [1, 20, 2, 1, []]]"), config);
  CHECK_ERROR(result, ErrorKind::kUser, "must be 0 or 1");
  CHECK(LocationOf(result.status()).row == 1);
}

TEST_CASE("a row with a label but without a time is refused with its number") {
  const auto result =
      TrainOn(*Table(arrow::float64(), "[[1, 10, 1, 1, []], [1, null, 2, 1, []]]"), {});
  CHECK_ERROR(result, ErrorKind::kUser, "event_timestamp is null");
  CHECK(LocationOf(result.status()).row == 1);
}

TEST_CASE("a cancelled training does not begin") {
  std::stop_source source;
  source.request_stop();
  TrainingConfig config;
  config.name = "m";
  CHECK_ERROR(
      Train(Context{}.WithStop(source.get_token()), config, *Table(arrow::float64(), kRows), {}),
      ErrorKind::kCancelled, "");
}

}  // namespace
}  // namespace gnomon::train
