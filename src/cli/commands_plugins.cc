#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/commands.h"
#include "plugin/library.h"

namespace gnomon::cli {
namespace {

using nlohmann::ordered_json;
using Libraries = std::vector<std::shared_ptr<const plugin::Library>>;

ordered_json LibraryJson(const plugin::Library& library) {
  ordered_json json = {{"path", library.path()},
                       {"name", library.name()},
                       {"version", library.version()},
                       {"sha256", library.id()},
                       {"functions", ordered_json::array()},
                       {"aggregates", ordered_json::array()}};
  for (const auto& function : library.functions()) {
    json["functions"].push_back(
        {{"name", function.name()}, {"signature", function.Signature()}, {"doc", function.doc()}});
  }
  for (const auto& aggregate : library.aggregates()) {
    json["aggregates"].push_back({{"name", aggregate.name()},
                                  {"signature", aggregate.Signature()},
                                  {"doc", aggregate.doc()}});
  }
  return json;
}

Status ListPlugins(Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto config, feature::LoadRepositoryConfig(session.folder, session.yaml));
  GNOMON_ASSIGN_OR_RETURN(const Libraries libraries, plugin::LoadLibraries(config.plugins));
  if (session.json) {
    ordered_json all = ordered_json::array();
    for (const auto& library : libraries) all.push_back(LibraryJson(*library));
    Print(all.dump());
    return Status::OK();
  }
  TextTable table{.header = {"LIBRARY", "KIND", "SIGNATURE", "MEANING"}, .rows = {}};
  for (const auto& library : libraries) {
    std::string name = library->name();
    if (!library->version().empty()) name += Concat(" ", library->version());
    for (const auto& function : library->functions())
      table.rows.push_back({name, "function", function.Signature(), function.doc()});
    for (const auto& aggregate : library->aggregates())
      table.rows.push_back({name, "aggregate", aggregate.Signature(), aggregate.doc()});
  }
  Print(table.rows.empty() ? "no plug-in libraries: docs/guide/plugins.md" : table.Format());
  return Status::OK();
}

}  // namespace

void AddPluginCommands(CLI::App& app, Action* action) {
  CLI::App* plugins = app.add_subcommand("plugins", "Plug-in libraries of the repository");
  plugins->require_subcommand(1);
  plugins->add_subcommand("list", "What the libraries offer, with types")->callback([=] {
    *action = ListPlugins;
  });
}

}  // namespace gnomon::cli
