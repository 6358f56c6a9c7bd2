#include <cstdio>
#include <filesystem>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/text.h"
#include "cli/commands.h"
#include "feature/definition/repository.h"
#include "feature/registry/import.h"

namespace gnomon::cli {
namespace {

struct ImportFlags {
  std::string registry;
  std::string project;
  std::string out;
  bool overwrite = false;
};

Status Import(Session& session, ImportFlags flags) {
  if (flags.registry.empty()) {
    GNOMON_ASSIGN_OR_RETURN(const auto config,
                            feature::LoadRepositoryConfig(session.folder, session.yaml));
    flags.registry = config.registry.path;
    if (flags.project.empty()) flags.project = config.project;
  }
  const bool to_file = flags.out != "-";
  if (to_file && !flags.overwrite && std::filesystem::exists(flags.out)) {
    return MakeError(ErrorKind::kConflict, Concat("the file exists: ", flags.out), {},
                     "name another one with --out, or add --overwrite");
  }
  GNOMON_ASSIGN_OR_RETURN(const auto imported,
                          feature::ImportRegistry(session.context, flags.registry, flags.project));
  const std::string text = feature::FormatImport(imported);
  if (to_file) GNOMON_RETURN_NOT_OK(WriteFileAtomic(flags.out, text));
  if (session.json) {
    Print(nlohmann::ordered_json(
              {{"project", imported.project}, {"out", flags.out}, {"left_out", imported.left_out}})
              .dump());
    return Status::OK();
  }
  if (!to_file) {
    Print(text);
    return Status::OK();
  }
  const auto& all = imported.definitions;
  std::string summary =
      Concat("wrote ", flags.out, ": ", all.entities.size(), " entities, ", all.data_sources.size(),
             " data sources, ", all.feature_views.size(), " feature views, ",
             all.on_demand_feature_views.size(), " on-demand feature views, ",
             all.feature_services.size(), " feature services of project ", imported.project, "\n");
  if (!imported.left_out.empty()) summary += "not in it:\n";
  for (const std::string& line : imported.left_out) summary += Concat("  ", line, "\n");
  Print(summary);
  return Status::OK();
}

}  // namespace

void AddImportCommand(CLI::App& app, Action* action) {
  auto flags = std::make_shared<ImportFlags>();
  CLI::App* command =
      app.add_subcommand("import", "Write the definitions of a Feast registry as features.yaml");
  command->add_option("--registry", flags->registry,
                      "A registry's file, sqlite:///FILE or postgresql://user:password@host/db\n"
                      "(default: the registry of the repository)");
  command->add_option("--project", flags->project,
                      "Its project (default: the repository's, or the only one)");
  command->add_option("--out", flags->out, "The file to write; - for standard output")
      ->default_val("features.yaml");
  command->add_flag("--overwrite", flags->overwrite, "Replace a file that exists");
  command->callback(
      [=] { *action = [flags](Session& session) { return Import(session, *flags); }; });
}

}  // namespace gnomon::cli
