#include "cli/run.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <pthread.h>
#include <stop_token>
#include <string>
#include <thread>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/session.h"
#include "net/json.h"
#include "table/file_system.h"

namespace gnomon::cli {
namespace {

constexpr int kUsageError = 2;
constexpr int kInterrupted = 130;

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

/// Turns the first stop signal into a stop request; a second one ends the process at once.
class SignalWatcher {
 public:
  /// Blocks the signals for this thread and all that it starts: call before any other thread
  /// exists.
  SignalWatcher() {
    const sigset_t signals = StopSignals();
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    // A limit on file sizes is an error of the write, like a full disk.
    std::signal(SIGXFSZ, SIG_IGN);
    std::thread([source = source_]() mutable {
      const sigset_t waited = StopSignals();
      int signal = 0;
      sigwait(&waited, &signal);
      source.request_stop();
      sigwait(&waited, &signal);
      _exit(kInterrupted);
    }).detach();
  }
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
};

int Report(const Session& session, const Status& status) {
  if (session.json) {
    std::string out;
    net::JsonWriter json(&out);
    json.BeginObject()
        .Key("error")
        .String(status.message())
        .Key("kind")
        .String(NameOf(KindOf(status)));
    if (const std::string place = LocationOf(status).ToString(); !place.empty())
      json.Key("location").String(place);
    if (!HintOf(status).empty()) json.Key("hint").String(HintOf(status));
    json.EndObject();
    std::fprintf(stderr, "%s\n", out.c_str());
  } else {
    std::fprintf(stderr, "error: %s\n", FormatError(status).c_str());
  }
  return ExitCodeOf(KindOf(status));
}

/// The usage errors of CLI11, with the nearest command for one that does not exist.
int ReportUsage(const CLI::App& app, const CLI::ParseError& error) {
  const int code = app.exit(error);
  if (code == 0) return 0;  // --help
  const auto rest = app.remaining(/*recurse=*/true);
  const CLI::App* level = &app;
  while (!level->get_subcommands().empty()) level = level->get_subcommands().front();
  std::vector<std::string> commands;
  for (const CLI::App* command : level->get_subcommands(nullptr))
    commands.push_back(command->get_name());
  if (!rest.empty() && !commands.empty()) {
    if (const std::string hint = DidYouMean(rest.front(), commands); !hint.empty())
      std::fprintf(stderr, "  hint: %s\n", hint.c_str());
  }
  return kUsageError;
}

struct GlobalFlags {
  std::string log_level = "warning";
  bool json_logs = false;
  std::string memory_limit;
};

int RunAction(Session& session, const GlobalFlags& flags, const Action& action,
              const SignalWatcher& signals) {
  auto level = ParseLogLevel(flags.log_level);
  if (!level.ok()) return Report(session, level.status());
  ConfigureLogging({.level = *level, .json = flags.json_logs});
  if (const Status status = CheckFaultVariable(); !status.ok()) return Report(session, status);
  const auto progress = MakeTerminalProgress();
  // 60 % of what there is: Arrow's buffers that nobody reserves and the allocator's slack need the
  // rest.
  int64_t limit = AvailableMemory() / 10 * 6;
  if (!flags.memory_limit.empty()) {
    const auto given = ParseBytes(flags.memory_limit);
    if (!given.ok()) return Report(session, WithContext(given.status(), "--memory-limit"));
    limit = *given;
    session.memory_limit_given = true;
  }
  ReturnFreedMemory(limit);
  MemoryBudget memory("process", limit);
  session.context.stop = signals.token();
  table::StopObjectRequests(signals.token());
  session.context.metrics = &session.metrics;
  session.context.progress = progress.get();
  session.context.memory = &memory;
  const Status status = action(session);
  return status.ok() ? 0 : Report(session, status);
}

}  // namespace

int Run(int argc, char** argv) {
  CLI::App app(
      "Gnomon: raw events, point-in-time-correct features, trained models, served predictions.",
      "gnomon");
  app.formatter(MakeHelpFormatter());
  app.fallthrough();
  app.require_subcommand(0, 1);
  Session session;
  GlobalFlags flags;
  Action action;
  app.add_option("-c,--chdir", session.folder,
                 "Feature repository folder (default: the current one)");
  app.add_option("-f,--feature-store-yaml", session.yaml,
                 "Another file than feature_store.yaml of that folder");
  app.add_option("--log-level", flags.log_level, "debug, info, warning, error or off")
      ->capture_default_str();
  app.add_option("--memory-limit", flags.memory_limit,
                 "Memory that may be used, as in 2GiB (default: memory_limit of\n"
                 "feature_store.yaml, else 60 % of the machine's)");
  app.add_flag("--log-json", flags.json_logs, "Logs as JSON lines");
  app.add_flag("--json", session.json, "Results (and errors) as JSON");
  AddRepositoryCommands(app, &action);
  AddListCommands(app, &action);
  AddPluginCommands(app, &action);
  AddImportCommand(app, &action);
  AddDoctorCommand(app, &action);
  AddMaterializeCommands(app, &action);
  AddMaterializationsCommands(app, &action);
  AddRetrievalCommands(app, &action);
  AddServeCommands(app, &action);
  AddModelCommands(app, &action);
  AddSavedDatasetCommands(app, &action);
  AddRunsCommands(app, &action);
  AddDemoCommands(app, &action);
  AddAsOfCommand(app, &action);
  AddVersionCommand(app, &action);
  AddHelpTexts(app);
  AddWorkerCommand(app, &action);
  try {
    app.parse(argc, argv);
    if (!action) {
      Print(app.help());
      return 0;
    }
    const SignalWatcher signals;
    return RunAction(session, flags, action, signals);
  } catch (const CLI::ParseError& error) {
    return ReportUsage(app, error);
  } catch (const std::exception& error) {
    return Report(session, Error(ErrorKind::kInternal, "unexpected exception: ", error.what()));
  }
}

}  // namespace gnomon::cli

int gnomon_main(int argc, char** argv) { return gnomon::cli::Run(argc, argv); }
