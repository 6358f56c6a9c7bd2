#include <memory>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "cli/commands.h"
#include "dataset/distributed/distributed.h"
#include "runtime/local/worker.h"
#include "runtime/stage.h"

namespace gnomon::cli {
namespace {

Status Work(int socket) {
  runtime::StageRegistry registry;
  GNOMON_RETURN_NOT_OK(dataset::RegisterPlanStages(registry, nullptr));
  return runtime::RunWorker(registry, socket);
}

}  // namespace

void AddWorkerCommand(CLI::App& app, Action* action) {
  auto socket = std::make_shared<int>(-1);
  CLI::App* worker = app.add_subcommand("worker", "Serves a driver that started this process");
  worker->group("");  // for our own processes: --help does not show it
  worker->add_option("--fd", *socket, "The socket to the driver")->required();
  worker->callback([=] { *action = [socket](Session&) { return Work(*socket); }; });
}

}  // namespace gnomon::cli
