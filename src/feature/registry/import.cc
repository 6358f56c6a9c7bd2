#include "feature/registry/import.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "feature/definition/definition_format.h"
#include "feature/registry/registry.h"

namespace gnomon::feature {

namespace {

Result<std::string> ChooseProject(const Context& context, const std::string& path,
                                  const std::string& wanted) {
  GNOMON_ASSIGN_OR_RETURN(const auto projects, Registry::Projects(context, path));
  if (projects.empty()) {
    return MakeError(ErrorKind::kNotFound, "the registry is empty or does not exist", {},
                     "--registry names a file, sqlite:///FILE or postgresql://...");
  }
  if (!wanted.empty() && std::ranges::find(projects, wanted) == projects.end()) {
    return MakeError(ErrorKind::kNotFound, Concat("the registry has no project ", Quoted(wanted)),
                     {}, Concat("projects: ", Join(projects, ", ")));
  }
  if (wanted.empty() && projects.size() > 1) {
    return MakeError(ErrorKind::kUser,
                     Concat("the registry has several projects: ", Join(projects, ", ")), {},
                     "choose one: --project NAME");
  }
  return wanted.empty() ? projects.front() : wanted;
}

// Services keep what can be read; one of which nothing is left goes.
void DropUnreadableParts(ImportedDefinitions* imported) {
  Definitions& all = imported->definitions;
  std::vector<FeatureService> kept;
  for (FeatureService& service : all.feature_services) {
    std::vector<Projection> projections;
    for (Projection& each : service.features) {
      if (all.FindFeatureView(each.view) != nullptr ||
          all.FindOnDemandFeatureView(each.view) != nullptr) {
        projections.push_back(std::move(each));
        continue;
      }
      imported->left_out.push_back(Concat("feature service ", Quoted(service.name), ": its view ",
                                          Quoted(each.view), ", which stays in Feast's registry"));
    }
    service.features = std::move(projections);
    if (!service.features.empty()) kept.push_back(std::move(service));
  }
  all.feature_services = std::move(kept);
}

void NameWhatIsElsewhere(const Registry& registry, ImportedDefinitions* imported) {
  for (const SavedDataset& dataset : registry.SavedDatasets()) {
    imported->left_out.push_back(
        Concat("saved dataset ", Quoted(dataset.name), ": it stays in the registry and its file"));
  }
  const bool has_history = std::ranges::any_of(
      imported->definitions.feature_views,
      [&](const FeatureView& view) { return !registry.StateOf(view.name).intervals.empty(); });
  if (has_history) {
    imported->left_out.emplace_back(
        "the history of the views' materialization: it stays in the registry");
  }
  for (const PluginUse& plugin : imported->definitions.plugins) {
    imported->left_out.push_back(
        Concat("plug-in library ", plugin.path, ": name it under plugins: in feature_store.yaml"));
  }
}

}  // namespace

Result<ImportedDefinitions> ImportRegistry(const Context& context, const std::string& path,
                                           const std::string& project) {
  ImportedDefinitions imported;
  GNOMON_ASSIGN_OR_RETURN(imported.project, ChooseProject(context, path, project));
  GNOMON_ASSIGN_OR_RETURN(const auto registry, Registry::Open(context, path, imported.project));
  imported.definitions = *registry->definitions();
  imported.left_out = registry->LeftOut();
  for (std::string& line : registry->PartsLeftOut()) imported.left_out.push_back(std::move(line));
  DropUnreadableParts(&imported);
  NameWhatIsElsewhere(*registry, &imported);
  GNOMON_RETURN_NOT_OK(WithContext(Validate(imported.definitions), "the registry's definitions"));
  return imported;
}

std::string FormatImport(const ImportedDefinitions& imported) {
  std::string text =
      Concat("# The definitions of project ", imported.project, ", made by `gnomon import`.\n");
  if (!imported.left_out.empty()) {
    text += "#\n# Not in this file:\n";
    for (const std::string& line : imported.left_out) {
      std::string shown = line;
      std::ranges::replace(shown, '\n', ' ');
      text += Concat("# - ", shown, "\n");
    }
  }
  return Concat(text, "\n", FormatDefinitions(imported.definitions));
}

}  // namespace gnomon::feature
