#include <string>

#include <doctest/doctest.h>

#include "base/config.h"
#include "base/files.h"
#include "base/time.h"
#include "tests/support/status.h"
#include "train/trainer.h"

namespace gnomon::train {
namespace {

using test::ValueOf;

constexpr const char* kHead = "name: m\nfeature_service: s\nentities: e.parquet\nlabel: y\n";

Result<TrainingConfig> Parse(const std::string& yaml) {
  return ParseTrainingConfig(ValueOf(ParseConfig(yaml, "train.yaml")));
}

TEST_CASE("a whole training file is read") {
  const TrainingConfig config = ValueOf(Parse(R"(
name: sales-model
experiment: sales
feature_service: sales_service
entities: data/labels.parquet
label: weekly_sales
run_name_prefix: weekly
drop: [dept]
inputs: [lag_1, lag_2]
split: {test: 8w, validation: 0.15}
model: {type: mlp, task: binary_classification, hidden: [8], activation: silu, dropout: 0.25}
optimizer: {lr: 0.01, weight_decay: 0.5, batch_size: 64, epochs: 3, patience: 0, threads: 2}
baselines: {last_value: lag_1, group_mean: [store, dept]}
seed: 7
)"));
  CHECK(config.name == "sales-model");
  CHECK(config.experiment == "sales");
  CHECK(config.feature_service == "sales_service");
  CHECK(config.entities == "data/labels.parquet");
  CHECK(config.label == "weekly_sales");
  CHECK(config.run_name_prefix == "weekly");
  CHECK(config.drop == std::vector<std::string>{"dept"});
  CHECK(config.inputs == std::vector<std::string>{"lag_1", "lag_2"});
  CHECK(config.test.duration == 56 * kMicrosPerDay);
  CHECK_FALSE(config.validation.duration.has_value());
  CHECK(config.validation.fraction == 0.15);
  CHECK(config.network.task == model::Task::kBinaryClassification);
  CHECK(config.network.hidden == std::vector<int64_t>{8});
  CHECK(config.network.activation == model::Activation::kSilu);
  CHECK(config.network.dropout == 0.25);
  CHECK(config.fit.learning_rate == 0.01);
  CHECK(config.fit.weight_decay == 0.5);
  CHECK(config.fit.batch_size == 64);
  CHECK(config.fit.epochs == 3);
  CHECK(config.fit.patience == 0);
  CHECK(config.fit.threads == 2);
  CHECK(config.fit.seed == 7);
  CHECK(config.baseline_last_value == "lag_1");
  CHECK(config.baseline_group_mean == std::vector<std::string>{"store", "dept"});
}

TEST_CASE("what a short file leaves out has the documented defaults") {
  const TrainingConfig config =
      ValueOf(Parse("name: sales-model\nfeature_service: s\nentities: e\nlabel: y\n"));
  CHECK(config.experiment == "sales-model");
  CHECK(config.run_name_prefix == "sales-training");
  CHECK(config.network.hidden == std::vector<int64_t>{64, 32});
  CHECK(config.test.fraction == 0.2);
  CHECK(config.validation.fraction == 0.1);
  CHECK(config.fit.epochs == 20);
  CHECK(ValueOf(Parse(std::string(kHead) + "model: {hidden: []}")).network.hidden.empty());
}

TEST_CASE("the example of the guide is a valid training file") {
  const std::string page = ValueOf(ReadFile("docs/guide/training.md"));
  const size_t begin = page.find("```yaml\n");
  REQUIRE(begin != std::string::npos);
  const size_t end = page.find("```", begin + 8);
  const TrainingConfig config = ValueOf(Parse(page.substr(begin + 8, end - begin - 8)));
  CHECK(config.name == "sales-model");
  CHECK(config.test.duration == 56 * kMicrosPerDay);
}

TEST_CASE("an unknown key is an error with its line and the nearest key") {
  const auto unknown = Parse(std::string(kHead) + "optimiser: {lr: 1}\n");
  CHECK_ERROR(unknown, ErrorKind::kUser, "train.yaml:5");
  CHECK_ERROR(unknown, ErrorKind::kUser, "did you mean 'optimizer'?");
  CHECK_ERROR(Parse(std::string(kHead) + "optimizer: {epoch: 1}"), ErrorKind::kUser,
              "did you mean 'epochs'?");
  CHECK_ERROR(Parse(std::string(kHead) + "model: {hiden: [1]}"), ErrorKind::kUser,
              "did you mean 'hidden'?");
  CHECK_ERROR(Parse(std::string(kHead) + "split: {tests: 1d}"), ErrorKind::kUser,
              "did you mean 'test'?");
  CHECK_ERROR(Parse(std::string(kHead) + "baselines: {group: [a]}"), ErrorKind::kUser, "group");
}

TEST_CASE("a missing key is named") {
  for (const char* key : {"name", "feature_service", "entities", "label"}) {
    std::string yaml = kHead;
    const size_t begin = yaml.find(std::string(key) + ":");
    yaml.erase(begin, yaml.find('\n', begin) - begin + 1);
    CHECK_ERROR(Parse(yaml), ErrorKind::kUser, std::string("'") + key + "' is missing");
  }
  CHECK_ERROR(Parse("[1]"), ErrorKind::kUser, "training file");
  CHECK_ERROR(Parse(""), ErrorKind::kUser, "training file");
}

TEST_CASE("values outside their range are refused at their place") {
  for (const char* line : {"optimizer: {lr: 0}",
                           "optimizer: {lr: fast}",
                           "optimizer: {lr: .nan}",
                           "optimizer: {batch_size: 0}",
                           "optimizer: {epochs: -1}",
                           "optimizer: {patience: 1.5}",
                           "optimizer: {weight_decay: -1}",
                           "optimizer: [1]",
                           "model: {dropout: 1}",
                           "model: {hidden: [0]}",
                           "model: {hidden: [a]}",
                           "model: {hidden: [~]}",
                           "model: {type: forest}",
                           "model: {task: clustering}",
                           "model: {activation: rellu}",
                           "model: mlp",
                           "split: {test: 1.5}",
                           "split: {test: 0}",
                           "split: {test: soon}",
                           "split: {test: 0s}",
                           "split: 0.2",
                           "seed: -1",
                           "name: a/b"}) {
    CAPTURE(line);
    std::string yaml = kHead;
    if (std::string(line).starts_with("name")) yaml.erase(0, yaml.find('\n') + 1);
    const auto config = Parse(yaml + line);
    REQUIRE_FALSE(config.ok());
    CHECK(KindOf(config.status()) == ErrorKind::kUser);
    CHECK(LocationOf(config.status()).file == "train.yaml");
    CHECK(LocationOf(config.status()).line > 0);
  }
}

}  // namespace
}  // namespace gnomon::train
