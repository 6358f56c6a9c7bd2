#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "feature/definition/definition_internal.h"
#include "feature/definition/repository.h"

namespace gnomon::feature {

namespace {

namespace fs = std::filesystem;

bool IsFile(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// features.yaml, or the YAML files of features/ in name order.
Result<std::vector<std::string>> DefinitionFiles(const fs::path& folder) {
  const fs::path single = folder / "features.yaml";
  const fs::path many = folder / "features";
  std::vector<std::string> files;
  std::error_code ignored;
  if (fs::is_directory(many, ignored)) {
    std::error_code error;
    for (fs::directory_iterator entry(many, error), end; !error && entry != end;
         entry.increment(error)) {
      const fs::path& path = entry->path();
      const bool is_yaml = path.extension() == ".yaml" || path.extension() == ".yml";
      if (is_yaml && IsFile(path)) files.push_back(path.string());
    }
    if (error) return ErrnoError(error.value(), many.string());
  }
  std::ranges::sort(files);
  if (IsFile(single)) {
    if (!files.empty()) {
      return MakeError(
          ErrorKind::kUser,
          Concat("both ", single.string(), " and ", many.string(), "/*.yaml are there"), {},
          "move the definitions to one of them");
    }
    files.push_back(single.string());
  }
  if (!files.empty()) return files;
  return MakeError(ErrorKind::kNotFound,
                   Concat("no features.yaml and no features/*.yaml in ", folder.string()), {},
                   "`gnomon init` writes an example");
}

template <typename Object>
void Append(std::vector<Object>* all, std::vector<Object> more) {
  all->insert(all->end(), std::make_move_iterator(more.begin()),
              std::make_move_iterator(more.end()));
}

// Where each object was written; of two with one name the later.
class Places {
 public:
  void Add(const ConfigNode& root) {
    AddList(root.Get("entities"), kEntityKind);
    AddList(root.Get("data_sources"), kSourceKind);
    AddList(root.Get("feature_views"), kViewKind);
    AddList(root.Get("on_demand_feature_views"), kOnDemandKind);
    AddList(root.Get("feature_services"), kServiceKind);
  }

  Location Find(std::string_view kind, std::string_view name) const {
    const auto found = places_.find(Concat(kind, "\n", name));
    return found == places_.end() ? Location{} : found->second;
  }

 private:
  void AddList(const ConfigNode& list, std::string_view kind) {
    const auto elements = list.Elements();
    if (!elements.ok()) return;
    for (const ConfigNode& element : *elements) {
      const auto name = element.Get("name").AsString();
      if (name.ok()) places_.insert_or_assign(Concat(kind, "\n", *name), element.location());
    }
  }

  std::map<std::string, Location> places_;
};

}  // namespace

Result<RepositoryConfig> LoadRepositoryConfig(const std::string& folder,
                                              const std::string& yaml_path) {
  const fs::path repository = folder.empty() ? fs::path(".") : fs::path(folder);
  const std::string path =
      yaml_path.empty() ? (repository / "feature_store.yaml").string() : yaml_path;
  if (!IsFile(path)) {
    return MakeError(ErrorKind::kNotFound, Concat("no feature_store.yaml: ", path), {},
                     "`gnomon init` makes a repository; -c or -f names one that is elsewhere");
  }
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode root, LoadConfigFile(path));
  return ParseRepositoryConfig(root, repository.string());
}

Result<Definitions> LoadDefinitions(const std::string& folder) {
  GNOMON_ASSIGN_OR_RETURN(const auto files, DefinitionFiles(folder.empty() ? "." : folder));
  Definitions all;
  Places places;
  for (const std::string& file : files) {
    GNOMON_ASSIGN_OR_RETURN(const ConfigNode root, LoadConfigFile(file));
    GNOMON_ASSIGN_OR_RETURN(Definitions part, ParseDefinitions(root));
    Append(&all.entities, std::move(part.entities));
    Append(&all.data_sources, std::move(part.data_sources));
    Append(&all.feature_views, std::move(part.feature_views));
    Append(&all.on_demand_feature_views, std::move(part.on_demand_feature_views));
    Append(&all.feature_services, std::move(part.feature_services));
    places.Add(root);
  }
  all = Complete(std::move(all));
  GNOMON_RETURN_NOT_OK(CheckDefinitions(
      all, [&](std::string_view kind, std::string_view name) { return places.Find(kind, name); }));
  return all;
}

}  // namespace gnomon::feature
