#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "cli/commands.h"
#include "feature/store/doctor.h"

namespace gnomon::cli {
namespace {

Status Doctor(Session& session) {
  const std::vector<feature::Diagnosis> all =
      feature::DiagnoseRepository(session.context, session.folder, session.yaml);
  size_t failed = 0;
  std::string text;
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const feature::Diagnosis& each : all) {
    if (!each.ok) ++failed;
    json.push_back({{"check", each.check},
                    {"ok", each.ok},
                    {"message", each.message},
                    {"remedy", each.remedy}});
    text += Concat(each.ok ? "ok      " : "failed  ", each.check, ": ", each.message, "\n");
    if (!each.ok && !each.remedy.empty()) text += Concat("        remedy: ", each.remedy, "\n");
  }
  Print(session.json ? json.dump() : text);
  if (failed == 0) return Status::OK();
  return Error(ErrorKind::kUnavailable, failed, " of ", all.size(), " checks failed");
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Action* action) {
  app.add_subcommand("doctor",
                     "Try everything that feature_store.yaml names, with a remedy for "
                     "each failure")
      ->callback([=] { *action = Doctor; });
}

}  // namespace gnomon::cli
