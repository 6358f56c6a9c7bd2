#include <set>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "tracking/run_store.h"

namespace gnomon::cli {
namespace {

using nlohmann::ordered_json;

Result<std::unique_ptr<tracking::RunStore>> OpenRuns(const Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto config, feature::LoadRepositoryConfig(session.folder, session.yaml));
  return tracking::OpenLocalRunStore(config.tracking.path);
}

std::string Number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.6g", value);
  return buffer;
}

ordered_json RunJson(const tracking::Run& run) {
  return {{"run_id", run.id.value},
          {"name", run.name},
          {"experiment", run.experiment},
          {"status", tracking::NameOf(run.status)},
          {"start_time", FormatTimestamp(run.start_time)},
          {"end_time",
           run.end_time == 0 ? ordered_json() : ordered_json(FormatTimestamp(run.end_time))},
          {"params", run.params},
          {"metrics", run.metrics},
          {"tags", run.tags},
          {"artifacts", run.artifact_folder}};
}

Status ListRuns(Session& session, const std::string& experiment) {
  GNOMON_ASSIGN_OR_RETURN(auto runs, OpenRuns(session));
  GNOMON_ASSIGN_OR_RETURN(auto all, runs->ListRuns(session.context, experiment));
  if (session.json) {
    ordered_json json = ordered_json::array();
    for (const auto& run : all) json.push_back(RunJson(run));
    Print(json.dump());
    return Status::OK();
  }
  TextTable table{
      .header = {"RUN", "NAME", "EXPERIMENT", "STATUS", "STARTED", "SECONDS", "METRICS"},
      .rows = {}};
  for (const auto& run : all) {
    std::string metrics;
    for (const auto& [key, value] : run.metrics) {
      if (key.starts_with("test_"))
        metrics += Concat(metrics.empty() ? "" : " ", key, "=", Number(value));
    }
    const std::string seconds =
        run.end_time == 0
            ? "-"
            : Number(static_cast<double>(run.end_time - run.start_time) / kMicrosPerSecond);
    table.rows.push_back({run.id.value.substr(0, 8), run.name, run.experiment,
                          tracking::NameOf(run.status),
                          FormatTimestamp(run.start_time).substr(0, 19), seconds, metrics});
  }
  Print(table.Format());
  return Status::OK();
}

Status ShowRun(Session& session, const std::string& id) {
  GNOMON_ASSIGN_OR_RETURN(auto runs, OpenRuns(session));
  GNOMON_ASSIGN_OR_RETURN(auto run, runs->GetRun(session.context, id));
  GNOMON_ASSIGN_OR_RETURN(auto artifacts, runs->ListArtifacts(session.context, run.id));
  if (session.json) {
    ordered_json json = RunJson(run);
    json["artifact_files"] = artifacts;
    Print(json.dump());
    return Status::OK();
  }
  std::string text =
      Concat("run         ", run.id.value, "\nname        ", run.name, "\nexperiment  ",
             run.experiment, "\nstatus      ", tracking::NameOf(run.status), "\nstarted     ",
             FormatTimestamp(run.start_time), "\n");
  if (run.end_time != 0) text += Concat("ended       ", FormatTimestamp(run.end_time), "\n");
  text += "parameters\n";
  for (const auto& [key, value] : run.params) text += Concat("  ", key, " = ", value, "\n");
  text += "metrics\n";
  for (const auto& [key, value] : run.metrics)
    text += Concat("  ", key, " = ", Number(value), "\n");
  text += "tags\n";
  for (const auto& [key, value] : run.tags) text += Concat("  ", key, " = ", value, "\n");
  text += Concat("artifacts in ", run.artifact_folder, "\n");
  for (const std::string& file : artifacts) text += Concat("  ", file, "\n");
  Print(text);
  return Status::OK();
}

Status CompareRuns(Session& session, const std::vector<std::string>& ids) {
  GNOMON_ASSIGN_OR_RETURN(auto store, OpenRuns(session));
  std::vector<tracking::Run> runs;
  for (const std::string& id : ids) {
    GNOMON_ASSIGN_OR_RETURN(auto run, store->GetRun(session.context, id));
    runs.push_back(std::move(run));
  }
  if (session.json) {
    ordered_json json = ordered_json::array();
    for (const auto& run : runs) json.push_back(RunJson(run));
    Print(json.dump());
    return Status::OK();
  }
  std::set<std::string> params;
  std::set<std::string> metrics;
  TextTable table{.header = {""}, .rows = {}};
  for (const auto& run : runs) {
    table.header.push_back(run.name);
    for (const auto& [key, value] : run.params) params.insert(key);
    for (const auto& [key, value] : run.metrics) metrics.insert(key);
  }
  for (const std::string& key : params) {
    std::vector<std::string> row{key};
    for (const auto& run : runs) row.push_back(run.params.contains(key) ? run.params.at(key) : "-");
    // Only what differs is worth a line.
    if (std::set<std::string>(row.begin() + 1, row.end()).size() > 1)
      table.rows.push_back(std::move(row));
  }
  for (const std::string& key : metrics) {
    std::vector<std::string> row{key};
    for (const auto& run : runs)
      row.push_back(run.metrics.contains(key) ? Number(run.metrics.at(key)) : "-");
    table.rows.push_back(std::move(row));
  }
  Print(table.Format());
  return Status::OK();
}

}  // namespace

void AddRunsCommands(CLI::App& app, Action* action) {
  CLI::App* runs = app.add_subcommand("runs", "Look at tracked training runs");
  runs->require_subcommand(1);
  auto experiment = std::make_shared<std::string>();
  CLI::App* list = runs->add_subcommand("list", "One line a run, newest first");
  list->add_option("--experiment", *experiment, "Only runs of this experiment");
  list->callback(
      [=] { *action = [=](Session& session) { return ListRuns(session, *experiment); }; });

  auto id = std::make_shared<std::string>();
  CLI::App* show =
      runs->add_subcommand("show", "Parameters, metrics, tags and artifacts of one run");
  show->add_option("RUN", *id, "Run id, the beginning of it, or a run name")->required();
  show->callback([=] { *action = [=](Session& session) { return ShowRun(session, *id); }; });

  auto ids = std::make_shared<std::vector<std::string>>();
  CLI::App* compare =
      runs->add_subcommand("compare", "Runs side by side: parameters that differ, all metrics");
  compare->add_option("RUNS", *ids, "Two or more runs")->required()->expected(2, 100);
  compare->callback(
      [=] { *action = [=](Session& session) { return CompareRuns(session, *ids); }; });
}

}  // namespace gnomon::cli
