#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "feature/definition/definition_internal.h"
#include "feature/definition/loaded_definitions.h"
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

void AddPlaces(const ConfigNode& list, std::string_view kind, LoadedDefinitions* all) {
  const auto elements = list.Elements();
  if (!elements.ok()) return;
  for (const ConfigNode& element : *elements) {
    const auto name = element.Get("name").AsString();
    if (!name.ok()) continue;
    all->places.insert_or_assign(LoadedDefinitions::PlaceKey(kind, *name), element.location());
  }
}

void Append(const ConfigNode& root, Definitions part, LoadedDefinitions* all) {
  Definitions& whole = all->definitions;
  Append(&whole.entities, std::move(part.entities));
  Append(&whole.data_sources, std::move(part.data_sources));
  Append(&whole.feature_views, std::move(part.feature_views));
  Append(&whole.on_demand_feature_views, std::move(part.on_demand_feature_views));
  Append(&whole.feature_services, std::move(part.feature_services));
  AddPlaces(root.Get("entities"), kEntityKind, all);
  AddPlaces(root.Get("data_sources"), kSourceKind, all);
  AddPlaces(root.Get("feature_views"), kViewKind, all);
  AddPlaces(root.Get("on_demand_feature_views"), kOnDemandKind, all);
  AddPlaces(root.Get("feature_services"), kServiceKind, all);
}

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

std::string LoadedDefinitions::PlaceKey(std::string_view kind, std::string_view name) {
  return Concat(kind, "\n", name);
}

bool LoadedDefinitions::Holds(const Definitions& other) const {
  return definitions.entities == other.entities && definitions.data_sources == other.data_sources &&
         definitions.feature_views == other.feature_views &&
         definitions.on_demand_feature_views == other.on_demand_feature_views &&
         definitions.feature_services == other.feature_services;
}

Location LoadedDefinitions::Find(std::string_view kind, std::string_view name) const {
  auto found = places.find(PlaceKey(kind, name));
  // An on-demand view that is written to the online store has become a feature view.
  if (found == places.end() && kind == kViewKind)
    found = places.find(PlaceKey(kOnDemandKind, name));
  return found == places.end() ? Location{} : found->second;
}

Result<LoadedDefinitions> LoadDefinitionsWithPlaces(
    const std::string& folder, const std::shared_ptr<const Extensions>& extensions) {
  GNOMON_ASSIGN_OR_RETURN(const auto files, DefinitionFiles(folder.empty() ? "." : folder));
  LoadedDefinitions all;
  bool says_nothing = true;
  for (const std::string& file : files) {
    GNOMON_ASSIGN_OR_RETURN(const ConfigNode root, LoadConfigFile(file));
    GNOMON_ASSIGN_OR_RETURN(Definitions part, ParseDefinitions(root, extensions));
    says_nothing = says_nothing && root.is_null();
    Append(root, std::move(part), &all);
  }
  // A file that was cut off must not delete everything that is applied.
  if (says_nothing) {
    return MakeError(ErrorKind::kUser, "the file of definitions is empty", {.file = files.front()},
                     "`gnomon init` writes an example; `gnomon teardown` removes what is applied");
  }
  all.definitions.extensions = extensions;
  all.definitions = Complete(std::move(all.definitions));
  GNOMON_RETURN_NOT_OK(CheckDefinitions(
      all.definitions,
      [&](std::string_view kind, std::string_view name) { return all.Find(kind, name); }));
  return all;
}

Result<Definitions> LoadDefinitions(const std::string& folder,
                                    const std::shared_ptr<const Extensions>& extensions) {
  GNOMON_ASSIGN_OR_RETURN(LoadedDefinitions loaded, LoadDefinitionsWithPlaces(folder, extensions));
  return std::move(loaded.definitions);
}

}  // namespace gnomon::feature
