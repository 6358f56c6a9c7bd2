#include "model/model.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::model {
namespace {

using test::MakeTemporaryFolder;
using test::TableOf;
using test::ValueOf;

constexpr const char* kGolden = "tests/golden/model/v1";

std::shared_ptr<arrow::RecordBatch> Rows(std::string_view rows) {
  const auto table = TableOf({{"temperature", arrow::float64()}, {"kind", arrow::utf8()}}, rows);
  return ValueOf(table->CombineChunksToBatch());
}

constexpr std::string_view kRows = R"([[1, "a"], [3, "b"], [null, null]])";

// 4 inputs (temperature, its indicator, kind a, kind b) -> 2 -> 1.
Model SmallModel(Task task = Task::kRegression, float shift = 0) {
  const auto batch = Rows(kRows);
  Preprocessor preprocessor =
      ValueOf(Preprocessor::Fit(*batch, {"temperature", "kind"}, {0, 1, 2}));
  std::vector<DenseLayer> layers = {
      {.inputs = 4, .outputs = 2, .weight = {1, 0.5F, 0, -1, 2, 0, 0.25F, 0}, .bias = {0.5F, 0}},
      {.inputs = 2, .outputs = 1, .weight = {1, -0.5F}, .bias = {0.125F + shift}}};
  Mlp mlp = ValueOf(Mlp::Make({.inputs = 4, .hidden = {2}, .task = task}, std::move(layers)));
  const ModelSource source{.project = "shop",
                           .feature_service = "sales_service",
                           .feature_service_fingerprint = "f1",
                           .label = "weekly_sales",
                           .data_fingerprint = "d1",
                           .run_id = "0123456789abcdef0123456789abcdef"};
  const TargetScale target =
      task == Task::kRegression ? TargetScale{.mean = 100, .scale = 10} : TargetScale{};
  return ValueOf(
      Model::Make("small-model", source, std::move(preprocessor), std::move(mlp), target));
}

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

TEST_CASE("a prediction is the scaled output of the network, for regression") {
  // Inputs (-1, 0, 1, 0): hidden relu(-0.5), relu(-1.75) -> 0.125; (1, 0, 0, 1): 0.5, 2 -> -0.375;
  // (0, 1, 0, 0): 1, 0 -> 1.125.
  const std::vector<double> predicted = ValueOf(SmallModel().Predict({}, *Rows(kRows)));
  CHECK(predicted == std::vector<double>{101.25, 96.25, 111.25});
}

TEST_CASE("a prediction is a probability, for classification") {
  const std::vector<double> predicted =
      ValueOf(SmallModel(Task::kBinaryClassification).Predict({}, *Rows(kRows)));
  CHECK(predicted[0] == doctest::Approx(1 / (1 + std::exp(-0.125))));
  CHECK(predicted[1] == doctest::Approx(1 / (1 + std::exp(0.375))));
}

TEST_CASE("predictions do not depend on how rows are batched") {
  std::string rows = "[";
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  for (int row = 0; row < 9'000; ++row)
    rows += Concat(row == 0 ? "" : ",", "[", normal(random), R"(, "b"])");
  const auto batch = Rows(rows + "]");
  const Model model = SmallModel();
  const std::vector<double> whole = ValueOf(model.Predict({}, *batch));
  std::vector<double> parts;
  for (int64_t begin = 0; begin < batch->num_rows(); begin += 7) {
    const std::vector<double> part = ValueOf(model.Predict({}, *batch->Slice(begin, 7)));
    parts.insert(parts.end(), part.begin(), part.end());
  }
  REQUIRE(parts.size() == whole.size());
  for (size_t row = 0; row < whole.size(); ++row) {
    CHECK(std::bit_cast<uint64_t>(parts[row]) == std::bit_cast<uint64_t>(whole[row]));
  }
}

TEST_CASE("a cancelled prediction stops") {
  std::stop_source source;
  source.request_stop();
  CHECK_ERROR(SmallModel().Predict(Context{}.WithStop(source.get_token()), *Rows(kRows)),
              ErrorKind::kCancelled, "");
}

TEST_CASE("a model read back from its folder predicts the same bits") {
  const TemporaryFolder folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/new/model";
  const Model model = SmallModel();
  CHECK_OK(model.Save(path));
  CHECK(NamesIn(path) == std::vector<std::string>{"model.json", "weights.safetensors"});
  CHECK(NamesIn(folder.path() + "/new") == std::vector<std::string>{"model"});
  const Model read = ValueOf(Model::Load(path));
  CHECK(read.name() == model.name());
  CHECK(read.source().feature_service_fingerprint == "f1");
  CHECK(read.source().run_id == model.source().run_id);
  CHECK(read.target().mean == 100);
  CHECK(read.preprocessor().ToJson() == model.preprocessor().ToJson());
  CHECK(ValueOf(read.Predict({}, *Rows(kRows))) == ValueOf(model.Predict({}, *Rows(kRows))));
}

TEST_CASE("saving never replaces a folder, not even an empty one") {
  const TemporaryFolder folder = MakeTemporaryFolder();
  CHECK_ERROR(SmallModel().Save(folder.path()), ErrorKind::kConflict, folder.path());
  CHECK(NamesIn(folder.path()).empty());
}

TEST_CASE("a model whose parts do not fit together is refused") {
  const Model good = SmallModel();
  Mlp linear =
      ValueOf(Mlp::Make({.inputs = 1}, {{.inputs = 1, .outputs = 1, .weight = {1}, .bias = {0}}}));
  CHECK_ERROR(Model::Make("m", {}, good.preprocessor(), std::move(linear), {}), ErrorKind::kUser,
              "inputs");
  CHECK_ERROR(Model::Make("m", {}, good.preprocessor(), good.mlp(), {.mean = 0, .scale = 0}),
              ErrorKind::kUser, "scale");
  for (const char* name : {"", "..", ".hidden", "a/b", "a b", "ü"}) {
    CHECK_ERROR(Model::Make(name, {}, good.preprocessor(), good.mlp(), {}), ErrorKind::kUser,
                "name");
  }
}

TEST_CASE("the golden model of format version 1 is read, and written the same") {
  if (std::getenv("GNOMON_WRITE_GOLDEN") != nullptr) {
    std::filesystem::remove_all(kGolden);
    CHECK_OK(SmallModel().Save(kGolden));
  }
  const Model golden = ValueOf(Model::Load(kGolden));
  CHECK(ValueOf(golden.Predict({}, *Rows(kRows))) == std::vector<double>{101.25, 96.25, 111.25});
  const TemporaryFolder folder = MakeTemporaryFolder();
  CHECK_OK(golden.Save(folder.path() + "/again"));
  const std::string weights = ValueOf(ReadFile(std::string(kGolden) + "/weights.safetensors"));
  CHECK(ValueOf(ReadFile(folder.path() + "/again/weights.safetensors")) == weights);
  const std::string text = ValueOf(ReadFile(std::string(kGolden) + "/model.json"));
  // All but the line of the writer, which is this build.
  const auto without_writer = [](const std::string& json) {
    const size_t begin = json.find("  \"writer\"");
    return begin == std::string::npos
               ? json
               : json.substr(0, begin) + json.substr(json.find('\n', begin) + 1);
  };
  CHECK(without_writer(ValueOf(ReadFile(folder.path() + "/again/model.json"))) ==
        without_writer(text));
  const std::string page = ValueOf(ReadFile("docs/formats/model.md"));
  CHECK_MESSAGE(page.find(text) != std::string::npos,
                "docs/formats/model.md does not quote the golden model.json");
}

TEST_CASE("a folder that is no model is refused with the right kind") {
  const TemporaryFolder folder = MakeTemporaryFolder();
  CHECK_ERROR(Model::Load(folder.path() + "/none"), ErrorKind::kNotFound, "none");
  CHECK_ERROR(Model::Load(folder.path()), ErrorKind::kNotFound, "model.json");

  const std::string path = folder.path() + "/model";
  CHECK_OK(SmallModel().Save(path));
  const std::string text = ValueOf(ReadFile(path + "/model.json"));
  const auto with = [&](std::string_view old_text, std::string_view new_text) {
    std::string changed = text;
    const size_t place = changed.find(old_text);
    REQUIRE(place != std::string::npos);
    changed.replace(place, old_text.size(), new_text);
    CHECK_OK(WriteFileAtomic(path + "/model.json", changed));
    return Model::Load(path);
  };
  CHECK_ERROR(with("\"format_version\": 1", "\"format_version\": 2"), ErrorKind::kUnsupported,
              "gnomon-model version 2 (written by gnomon ");
  CHECK_ERROR(with("gnomon-model", "other-model"), ErrorKind::kDataLoss, "no gnomon-model file");
  CHECK_ERROR(with("\"relu\"", "\"swish\""), ErrorKind::kUnsupported, "swish");
  CHECK_ERROR(with("\"inputs\": 4", "\"inputs\": 5"), ErrorKind::kDataLoss, "layer 0");
  CHECK_ERROR(with("\"mean\": 100.0", "\"mean\": \"100\""), ErrorKind::kDataLoss, "'mean'");
  CHECK_ERROR(with("\"name\": \"small-model\"", "\"name\": \"../x\""), ErrorKind::kDataLoss,
              "name");
  CHECK_ERROR(with("temperature", "temp\xff"), ErrorKind::kDataLoss, "JSON");
}

TEST_CASE("damaged files never load as another model and never crash") {
  const TemporaryFolder folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/model";
  CHECK_OK(SmallModel().Save(path));
  const std::string weights = ValueOf(ReadFile(path + "/weights.safetensors"));
  const std::string text = ValueOf(ReadFile(path + "/model.json"));
  std::mt19937_64 random(5);

  for (size_t size = 0; size < weights.size(); size += 7) {
    CHECK_OK(WriteFileAtomic(path + "/weights.safetensors", weights.substr(0, size)));
    CHECK_ERROR(Model::Load(path), ErrorKind::kDataLoss, "");
  }
  for (int attempt = 0; attempt < 50; ++attempt) {
    std::string damaged = weights;
    char& byte = damaged[random() % damaged.size()];
    byte = static_cast<char>(byte ^ (1 << random() % 8));
    CHECK_OK(WriteFileAtomic(path + "/weights.safetensors", damaged));
    CHECK_ERROR(Model::Load(path), ErrorKind::kDataLoss, "");
  }
  CHECK_OK(WriteFileAtomic(path + "/weights.safetensors", weights));
  for (size_t size = 0; size + 2 < text.size(); size += 13) {
    CHECK_OK(WriteFileAtomic(path + "/model.json", text.substr(0, size)));
    CHECK_ERROR(Model::Load(path), ErrorKind::kDataLoss, "");
  }
  for (int attempt = 0; attempt < 300; ++attempt) {
    std::string damaged = text;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    CHECK_OK(WriteFileAtomic(path + "/model.json", damaged));
    const auto model = Model::Load(path);  // may be fine: a letter of a name
    if (model.ok()) CHECK(model->mlp().spec().inputs == model->preprocessor().inputs());
  }
}

TEST_CASE("the repository numbers versions and serves the greatest, by number") {
  const TemporaryFolder folder = MakeTemporaryFolder();
  const ModelRepository repository(folder.path() + "/models");
  CHECK(ValueOf(repository.List()).empty());
  CHECK(ValueOf(repository.Add(SmallModel())) == 1);
  CHECK_OK(SmallModel(Task::kRegression, 1).Save(repository.folder() + "/small-model/9"));
  CHECK(ValueOf(repository.Add(SmallModel(Task::kRegression, 2))) == 10);
  for (const char* other : {"v3", "01", "-4", "99999999999999999999", ".model-x.tmp"}) {
    CHECK_OK(MakeFolders(repository.folder() + "/small-model/" + other));
  }
  CHECK_OK(MakeFolders(repository.folder() + "/empty"));
  CHECK(ValueOf(repository.Versions("small-model")) == std::vector<int64_t>{1, 9, 10});
  CHECK(ValueOf(repository.List()) == std::vector<std::string>{"small-model"});
  const auto first = [&](int64_t version) {
    return ValueOf(ValueOf(repository.Load("small-model", version)).Predict({}, *Rows(kRows)))[0];
  };
  CHECK(first(0) == 121.25);
  CHECK(first(1) == 101.25);
  CHECK(first(9) == 111.25);
}

TEST_CASE("a model or version that is not in the repository is not found, with the nearest name") {
  const TemporaryFolder folder = MakeTemporaryFolder();
  const ModelRepository repository(folder.path());
  CHECK(ValueOf(repository.Add(SmallModel())) == 1);
  CHECK_ERROR(repository.Load("smal-model"), ErrorKind::kNotFound, "did you mean 'small-model'?");
  CHECK_ERROR(repository.Load("small-model", 2), ErrorKind::kNotFound,
              "no version 2; the latest is 1");
  CHECK_ERROR(repository.Load("../small-model"), ErrorKind::kNotFound, "");
}

TEST_CASE("writers that add at the same time get versions of their own") {
  const TemporaryFolder folder = MakeTemporaryFolder();
  const ModelRepository repository(folder.path());
  constexpr int kWriters = 4;
  constexpr int kEach = 5;
  const Model model = SmallModel();
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> writers;
    for (int i = 0; i < kWriters; ++i) {
      writers.emplace_back([&] {
        for (int n = 0; n < kEach; ++n) failures += repository.Add(model).ok() ? 0 : 1;
      });
    }
  }
  CHECK(failures == 0);
  const std::vector<int64_t> versions = ValueOf(repository.Versions("small-model"));
  REQUIRE(versions.size() == kWriters * kEach);
  CHECK(versions.back() == kWriters * kEach);
  CHECK(NamesIn(folder.path() + "/small-model").size() == kWriters * kEach);
}

}  // namespace
}  // namespace gnomon::model
