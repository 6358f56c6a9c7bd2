#pragma once

#include <functional>

#include "base/error.h"
#include "cli/session.h"

namespace CLI {
class App;
}

/// One function per family of commands: each adds its subcommands and flags to `app`. A command
/// that was chosen leaves in `*action` what is to be run. To add a command: a function here, a file
/// commands_<noun>.cc, a line in run.cc, its group and examples in help.cc.
namespace gnomon::cli {

using Action = std::function<Status(Session&)>;

void AddRepositoryCommands(
    CLI::App& app, Action* action);  // init apply plan teardown validate registry-dump status
void AddListCommands(CLI::App& app, Action* action);  // entities feature-views feature-services ...
void AddMaterializeCommands(CLI::App& app, Action* action);  // materialize materialize-incremental
void AddMaterializationsCommands(CLI::App& app,
                                 Action* action);      // materializations list|show|cancel|resume
void AddImportCommand(CLI::App& app, Action* action);  // import
void AddDoctorCommand(CLI::App& app, Action* action);  // doctor
void AddRetrievalCommands(CLI::App& app,
                          Action* action);  // get-historical-features get-online-features
void AddSavedDatasetCommands(CLI::App& app, Action* action);  // saved-datasets list|describe|...
void AddPluginCommands(CLI::App& app, Action* action);        // plugins list
void AddServeCommands(CLI::App& app, Action* action);         // serve serve-model
void AddModelCommands(CLI::App& app, Action* action);         // train predict
void AddRunsCommands(CLI::App& app, Action* action);          // runs list|show|compare
void AddDemoCommands(CLI::App& app, Action* action);          // demo sales|flights
void AddAsOfCommand(CLI::App& app, Action* action);           // asof
void AddWorkerCommand(CLI::App& app, Action* action);         // worker: hidden, has no help text
void AddVersionCommand(CLI::App& app, Action* action);        // version

}  // namespace gnomon::cli
