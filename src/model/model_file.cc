#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <stdio.h>

#include "base/files.h"
#include "base/ids.h"
#include "base/text.h"
#include "model/json_internal.h"
#include "model/model_file_internal.h"
#include "model/safetensors_internal.h"

namespace gnomon::model {

namespace {

constexpr const char* kFormat = "gnomon-model";
constexpr int64_t kFormatVersion = 1;
constexpr const char* kWriter = "gnomon " GNOMON_VERSION;
constexpr const char* kModelFile = "model.json";
constexpr const char* kWeightsFile = "weights.safetensors";
constexpr int64_t kMaxModelBytes = int64_t{1} << 26;

std::string LayerKey(size_t layer, std::string_view part) {
  return Concat("layer.", layer, ".", part);
}

std::string FormatWeights(const Mlp& mlp) {
  std::map<std::string, Tensor> tensors;
  for (size_t i = 0; i < mlp.layers().size(); ++i) {
    const DenseLayer& layer = mlp.layers()[i];
    tensors[LayerKey(i, "weight")] = {.shape = {layer.outputs, layer.inputs},
                                      .values = layer.weight};
    tensors[LayerKey(i, "bias")] = {.shape = {layer.outputs}, .values = layer.bias};
  }
  return FormatSafetensors(tensors);
}

Result<std::vector<DenseLayer>> ParseWeights(std::string_view bytes) {
  GNOMON_ASSIGN_OR_RETURN(auto tensors, ParseSafetensors(bytes));
  std::vector<DenseLayer> layers;
  for (size_t i = 0; 2 * i < tensors.size(); ++i) {
    const auto weight = tensors.find(LayerKey(i, "weight"));
    const auto bias = tensors.find(LayerKey(i, "bias"));
    if (weight == tensors.end() || bias == tensors.end()) {
      return Error(ErrorKind::kDataLoss, "tensors of a layer are missing: ", LayerKey(i, "weight"),
                   ", ", LayerKey(i, "bias"));
    }
    if (weight->second.shape.size() != 2 || bias->second.shape.size() != 1) {
      return Error(ErrorKind::kDataLoss, "layer ", i, " has tensors of the wrong rank");
    }
    layers.push_back({.inputs = weight->second.shape[1],
                      .outputs = weight->second.shape[0],
                      .weight = std::move(weight->second.values),
                      .bias = std::move(bias->second.values)});
  }
  return layers;
}

Json SourceToJson(const ModelSource& source) {
  return {{"project", source.project},
          {"feature_service", source.feature_service},
          {"feature_service_fingerprint", source.feature_service_fingerprint},
          {"label", source.label},
          {"data_fingerprint", source.data_fingerprint},
          {"run_id", source.run_id},
          {"missing_entities", source.allow_missing_entities ? "allow" : "error"}};
}

Result<ModelSource> ParseSource(const Json& json) {
  ModelSource source;
  GNOMON_ASSIGN_OR_RETURN(source.project, TextOf(json, "project"));
  GNOMON_ASSIGN_OR_RETURN(source.feature_service, TextOf(json, "feature_service"));
  GNOMON_ASSIGN_OR_RETURN(source.feature_service_fingerprint,
                          TextOf(json, "feature_service_fingerprint"));
  GNOMON_ASSIGN_OR_RETURN(source.label, TextOf(json, "label"));
  GNOMON_ASSIGN_OR_RETURN(source.data_fingerprint, TextOf(json, "data_fingerprint"));
  GNOMON_ASSIGN_OR_RETURN(source.run_id, TextOf(json, "run_id"));
  if (json.contains("missing_entities")) {
    GNOMON_ASSIGN_OR_RETURN(const std::string missing, TextOf(json, "missing_entities"));
    source.allow_missing_entities = missing == "allow";
  }
  return source;
}

std::string FormatModel(const Model& model, std::string_view weights) {
  const MlpSpec& spec = model.mlp().spec();
  return FormatJson({{"format", kFormat},
                     {"format_version", kFormatVersion},
                     {"writer", kWriter},
                     {"name", model.name()},
                     {"source", SourceToJson(model.source())},
                     {"network",
                      {{"type", "mlp"},
                       {"inputs", spec.inputs},
                       {"hidden", spec.hidden},
                       {"activation", NameOf(spec.activation)},
                       {"dropout", spec.dropout},
                       {"task", NameOf(spec.task)}}},
                     {"target", {{"mean", model.target().mean}, {"scale", model.target().scale}}},
                     {"preprocessor", Json::parse(model.preprocessor().ToJson(), nullptr, false)},
                     {"weights", {{"file", kWeightsFile}, {"sha256", Sha256Hex(weights)}}}});
}

Result<MlpSpec> ParseNetwork(const Json& json) {
  MlpSpec spec;
  GNOMON_ASSIGN_OR_RETURN(const std::string type, TextOf(json, "type"));
  if (type != "mlp")
    return Error(ErrorKind::kUnsupported, "this build has no network of type: ", type);
  GNOMON_ASSIGN_OR_RETURN(spec.inputs, IntegerOf(MemberOf(json, "inputs"), "inputs"));
  GNOMON_ASSIGN_OR_RETURN(spec.hidden, IntegersOf(json, "hidden"));
  GNOMON_ASSIGN_OR_RETURN(const std::string activation, TextOf(json, "activation"));
  GNOMON_ASSIGN_OR_RETURN(spec.dropout, NumberOf(json, "dropout"));
  GNOMON_ASSIGN_OR_RETURN(const std::string task, TextOf(json, "task"));
  const Result<Activation> parsed_activation = ParseActivation(activation);
  if (!parsed_activation.ok())
    return Error(ErrorKind::kUnsupported, parsed_activation.status().message());
  spec.activation = *parsed_activation;
  const Result<Task> parsed_task = ParseTask(task);
  if (!parsed_task.ok()) return Error(ErrorKind::kUnsupported, parsed_task.status().message());
  spec.task = *parsed_task;
  return spec;
}

Status CheckFormat(const Json& json) {
  if (MemberOf(json, "format") != kFormat)
    return Error(ErrorKind::kDataLoss, "this is no ", kFormat, " file");
  GNOMON_ASSIGN_OR_RETURN(const int64_t version,
                          IntegerOf(MemberOf(json, "format_version"), "format_version"));
  if (version < 1) return JsonError("format_version", "a positive number");
  if (version > kFormatVersion) {
    const Json& writer = MemberOf(json, "writer");
    return Error(ErrorKind::kUnsupported, kFormat, " version ", version, " (written by ",
                 writer.is_string() ? writer.get<std::string>() : "?",
                 ") is newer than this build, which reads up to ", kFormatVersion);
  }
  return Status::OK();
}

Result<Model> ParseModel(const std::string& text, const std::string& weights) {
  GNOMON_ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  GNOMON_RETURN_NOT_OK(CheckFormat(json));
  GNOMON_ASSIGN_OR_RETURN(std::string name, TextOf(json, "name"));
  GNOMON_ASSIGN_OR_RETURN(ModelSource source, ParseSource(MemberOf(json, "source")));
  GNOMON_ASSIGN_OR_RETURN(MlpSpec spec, ParseNetwork(MemberOf(json, "network")));
  GNOMON_ASSIGN_OR_RETURN(Preprocessor preprocessor,
                          Preprocessor::FromJson(MemberOf(json, "preprocessor").dump()));
  TargetScale target;
  GNOMON_ASSIGN_OR_RETURN(target.mean, NumberOf(MemberOf(json, "target"), "mean"));
  GNOMON_ASSIGN_OR_RETURN(target.scale, NumberOf(MemberOf(json, "target"), "scale"));
  GNOMON_ASSIGN_OR_RETURN(const std::string sha256, TextOf(MemberOf(json, "weights"), "sha256"));
  if (sha256 != Sha256Hex(weights)) {
    return Error(ErrorKind::kDataLoss, kWeightsFile, " is damaged: its sha256 is not the one in ",
                 kModelFile);
  }
  const Result<std::vector<DenseLayer>> layers = ParseWeights(weights);
  if (!layers.ok()) return WithContext(layers.status(), kWeightsFile);
  GNOMON_ASSIGN_OR_RETURN(Mlp mlp, Mlp::Make(std::move(spec), *layers));
  Result<Model> model = Model::Make(std::move(name), std::move(source), std::move(preprocessor),
                                    std::move(mlp), target);
  if (!model.ok()) return Error(ErrorKind::kDataLoss, model.status().message());
  return model;
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
}

}  // namespace

Result<Model> Model::Load(const std::string& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) {
    return Error(ErrorKind::kNotFound, "model not found: ", folder);
  }
  const std::string model_path = Concat(folder, "/", kModelFile);
  GNOMON_ASSIGN_OR_RETURN(const std::string text, ReadFile(model_path, kMaxModelBytes));
  GNOMON_ASSIGN_OR_RETURN(const std::string weights, ReadFile(Concat(folder, "/", kWeightsFile)));
  Result<Model> model = ParseModel(text, weights);
  if (!model.ok()) return WithContext(model.status(), Concat("cannot load model ", model_path));
  return model;
}

Status Model::Save(const std::string& folder) const {
  if (Exists(folder))
    return Error(ErrorKind::kConflict, "cannot save the model, the folder exists: ", folder);
  std::filesystem::path target(folder);
  if (!target.has_filename()) target = target.parent_path();  // "model/"
  GNOMON_ASSIGN_OR_RETURN(StagedModel staged,
                          StagedModel::Write(*this, target.parent_path().string()));
  return staged.Publish(target.string());
}

Status CheckModelName(const std::string& name) {
  constexpr size_t kMaxName = 128;
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  if (!name.empty() && name.size() <= kMaxName && name[0] != '.' &&
      name.find_first_not_of(kAllowed) == std::string::npos) {
    return Status::OK();
  }
  return Error(
      ErrorKind::kUser,
      "a model's name is 1 to 128 letters, digits, '_', '-' or '.' and does not begin with a '.': ",
      Quoted(name));
}

Result<StagedModel> StagedModel::Write(const Model& model, const std::string& parent) {
  if (!parent.empty()) GNOMON_RETURN_NOT_OK(MakeFolders(parent));
  StagedModel staged(
      (std::filesystem::path(parent) / Concat(".model-", RunId::Random().value, ".tmp")).string());
  GNOMON_RETURN_NOT_OK(MakeFolders(staged.path_));
  const std::string weights = FormatWeights(model.mlp());
  GNOMON_RETURN_NOT_OK(WriteFileAtomic(Concat(staged.path_, "/", kWeightsFile), weights));
  GNOMON_RETURN_NOT_OK(
      WriteFileAtomic(Concat(staged.path_, "/", kModelFile), FormatModel(model, weights)));
  return staged;
}

StagedModel::StagedModel(StagedModel&& other) noexcept : path_(std::exchange(other.path_, {})) {}

StagedModel::~StagedModel() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Status StagedModel::Publish(const std::string& folder) {
  const std::string what = Concat("cannot save the model as ", folder);
  // A plain rename would replace an empty folder: two writers could both believe that it is theirs.
  int failed = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, folder.c_str(), RENAME_NOREPLACE);
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {  // a file system without it
    if (Exists(folder)) return ErrnoError(EEXIST, what);
    failed = ::rename(path_.c_str(), folder.c_str());
  }
  if (failed != 0) return ErrnoError(errno == ENOTEMPTY ? EEXIST : errno, what);
  path_.clear();
  const std::string parent = std::filesystem::path(folder).parent_path().string();
  const int descriptor =
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(
        descriptor);  // the folder is there; whether its name survives a power cut is best effort
    ::close(descriptor);
  }
  return Status::OK();
}

}  // namespace gnomon::model
