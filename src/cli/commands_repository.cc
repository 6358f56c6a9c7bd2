#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "demo/template.h"
#include "net/json.h"

namespace gnomon::cli {
namespace {

const char* ActionName(feature::RegistryChange::Action action) {
  switch (action) {
    case feature::RegistryChange::Action::kCreate:
      return "create";
    case feature::RegistryChange::Action::kUpdate:
      return "update";
    case feature::RegistryChange::Action::kDelete:
      return "delete";
    case feature::RegistryChange::Action::kUnchanged:
      break;
  }
  return "unchanged";
}

void PrintChanges(const Session& session, const std::vector<feature::RegistryChange>& changes,
                  std::string_view nothing) {
  if (session.json) {
    std::string out;
    net::JsonWriter json(&out);
    json.BeginObject().Key("changes").BeginArray();
    for (const auto& change : changes) {
      json.BeginObject()
          .Key("action")
          .String(ActionName(change.action))
          .Key("kind")
          .String(change.kind);
      json.Key("name").String(change.name).Key("details").BeginArray();
      for (const std::string& detail : change.details) json.String(detail);
      json.EndArray().EndObject();
    }
    json.EndArray().EndObject();
    Print(out);
    return;
  }
  std::string text;
  for (const auto& change : changes) {
    if (change.action == feature::RegistryChange::Action::kUnchanged) continue;
    text += Concat(ActionName(change.action), " ", change.kind, " ", change.name, "\n");
    for (const std::string& detail : change.details) text += Concat("    ", detail, "\n");
  }
  Print(text.empty() ? nothing : std::string_view(text));
}

/// What to do with a new repository: sales and flights come without data.
std::string NextStep(const std::string& folder, const std::string& name,
                     const std::vector<std::string>& files) {
  const bool has_data = std::ranges::any_of(files, [](const std::string& file) {
    return std::filesystem::path(file).parent_path().filename() == "data";
  });
  if (has_data) return Concat("next: gnomon -c ", folder, " apply");
  return Concat("next: put your own rows where features.yaml says, then gnomon -c ", folder,
                " apply;\n      `gnomon demo ", name,
                "` makes such a repository with data and runs the whole flow");
}

Status Init(Session& session, const std::string& folder, const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(auto files, demo::WriteTemplate(session.context, name, folder));
  if (session.json) {
    std::string out;
    net::JsonWriter json(&out);
    json.BeginObject().Key("folder").String(folder).Key("template").String(name);
    json.Key("files").BeginArray();
    for (const std::string& file : files) json.String(file);
    json.EndArray().EndObject();
    Print(out);
    return Status::OK();
  }
  std::string text;
  for (const std::string& file : files) text += Concat("wrote ", file, "\n");
  Print(text + NextStep(folder, name, files));
  return Status::OK();
}

/// Asks on the terminal; no where there is none.
bool AgreesOnTerminal(const Session& session) {
  if (session.json || ::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) return false;
  std::fputs("apply anyway? [y/N] ", stderr);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

/// Definitions are written down; what this loses is not.
Status ConfirmLosses(const Session& session, const std::vector<std::string>& losses) {
  if (losses.empty()) return Status::OK();
  std::string text = "this apply would lose what cannot be brought back by another:";
  for (const std::string& line : losses) text += Concat("\n  ", line);
  if (!session.json) std::fprintf(stderr, "%s\n", text.c_str());
  if (AgreesOnTerminal(session)) return Status::OK();
  return MakeError(ErrorKind::kUser,
                   session.json ? text : std::string("nothing was applied: it would lose data"), {},
                   "look at it with gnomon plan; gnomon apply --yes does it");
}

Status Plan(Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
  GNOMON_ASSIGN_OR_RETURN(auto changes, store->Plan(session.context, definitions));
  PrintChanges(session, changes, "no changes");
  return Status::OK();
}

Status Apply(Session& session, bool yes) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
  if (!yes) {
    GNOMON_ASSIGN_OR_RETURN(const auto losses,
                            store->DestructiveChanges(session.context, definitions));
    GNOMON_RETURN_NOT_OK(ConfirmLosses(session, losses));
  }
  GNOMON_ASSIGN_OR_RETURN(auto changes, store->Apply(session.context, definitions));
  PrintChanges(session, changes, "no changes: the registry has these definitions already");
  return Status::OK();
}

Status Validate(Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto definitions, store->LoadRepository());
  GNOMON_ASSIGN_OR_RETURN(auto resolved, store->Resolve(session.context, definitions));
  if (session.json) {
    std::string out;
    net::JsonWriter json(&out);
    const auto count = [&](const char* key, size_t number) {
      json.Key(key).Int(static_cast<int64_t>(number));
    };
    json.BeginObject().Key("valid").Bool(true);
    count("entities", resolved.entities.size());
    count("data_sources", resolved.data_sources.size());
    count("feature_views", resolved.feature_views.size());
    count("on_demand_feature_views", resolved.on_demand_feature_views.size());
    count("feature_services", resolved.feature_services.size());
    json.EndObject();
    Print(out);
    return Status::OK();
  }
  Print(Concat("valid: ", resolved.entities.size(), " entities, ", resolved.data_sources.size(),
               " data sources, ", resolved.feature_views.size(), " feature views, ",
               resolved.on_demand_feature_views.size(), " on-demand feature views, ",
               resolved.feature_services.size(), " feature services"));
  return Status::OK();
}

Status Teardown(Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_RETURN_NOT_OK(store->Teardown(session.context));
  if (session.json) {
    std::string out;
    net::JsonWriter(&out).BeginObject().Key("removed").String(store->config().project).EndObject();
    Print(out);
    return Status::OK();
  }
  Print(Concat("removed project ", store->config().project,
               " from the registry and the online store"));
  return Status::OK();
}

Status DumpRegistry(Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(std::string text, store->registry().DumpJson());
  Print(text);
  return Status::OK();
}

Status ShowStatus(Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto views, store->ViewStatuses(session.context));
  if (session.json) {
    std::string out;
    net::JsonWriter json(&out);
    json.BeginObject().Key("project").String(store->config().project).Key("views").BeginArray();
    for (const auto& view : views) {
      json.BeginObject()
          .Key("view")
          .String(view.view)
          .Key("online")
          .Bool(view.online)
          .Key("watermark");
      view.watermark ? json.String(FormatTimestamp(*view.watermark)) : json.Null();
      json.Key("rows").Int(view.rows).Key("freshness_seconds");
      view.freshness_seconds ? json.Double(*view.freshness_seconds) : json.Null();
      json.Key("last_failed_job");
      view.last_failed_job.empty() ? json.Null() : json.String(view.last_failed_job);
      json.EndObject();
    }
    json.EndArray().EndObject();
    Print(out);
    return Status::OK();
  }
  TextTable table{.header = {"VIEW", "WATERMARK", "ROWS", "FRESHNESS", "LAST FAILED JOB"},
                  .rows = {}};
  for (const auto& view : views) {
    std::string freshness = "-";
    if (view.freshness_seconds) {
      const auto seconds = static_cast<int64_t>(std::max(0.0, *view.freshness_seconds));
      freshness = FormatDuration(seconds * kMicrosPerSecond);
    }
    table.rows.push_back(
        {view.view, view.watermark ? FormatTimestamp(*view.watermark) : std::string("never"),
         view.online ? std::to_string(view.rows) : std::string("offline only"), freshness,
         view.last_failed_job.empty() ? std::string("-") : view.last_failed_job});
  }
  Print(table.Format());
  return Status::OK();
}

}  // namespace

void AddRepositoryCommands(CLI::App& app, Action* action) {
  auto folder = std::make_shared<std::string>(".");
  auto name = std::make_shared<std::string>("minimal");
  CLI::App* init = app.add_subcommand("init", "Make a new feature repository");
  init->add_option("DIR", *folder,
                   "Folder to write to, made when missing (default: the current one)");
  init->add_option("-t,--template", *name, "minimal (with a little data), sales or flights")
      ->capture_default_str();
  init->callback(
      [=] { *action = [=](Session& session) { return Init(session, *folder, *name); }; });

  auto yes = std::make_shared<bool>(false);
  CLI::App* apply = app.add_subcommand(
      "apply", "Store the repository's definitions and prepare the online store");
  apply->add_flag("-y,--yes", *yes,
                  "Do it even where views are deleted or materialized data is lost");
  apply->callback([=] { *action = [=](Session& session) { return Apply(session, *yes); }; });
  app.add_subcommand("plan", "Show what apply would change")->callback([=] { *action = Plan; });
  app.add_subcommand("validate", "Check the repository's files against the sources, change nothing")
      ->callback([=] { *action = Validate; });
  app.add_subcommand("teardown", "Remove the project from the registry and the online store")
      ->callback([=] { *action = Teardown; });
  app.add_subcommand("registry-dump", "Print the registry as JSON")->callback([=] {
    *action = DumpRegistry;
  });
  app.add_subcommand("status", "Per feature view: watermark, rows, freshness, last failed job")
      ->callback([=] { *action = ShowStatus; });
}

}  // namespace gnomon::cli
