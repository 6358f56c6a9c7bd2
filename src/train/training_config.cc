#include <cmath>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "train/trainer.h"

namespace gnomon::train {

namespace {

constexpr int64_t kMaxWidth = 65'536;

Result<std::string> RequiredText(const ConfigNode& root, const char* key) {
  const ConfigNode node = root.Get(key);
  if (node.is_null()) return root.ErrorHere(Concat("the key ", Quoted(key), " is missing"));
  GNOMON_ASSIGN_OR_RETURN(std::string text, node.AsString());
  if (text.empty()) return node.ErrorHere("expected a text that is not empty");
  return text;
}

Result<std::string> OptionalText(const ConfigNode& root, const char* key, std::string fallback) {
  const ConfigNode node = root.Get(key);
  return node.is_null() ? Result<std::string>(std::move(fallback)) : node.AsString();
}

// A number `valid` for the option; `expected` says which numbers are.
template <typename Valid>
Status ReadNumber(const ConfigNode& node, std::string_view expected, const Valid& valid,
                  double* number) {
  if (node.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(*number, node.AsDouble());
  return valid(*number) ? Status::OK()
                        : node.ErrorHere(Concat("expected ", expected, ", got ", *number));
}

Status ReadInteger(const ConfigNode& node, int64_t least, int64_t greatest, int64_t* number) {
  if (node.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(*number, node.AsInt());
  if (*number >= least && *number <= greatest) return Status::OK();
  return node.ErrorHere(
      Concat("expected an integer from ", least, " to ", greatest, ", got ", *number));
}

// A kUser error of `result` at the node's place.
template <typename T>
Result<T> At(const ConfigNode& node, Result<T> result) {
  if (result.ok()) return result;
  return node.ErrorHere(result.status().message(), HintOf(result.status()));
}

// 0.2 or 8w. A plain number is a fraction, never seconds.
Status ReadPart(const ConfigNode& node, TrainingConfig::Part* part) {
  if (node.is_null()) return Status::OK();
  if (const Result<double> fraction = node.AsDouble(); fraction.ok()) {
    if (!(*fraction > 0 && *fraction < 1)) {
      return node.ErrorHere(
          Concat("expected a fraction between 0 and 1 or a duration such as 8w, got ", *fraction));
    }
    *part = {.duration = {}, .fraction = *fraction};
    return Status::OK();
  }
  GNOMON_ASSIGN_OR_RETURN(const int64_t duration, node.AsDuration());
  if (duration <= 0) return node.ErrorHere("expected a duration above zero");
  *part = {.duration = duration, .fraction = 0};
  return Status::OK();
}

Status ReadSplit(const ConfigNode& node, TrainingConfig* config) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"test", "validation"}));
  GNOMON_RETURN_NOT_OK(ReadPart(node.Get("test"), &config->test));
  return ReadPart(node.Get("validation"), &config->validation);
}

Status ReadModel(const ConfigNode& node, model::MlpSpec* spec) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"type", "task", "hidden", "activation", "dropout"}));
  GNOMON_ASSIGN_OR_RETURN(const std::string type, OptionalText(node, "type", "mlp"));
  if (type != "mlp") {
    return node.Get("type").ErrorHere(
        Concat("there is no model of type ", Quoted(type), "; types: mlp"));
  }
  GNOMON_ASSIGN_OR_RETURN(const std::string task,
                          OptionalText(node, "task", model::NameOf(spec->task)));
  GNOMON_ASSIGN_OR_RETURN(spec->task, At(node.Get("task"), model::ParseTask(task)));
  GNOMON_ASSIGN_OR_RETURN(const std::string activation,
                          OptionalText(node, "activation", model::NameOf(spec->activation)));
  GNOMON_ASSIGN_OR_RETURN(spec->activation,
                          At(node.Get("activation"), model::ParseActivation(activation)));
  if (node.Has("hidden")) {
    spec->hidden.clear();
    GNOMON_ASSIGN_OR_RETURN(const std::vector<ConfigNode> widths, node.Get("hidden").Elements());
    for (const ConfigNode& width : widths) {
      GNOMON_RETURN_NOT_OK(ReadInteger(width, 1, kMaxWidth, &spec->hidden.emplace_back(0)));
      if (width.is_null()) return width.ErrorHere("expected the width of a layer");
    }
  }
  return ReadNumber(
      node.Get("dropout"), "a number from 0 to below 1",
      [](double rate) { return rate >= 0 && rate < 1; }, &spec->dropout);
}

Status ReadOptimizer(const ConfigNode& node, FitOptions* fit) {
  constexpr int64_t kMany = 1'000'000'000;
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys({"lr", "weight_decay", "batch_size", "epochs", "patience", "threads"}));
  const auto positive = [](double number) { return number > 0 && std::isfinite(number); };
  const auto not_negative = [](double number) { return number >= 0 && std::isfinite(number); };
  GNOMON_RETURN_NOT_OK(
      ReadNumber(node.Get("lr"), "a number above zero", positive, &fit->learning_rate));
  GNOMON_RETURN_NOT_OK(ReadNumber(node.Get("weight_decay"), "a number of at least zero",
                                  not_negative, &fit->weight_decay));
  GNOMON_RETURN_NOT_OK(ReadInteger(node.Get("batch_size"), 1, kMany, &fit->batch_size));
  GNOMON_RETURN_NOT_OK(ReadInteger(node.Get("epochs"), 1, kMany, &fit->epochs));
  GNOMON_RETURN_NOT_OK(ReadInteger(node.Get("patience"), 0, kMany, &fit->patience));
  int64_t threads = fit->threads;
  GNOMON_RETURN_NOT_OK(ReadInteger(node.Get("threads"), 0, 1024, &threads));
  fit->threads = static_cast<int>(threads);
  return Status::OK();
}

Status ReadBaselines(const ConfigNode& node, TrainingConfig* config) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"last_value", "group_mean"}));
  GNOMON_ASSIGN_OR_RETURN(config->baseline_last_value, OptionalText(node, "last_value", ""));
  GNOMON_ASSIGN_OR_RETURN(config->baseline_group_mean, node.Get("group_mean").AsStringList());
  return Status::OK();
}

// CheckKeys takes null for an empty mapping; a list or a text where a section belongs is an error
// here.
Result<ConfigNode> Section(const ConfigNode& root, const char* key) {
  ConfigNode node = root.Get(key);
  if (!node.is_null() && !node.is_mapping())
    return node.ErrorHere("expected a mapping of keys to values");
  return node;
}

std::string DefaultRunPrefix(std::string_view name) {
  constexpr std::string_view kSuffix = "-model";
  if (name.ends_with(kSuffix) && name != kSuffix) name.remove_suffix(kSuffix.size());
  return Concat(name, "-training");
}

}  // namespace

Result<TrainingConfig> ParseTrainingConfig(const ConfigNode& root) {
  if (!root.is_mapping())
    return root.ErrorHere("expected a training file: a mapping of keys to values");
  GNOMON_RETURN_NOT_OK(root.CheckKeys({"name", "experiment", "feature_service", "entities", "label",
                                       "run_name_prefix", "drop", "inputs", "split", "model",
                                       "optimizer", "baselines", "seed", "missing_entities"}));
  TrainingConfig config;
  GNOMON_ASSIGN_OR_RETURN(config.name, RequiredText(root, "name"));
  if (const Status name = model::CheckModelName(config.name); !name.ok()) {
    return root.Get("name").ErrorHere(name.message());
  }
  GNOMON_ASSIGN_OR_RETURN(config.feature_service, RequiredText(root, "feature_service"));
  GNOMON_ASSIGN_OR_RETURN(config.entities, RequiredText(root, "entities"));
  GNOMON_ASSIGN_OR_RETURN(config.label, RequiredText(root, "label"));
  GNOMON_ASSIGN_OR_RETURN(config.experiment, OptionalText(root, "experiment", config.name));
  GNOMON_ASSIGN_OR_RETURN(config.run_name_prefix,
                          OptionalText(root, "run_name_prefix", DefaultRunPrefix(config.name)));
  GNOMON_ASSIGN_OR_RETURN(config.drop, root.Get("drop").AsStringList());
  GNOMON_ASSIGN_OR_RETURN(config.inputs, root.Get("inputs").AsStringList());
  GNOMON_ASSIGN_OR_RETURN(const std::string missing,
                          OptionalText(root, "missing_entities", "error"));
  config.allow_missing_entities = missing == "allow";
  if (missing != "allow" && missing != "error") {
    return root.Get("missing_entities")
        .ErrorHere(Concat("expected error or allow, got ", Quoted(missing)));
  }

  GNOMON_ASSIGN_OR_RETURN(const ConfigNode split, Section(root, "split"));
  GNOMON_RETURN_NOT_OK(ReadSplit(split, &config));
  config.network.hidden = {64, 32};
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode network, Section(root, "model"));
  GNOMON_RETURN_NOT_OK(ReadModel(network, &config.network));
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode optimizer, Section(root, "optimizer"));
  GNOMON_RETURN_NOT_OK(ReadOptimizer(optimizer, &config.fit));
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode baselines, Section(root, "baselines"));
  GNOMON_RETURN_NOT_OK(ReadBaselines(baselines, &config));

  int64_t seed = 0;
  GNOMON_RETURN_NOT_OK(ReadInteger(root.Get("seed"), 0, INT64_MAX, &seed));
  config.fit.seed = static_cast<uint64_t>(seed);
  return config;
}

}  // namespace gnomon::train
