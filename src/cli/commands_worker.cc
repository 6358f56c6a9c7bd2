#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/files.h"
#include "base/ids.h"
#include "base/text.h"
#include "cli/commands.h"
#include "dataset/distributed/distributed.h"
#include "dataset/extension_functions.h"
#include "feature/engine/database_rows.h"
#include "feature/engine/online_sink.h"
#include "feature/store/plugin_extensions.h"
#include "runtime/local/worker.h"
#include "runtime/stage.h"

namespace gnomon::cli {
namespace {

struct WorkerFlags {
  int socket = -1;
  std::vector<std::string> plugins;
  std::vector<std::string> plugin_ids;
};

/// The plug-ins of the driver's definitions. A library that is not the driver's own is not opened.
Result<dataset::PlanExtensions> LoadPlugins(const WorkerFlags& flags) {
  for (size_t i = 0; i < flags.plugins.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(flags.plugins[i]));
    if (i < flags.plugin_ids.size() && Sha256Hex(bytes) == flags.plugin_ids[i]) continue;
    return MakeError(
        ErrorKind::kConflict,
        Concat("plug-in library ", flags.plugins[i], " is not the one that the driver has loaded"),
        {}, "start again when the library is no longer being written");
  }
  GNOMON_ASSIGN_OR_RETURN(const auto loaded, feature::LoadExtensions(flags.plugins, {}));
  dataset::PlanExtensions extensions;
  if (loaded == nullptr) return extensions;
  extensions.functions = loaded->functions;
  extensions.batch_functions = dataset::BatchFunctionsOf(loaded->functions);
  for (const auto& aggregate : loaded->aggregates)
    extensions.aggregates[aggregate->name()] = aggregate;
  return extensions;
}

Status Work(const WorkerFlags& flags) {
  GNOMON_ASSIGN_OR_RETURN(dataset::PlanExtensions extensions, LoadPlugins(flags));
  runtime::StageRegistry registry;
  GNOMON_RETURN_NOT_OK(feature::RegisterDatabaseSources(registry, &extensions));
  GNOMON_RETURN_NOT_OK(feature::RegisterOnlineSink(registry, &extensions));
  GNOMON_RETURN_NOT_OK(dataset::RegisterPlanStages(registry, nullptr, &extensions));
  return runtime::RunWorker(registry, flags.socket);
}

}  // namespace

void AddWorkerCommand(CLI::App& app, Action* action) {
  auto flags = std::make_shared<WorkerFlags>();
  CLI::App* worker = app.add_subcommand("worker", "Serves a driver that started this process");
  worker->group("");  // for our own processes: --help does not show it
  worker->add_option("--fd", flags->socket, "The socket to the driver")->required();
  worker->add_option("--plugin", flags->plugins, "A plug-in library to load")
      ->allow_extra_args(false);
  worker->add_option("--plugin-id", flags->plugin_ids, "What it must be: sha256, in hex")
      ->allow_extra_args(false);
  worker->callback([=] { *action = [flags](Session&) { return Work(*flags); }; });
}

}  // namespace gnomon::cli
