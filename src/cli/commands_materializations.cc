#include <algorithm>
#include <chrono>
#include <thread>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"

namespace gnomon::cli {
namespace {

using feature::JobState;
using feature::MaterializationJob;
using nlohmann::ordered_json;

struct Flags {
  std::string id;
  std::string state;
  std::string view;
  int limit = 20;
  bool force = false;
  double wait_seconds = 0;
};

ordered_json Describe(const MaterializationJob& job) {
  ordered_json json = {{"job", job.id},
                       {"state", feature::NameOf(job.state)},
                       {"views", job.views},
                       {"start", FormatTimestamp(job.interval.start)},
                       {"end", FormatTimestamp(job.interval.end)},
                       {"rows", job.rows},
                       {"failed_rows", job.failed_rows},
                       {"skipped_rows", job.skipped_rows},
                       {"started", FormatTimestamp(job.started)}};
  json["finished"] = job.finished > 0 ? ordered_json(FormatTimestamp(job.finished)) : nullptr;
  json["resumed"] = job.resumed;
  json["cancel_requested"] = job.cancel_requested;
  json["host"] = job.owner.host;
  json["process"] = job.owner.process;
  json["progress"] = ordered_json::array();
  for (const auto& each : job.progress) {
    json["progress"].push_back({{"view", each.view},
                                {"start", FormatTimestamp(each.interval.start)},
                                {"end", FormatTimestamp(each.interval.end)},
                                {"done", each.done},
                                {"rows", each.rows}});
  }
  json["error"] = job.error.empty() ? ordered_json(nullptr) : ordered_json(job.error);
  return json;
}

Status List(Session& session, const Flags& flags) {
  std::optional<JobState> state;
  if (!flags.state.empty()) {
    GNOMON_ASSIGN_OR_RETURN(state, feature::ParseJobState(flags.state));
  }
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  std::vector<MaterializationJob> jobs = store->registry().Jobs();
  std::ranges::reverse(jobs);
  std::erase_if(jobs, [&](const MaterializationJob& job) {
    const bool other_view =
        !flags.view.empty() && std::ranges::find(job.views, flags.view) == job.views.end();
    return other_view || (state && job.state != *state);
  });
  if (flags.limit > 0 && jobs.size() > static_cast<size_t>(flags.limit))
    jobs.resize(static_cast<size_t>(flags.limit));
  if (session.json) {
    ordered_json all = ordered_json::array();
    for (const auto& job : jobs) all.push_back(Describe(job));
    Print(all.dump());
    return Status::OK();
  }
  TextTable table{.header = {"JOB", "STATE", "VIEWS", "END", "ROWS", "STARTED", "ERROR"},
                  .rows = {}};
  for (const auto& job : jobs) {
    table.rows.push_back({job.id, feature::NameOf(job.state), Join(job.views, ","),
                          FormatTimestamp(job.interval.end), std::to_string(job.rows),
                          FormatTimestamp(job.started), job.error.empty() ? "-" : job.error});
  }
  Print(table.Format());
  return Status::OK();
}

Status Show(Session& session, const Flags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(const auto job, store->GetMaterialization(flags.id));
  Print(Describe(job).dump(session.json ? -1 : 2));
  return Status::OK();
}

/// Waits until the job has ended, by the registry's word.
Result<MaterializationJob> WaitForEnd(Session& session, const std::string& id, double seconds) {
  const Context context = session.context.WithTimeout(seconds);
  for (;;) {
    GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
    GNOMON_ASSIGN_OR_RETURN(auto job, store->GetMaterialization(id));
    if (job.state != JobState::kRunning) return job;
    GNOMON_RETURN_NOT_OK(
        WithContext(context.Check(), Concat("materialization ", job.id, " is still running")));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

Status Cancel(Session& session, const Flags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto job, store->CancelMaterialization(session.context, flags.id));
  if (job.state == JobState::kRunning && flags.wait_seconds > 0) {
    GNOMON_ASSIGN_OR_RETURN(job, WaitForEnd(session, job.id, flags.wait_seconds));
  }
  if (session.json) {
    Print(Describe(job).dump());
  } else if (job.state == JobState::kRunning) {
    Print(
        Concat("asked ", job.id, " to stop: process ", job.owner.process, " on ", job.owner.host));
  } else {
    Print(Concat(job.id, " is ", feature::NameOf(job.state)));
  }
  return Status::OK();
}

Status Resume(Session& session, const Flags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto job,
                          store->ResumeMaterialization(session.context, flags.id, flags.force));
  if (session.json) {
    Print(Describe(job).dump());
    return Status::OK();
  }
  Print(Concat("materialized ", job.rows, " rows of ", Join(job.views, ", "), " up to ",
               FormatTimestamp(job.interval.end)));
  return Status::OK();
}

}  // namespace

void AddMaterializationsCommands(CLI::App& app, Action* action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* noun =
      app.add_subcommand("materializations", "List, show, cancel or resume materialization jobs");
  noun->require_subcommand(1);
  CLI::App* list = noun->add_subcommand("list", "The newest jobs, one line each");
  list->add_option("--state", flags->state,
                   "Only running, succeeded, failed, cancelled or interrupted ones");
  list->add_option("-v,--view", flags->view, "Only those of this feature view");
  list->add_option("-n,--limit", flags->limit, "At most so many; 0: all that are kept (1000)")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  list->callback([=] { *action = [=](Session& session) { return List(session, *flags); }; });
  const auto with_id = [&](const char* name, const char* about, auto run) {
    CLI::App* command = noun->add_subcommand(name, about);
    command->add_option("JOB", flags->id, "Its id, or the beginning of it")->required();
    command->callback([=] { *action = [=](Session& session) { return run(session, *flags); }; });
    return command;
  };
  with_id("show", "Everything about one, with how far it came in each view", Show);
  with_id("cancel", "Stop a running one, in whatever process it runs", Cancel)
      ->add_option("--wait", flags->wait_seconds,
                   "Wait until it has stopped, at most so many seconds")
      ->check(CLI::NonNegativeNumber);
  with_id("resume", "Continue one that was interrupted, cancelled or failed", Resume)
      ->add_flag("--force", flags->force, "Even when it, or one on the same views, seems to run");
}

}  // namespace gnomon::cli
