#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"

namespace gnomon::cli {
namespace {

using nlohmann::ordered_json;

ordered_json Describe(const feature::SavedDataset& dataset) {
  ordered_json json = {{"name", dataset.name},
                       {"path", dataset.path},
                       {"rows", dataset.rows},
                       {"fingerprint", dataset.fingerprint},
                       {"created", FormatTimestamp(dataset.created)},
                       {"feature_service", dataset.feature_service},
                       {"features", dataset.features},
                       {"join_keys", dataset.join_keys},
                       {"full_feature_names", dataset.full_feature_names},
                       {"tags", dataset.tags}};
  if (dataset.min_event) json["min_event_timestamp"] = FormatTimestamp(*dataset.min_event);
  if (dataset.max_event) json["max_event_timestamp"] = FormatTimestamp(*dataset.max_event);
  for (const feature::ColumnStatistics& column : dataset.columns) {
    ordered_json item = {{"name", column.name}, {"type", column.type}, {"nulls", column.nulls}};
    if (column.distinct) item["distinct"] = *column.distinct;
    item["min"] = column.min;
    item["max"] = column.max;
    if (column.mean) item["mean"] = *column.mean;
    if (column.std) item["std"] = *column.std;
    json["columns"].push_back(std::move(item));
  }
  return json;
}

std::string Number(const std::optional<double>& value) { return value ? Concat(*value) : "-"; }

void PrintColumns(const feature::SavedDataset& dataset) {
  TextTable table;
  table.header = {"COLUMN", "TYPE", "NULLS", "DISTINCT", "MIN", "MAX", "MEAN", "STD"};
  for (const feature::ColumnStatistics& column : dataset.columns) {
    table.rows.push_back({column.name, column.type, std::to_string(column.nulls),
                          column.distinct ? std::to_string(*column.distinct) : "-",
                          column.min.empty() ? "-" : column.min,
                          column.max.empty() ? "-" : column.max, Number(column.mean),
                          Number(column.std)});
  }
  Print(table.Format());
}

Status List(Session& session) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  const auto all = store->registry().SavedDatasets();
  if (session.json) {
    ordered_json json = ordered_json::array();
    for (const auto& dataset : all) json.push_back(Describe(dataset));
    Print(json.dump(2));
    return Status::OK();
  }
  TextTable table;
  table.header = {"NAME", "ROWS", "COLUMNS", "SERVICE", "CREATED", "PATH"};
  for (const auto& dataset : all) {
    table.rows.push_back({dataset.name, std::to_string(dataset.rows),
                          std::to_string(dataset.columns.size()),
                          dataset.feature_service.empty() ? "-" : dataset.feature_service,
                          FormatTimestamp(dataset.created), dataset.path});
  }
  Print(table.Format());
  return Status::OK();
}

Status DescribeOne(Session& session, const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(const auto dataset, store->GetSavedDataset(name));
  if (session.json) {
    Print(Describe(dataset).dump(2));
    return Status::OK();
  }
  Print(Concat(dataset.name, ": ", dataset.rows, " rows in ", dataset.path, ", fingerprint ",
               dataset.fingerprint, "\nfeatures: ", Join(dataset.features, ", ")));
  PrintColumns(dataset);
  return Status::OK();
}

Status Verify(Session& session, const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_RETURN_NOT_OK(store->VerifySavedDataset(session.context, name));
  GNOMON_ASSIGN_OR_RETURN(const auto dataset, store->GetSavedDataset(name));
  Print(session.json ? ordered_json({{"name", name}, {"rows", dataset.rows}}).dump()
                     : Concat(name, ": the ", dataset.rows, " rows are those that were saved"));
  return Status::OK();
}

Status Delete(Session& session, const std::string& name) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(const auto dataset, store->GetSavedDataset(name));
  GNOMON_RETURN_NOT_OK(store->DeleteSavedDataset(session.context, name));
  Print(session.json ? ordered_json({{"name", name}, {"path", dataset.path}}).dump()
                     : Concat("forgot ", name, "; its file stays: ", dataset.path));
  return Status::OK();
}

}  // namespace

void AddSavedDatasetCommands(CLI::App& app, Action* action) {
  CLI::App* saved = app.add_subcommand("saved-datasets", "Retrievals that were kept by name");
  saved->require_subcommand(1);
  saved->add_subcommand("list", "All saved datasets")->callback([action] { *action = List; });
  const auto add = [&](const char* command, const char* help, auto run) {
    auto name = std::make_shared<std::string>();
    CLI::App* sub = saved->add_subcommand(command, help);
    sub->add_option("name", *name, "The saved dataset")->required();
    sub->callback([action, name, run] {
      *action = [name, run](Session& session) { return run(session, *name); };
    });
  };
  add("describe", "What a saved dataset holds: features, fingerprint, columns", DescribeOne);
  add("verify", "Read the file and compare its values with those that were saved", Verify);
  add("delete", "Forget a saved dataset; its file stays", Delete);
}

}  // namespace gnomon::cli
