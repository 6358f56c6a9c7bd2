#include "feature/store/doctor.h"

#include <filesystem>
#include <functional>
#include <optional>
#include <unistd.h>
#include <utility>

#include <arrow/type.h>

#include "base/memory.h"
#include "base/text.h"
#include "feature/definition/repository.h"
#include "feature/offline/offline_store.h"
#include "feature/online/online_store.h"
#include "feature/registry/registry.h"
#include "feature/store/plugin_extensions.h"
#include "table/file_system.h"

namespace gnomon::feature {
namespace {

constexpr double kPatienceSeconds = 10;
constexpr int64_t kLeastDiskBytes = int64_t{512} << 20;

namespace fs = std::filesystem;

/// The folder or its nearest parent that exists.
fs::path NearestFolder(fs::path path) {
  std::error_code error;
  while (!path.empty() && !fs::is_directory(path, error) && path != path.parent_path())
    path = path.parent_path();
  return path.empty() ? fs::path(".") : path;
}

/// Whether files can be made below a folder, which need not exist yet.
Result<std::string> CheckFolder(const std::string& folder) {
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    return MakeError(ErrorKind::kUser, Concat("is no folder: ", folder), {},
                     "move the file away, or name another folder");
  }
  const fs::path nearest = NearestFolder(folder);
  if (::access(nearest.c_str(), W_OK | X_OK) != 0) {
    return MakeError(ErrorKind::kDenied, Concat("cannot be written to: ", nearest.string()), {},
                     "give this user the right to write there (chown, chmod), or name another "
                     "folder");
  }
  return nearest == fs::path(folder) ? Concat("writable: ", folder)
                                     : Concat("can be made: ", folder);
}

Result<std::string> CheckDisk(const std::string& folder) {
  std::error_code error;
  const fs::space_info space = fs::space(NearestFolder(folder), error);
  if (error) return Error(ErrorKind::kUnavailable, "cannot be asked: ", error.message());
  const auto available = static_cast<int64_t>(space.available);
  if (available < kLeastDiskBytes) {
    return MakeError(ErrorKind::kExhausted, Concat("only ", FormatBytes(available), " free"), {},
                     "free some space, or move the repository to another disk");
  }
  return Concat(FormatBytes(available), " free");
}

Result<std::string> CheckMemory(const RepositoryConfig& config) {
  const int64_t available = AvailableMemory();
  if (config.memory_limit > available) {
    return MakeError(
        ErrorKind::kUser,
        Concat("memory_limit ", FormatBytes(config.memory_limit),
               " is above what the machine or its cgroup has: ", FormatBytes(available)),
        {}, "lower memory_limit in feature_store.yaml, or raise the cgroup's limit");
  }
  return config.memory_limit > 0
             ? Concat("limit ", FormatBytes(config.memory_limit), " of ", FormatBytes(available))
             : Concat(FormatBytes(available), ", of which 60 % may be used");
}

class Doctor {
 public:
  explicit Doctor(const Context& context) : context_(context) {}

  void Examine(const RepositoryConfig& config) {
    Check("plug-ins", "build the library for this version, or take it out of plugins:", [&] {
      return CheckPlugins(config);
    });
    Check("registry", "start the database, or correct registry: in feature_store.yaml",
          [&] { return CheckRegistry(config); });
    for (const std::string& note : left_out_) found_.push_back({"left out", true, note, {}});
    Check("online store", "start the store, or correct online_store: in feature_store.yaml",
          [&] { return CheckOnline(config); });
    CheckSources(config);
    if (applied_ != nullptr) {
      Check("saved datasets", "save them again, or forget them: gnomon saved-datasets delete NAME",
            [&] { return CheckSavedDatasets(config); });
    }
    Check("runs",
          "name another folder under tracking:", [&] { return CheckFolder(config.tracking.path); });
    Check("models",
          "name another folder under models:", [&] { return CheckFolder(config.models); });
    Check("disk", "", [&] { return CheckDisk(config.folder); });
    Check("memory", "", [&] { return CheckMemory(config); });
  }

  void Check(const std::string& what, const std::string& remedy,
             const std::function<Result<std::string>()>& try_it) {
    const Result<std::string> result = try_it();
    if (result.ok()) {
      found_.push_back({what, true, *result, {}});
      return;
    }
    const std::string hint = HintOf(result.status());
    const std::string place = LocationOf(result.status()).ToString();
    found_.push_back({what, false,
                      Concat(place.empty() ? "" : Concat(place, ": "), result.status().message()),
                      hint.empty() ? remedy : hint});
  }

  std::vector<Diagnosis> Take() { return std::move(found_); }

 private:
  Context Patient() const { return context_.WithTimeout(kPatienceSeconds); }

  static Result<std::string> CheckPlugins(const RepositoryConfig& config) {
    if (config.plugins.empty()) return std::string("none");
    GNOMON_RETURN_NOT_OK(LoadExtensions(config.plugins, config.folder).status());
    return Concat(config.plugins.size(), " loaded");
  }

  Result<std::string> CheckRegistry(const RepositoryConfig& config) {
    if (config.registry.path.find("://") == std::string::npos) {
      GNOMON_RETURN_NOT_OK(
          CheckFolder(fs::path(config.registry.path).parent_path().string()).status());
    }
    GNOMON_ASSIGN_OR_RETURN(const auto registry,
                            Registry::Open(Patient(), config.registry.path, config.project));
    applied_ = registry->definitions();
    saved_datasets_ = registry->SavedDatasets();
    left_out_ = registry->LeftOut();
    for (std::string& part : registry->PartsLeftOut()) left_out_.push_back(std::move(part));
    if (registry->empty()) return std::string("reachable, nothing applied yet");
    return Concat(applied_->feature_views.size(), " feature views of project ", config.project);
  }

  Result<std::string> CheckOnline(const RepositoryConfig& config) {
    const auto& online = config.online_store;
    std::error_code error;
    if (online.type == "sqlite" && !fs::exists(online.path, error)) {
      GNOMON_RETURN_NOT_OK(CheckFolder(fs::path(online.path).parent_path().string()).status());
      return Concat("sqlite: `gnomon apply` makes ", online.path);
    }
    GNOMON_ASSIGN_OR_RETURN(const auto store, OpenOnlineStore(online));
    GNOMON_RETURN_NOT_OK(store->Check(Patient()));
    return Concat(online.type, ": reachable");
  }

  void CheckSources(const RepositoryConfig& config) {
    auto store = OpenOfflineStore(config);
    Check("offline store", "correct offline_store: in feature_store.yaml",
          [&]() -> Result<std::string> {
            GNOMON_RETURN_NOT_OK(store.status());
            GNOMON_RETURN_NOT_OK((*store)->Check(Patient()));
            return config.offline_store.type;
          });
    if (!store.ok() || applied_ == nullptr) return;
    for (const DataSource& source : applied_->data_sources) {
      Check(Concat("data source ", source.name), "correct it in features.yaml and run gnomon apply",
            [&]() -> Result<std::string> {
              GNOMON_ASSIGN_OR_RETURN(const auto schema, (*store)->SourceSchema(Patient(), source));
              return Concat(schema->num_fields(), " columns");
            });
    }
  }

  /// Each has its file: the name is kept before the file appears.
  Result<std::string> CheckSavedDatasets(const RepositoryConfig& config) {
    std::vector<std::string> lost;
    for (const SavedDataset& dataset : saved_datasets_) {
      GNOMON_ASSIGN_OR_RETURN(const bool is_there,
                              table::IsFile(table::PathBelow(config.folder, dataset.path)));
      if (!is_there) lost.push_back(Concat(dataset.name, " (", dataset.path, ")"));
    }
    if (lost.empty()) return Concat(saved_datasets_.size(), " with their files");
    return Error(ErrorKind::kNotFound, "without a file: ", Join(lost, ", "));
  }

  const Context& context_;
  std::shared_ptr<const Definitions> applied_;  ///< null: the registry cannot be read
  std::vector<SavedDataset> saved_datasets_;
  std::vector<std::string> left_out_;  ///< of the registry, with the reason
  std::vector<Diagnosis> found_;
};

}  // namespace

std::vector<Diagnosis> DiagnoseRepository(const Context& context, const std::string& folder,
                                          const std::string& yaml_path) {
  Doctor doctor(context);
  std::optional<RepositoryConfig> config;
  doctor.Check("feature_store.yaml", "", [&]() -> Result<std::string> {
    GNOMON_ASSIGN_OR_RETURN(config, LoadRepositoryConfig(folder, yaml_path));
    return Concat("project ", config->project, " in ", config->folder);
  });
  if (config) doctor.Examine(*config);
  return doctor.Take();
}

}  // namespace gnomon::feature
