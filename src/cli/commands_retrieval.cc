#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <arrow/array.h>
#include <arrow/record_batch.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "dataset/distributed/distributed.h"
#include "feature_server/feature_server.h"
#include "net/json.h"
#include "net/json_columns.h"

namespace gnomon::cli {
namespace {

struct RetrievalFlags {
  std::vector<std::string> features;
  std::string service;
  bool full_names = false;
  std::string entities;
  std::string entity_query;
  std::string out;
  std::string start;
  std::string end;
  std::string created_before;
  std::string as_of;
  bool filter_by_created = false;
  bool explain = false;
  bool stats = false;
  std::string save_as;
  bool overwrite = false;
};

feature::FeatureRequest RequestOf(const RetrievalFlags& flags) {
  return {.features = flags.features,
          .feature_service = flags.service,
          .full_feature_names = flags.full_names};
}

Result<std::unique_ptr<feature::RetrievalJob>> MakeJob(const feature::FeatureStore& store,
                                                       const RetrievalFlags& flags) {
  feature::RetrievalOptions options;
  options.filter_by_created_timestamp = flags.filter_by_created;
  GNOMON_ASSIGN_OR_RETURN(options.created_before, ParseOptionalTime(flags.created_before));
  if (!flags.entities.empty()) {
    if (!flags.start.empty() || !flags.end.empty()) {
      return Error(ErrorKind::kUser, "give --entities, or --start and --end, not both");
    }
    return store.GetHistoricalFeatures(RequestOf(flags), flags.entities, options);
  }
  if (!flags.entity_query.empty()) {
    if (!flags.start.empty() || !flags.end.empty()) {
      return Error(ErrorKind::kUser, "give --entity-query, or --start and --end, not both");
    }
    return store.GetHistoricalFeatures(RequestOf(flags),
                                       feature::EntityQuery{.sql = flags.entity_query}, options);
  }
  if (flags.start.empty()) {
    return MakeError(ErrorKind::kUser,
                     "give --entities FILE or --entity-query SQL, or --start (and --end) for "
                     "retrieval without them");
  }
  GNOMON_ASSIGN_OR_RETURN(int64_t start, ParseTimestamp(flags.start));
  GNOMON_ASSIGN_OR_RETURN(auto end, ParseOptionalTime(flags.end));
  return store.GetHistoricalFeatures(RequestOf(flags), start, end, options);
}

std::string FormatSteps(const feature::RetrievalStats& stats) {
  std::string text;
  for (const auto& [step, spent] : stats.seconds)
    text += Concat(step, ": ", FormatSeconds(spent), "\n");
  for (const auto& [view, strategy] : stats.joins) text += Concat(view, ": ", strategy, "\n");
  if (stats.spilled_bytes > 0) text += Concat("spilled ", FormatBytes(stats.spilled_bytes), "\n");
  text += dataset::FormatStats(stats.stages);
  if (!text.empty()) text.pop_back();
  return text;
}

void AddStages(const dataset::DistributedStats& work, net::JsonWriter* json) {
  json->Key("operators").BeginArray();
  for (const dataset::OperatorStats& each : work.operators) {
    json->BeginObject().Key("name").String(each.name).Key("details").String(each.details);
    json->Key("depth").Int(each.depth).Key("rows").Int(each.rows).Key("bytes").Int(each.bytes);
    json->Key("seconds").Double(each.seconds).Key("spilled_bytes").Int(each.spilled_bytes);
    json->Key("tasks").Int(each.tasks).Key("longest_seconds").Double(each.longest_seconds);
    json->EndObject();
  }
  json->EndArray().Key("stages").BeginArray();
  for (const runtime::StageStats& stage : work.stages) {
    json->BeginObject().Key("name").String(stage.name).Key("tasks").Int(stage.partitions);
    json->Key("rows").Int(stage.rows).Key("bytes").Int(stage.bytes);
    json->Key("seconds").Double(stage.seconds).Key("spilled_bytes").Int(stage.spilled_bytes);
    json->Key("longest_seconds").Double(stage.longest_seconds).EndObject();
  }
  json->EndArray();
}

Status GetHistorical(Session& session, const RetrievalFlags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto job, MakeJob(*store, flags));
  if (flags.explain) {
    std::string out = job->Explain(session.context);
    if (session.json) {
      const std::string plan = std::move(out);
      out.clear();
      net::JsonWriter(&out).BeginObject().Key("plan").String(plan).EndObject();
    }
    Print(out);
    return Status::OK();
  }
  if (flags.out.empty())
    return Error(ErrorKind::kUser, "give --out FILE (.parquet, .csv, .arrow, .jsonl) or --explain");
  const double start = MonotonicSeconds();
  int64_t rows = 0;
  std::string fingerprint;
  if (flags.save_as.empty()) {
    GNOMON_ASSIGN_OR_RETURN(rows, job->WriteTo(session.context, flags.out));
  } else {
    GNOMON_ASSIGN_OR_RETURN(
        const auto saved,
        store->SaveDataset(session.context, *job, flags.save_as, flags.out, flags.overwrite));
    rows = saved.rows;
    fingerprint = saved.fingerprint;
  }
  const double seconds = MonotonicSeconds() - start;
  const feature::RetrievalStats stats = job->Stats();
  if (!session.json) {
    Print(Concat("wrote ", rows, " rows to ", flags.out, " in ", FormatSeconds(seconds), " (",
                 stats.source_rows, " source rows, ", stats.scans,
                 stats.scans == 1 ? " scan)" : " scans)",
                 flags.save_as.empty()
                     ? ""
                     : Concat("\nsaved as ", flags.save_as, ", fingerprint ", fingerprint)));
    if (flags.stats) Print(FormatSteps(stats));
    return Status::OK();
  }
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject().Key("out").String(flags.out).Key("rows").Int(rows).Key("seconds").Double(
      seconds);
  json.Key("source_rows").Int(stats.source_rows).Key("scans").Int(stats.scans);
  if (!flags.save_as.empty()) {
    json.Key("saved_as").String(flags.save_as).Key("fingerprint").String(fingerprint);
  }
  json.Key("null_key_rows").Int(stats.null_key_rows).Key("steps").BeginObject();
  for (const auto& [step, spent] : stats.seconds) json.Key(step).Double(spent);
  json.EndObject().Key("joins").BeginObject();
  for (const auto& [view, strategy] : stats.joins) json.Key(view).String(strategy);
  json.EndObject().Key("spilled_bytes").Int(stats.spilled_bytes);
  if (flags.stats) AddStages(stats.stages, &json);
  json.EndObject();
  Print(out);
  return Status::OK();
}

std::string CellText(const arrow::Array& array, int64_t row) {
  std::string text;
  net::JsonWriter json(&text);
  if (!net::AppendJsonValue(array, row, &json).ok()) return "?";
  if (text == "null") return "-";
  if (text.size() >= 2 && text.front() == '"') text = text.substr(1, text.size() - 2);
  return text;
}

Status GetOnline(Session& session, const RetrievalFlags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto entities, ParseJsonRows(flags.entities));
  GNOMON_ASSIGN_OR_RETURN(auto as_of, ParseOptionalTime(flags.as_of));
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  const feature::FeatureRequest request = RequestOf(flags);
  GNOMON_ASSIGN_OR_RETURN(auto reader, store->OnlineReaderFor(request));
  GNOMON_ASSIGN_OR_RETURN(auto response,
                          store->GetOnlineFeatures(session.context, request, *entities, as_of));
  if (session.json) {
    GNOMON_ASSIGN_OR_RETURN(std::string body,
                            feature_server::FormatResponse(response, reader->plan(), *entities));
    Print(body);
    return Status::OK();
  }
  TextTable table;
  for (const auto& field : reader->plan().entity_fields) table.header.push_back(field.name);
  for (const auto& column : response.features) table.header.push_back(column.name);
  for (int64_t row = 0; row < response.num_rows; ++row) {
    std::vector<std::string> cells;
    for (const auto& field : reader->plan().entity_fields) {
      cells.push_back(CellText(*entities->GetColumnByName(field.name), row));
    }
    for (const auto& column : response.features) {
      const auto status = column.statuses[static_cast<size_t>(row)];
      const bool shown = status == feature::FieldStatus::kPresent || !column.values->IsNull(row);
      cells.push_back(shown ? CellText(*column.values, row) : std::string(feature::NameOf(status)));
    }
    table.rows.push_back(std::move(cells));
  }
  Print(table.Format());
  return Status::OK();
}

void AddFeatureFlags(CLI::App* command, RetrievalFlags* flags) {
  command
      ->add_option("-f,--features", flags->features,
                   "view:feature, separated by commas or repeated; view:* for all")
      ->delimiter(',');
  command->add_option("--feature-service", flags->service,
                      "A feature service instead of --features");
  command->add_flag("--full-feature-names", flags->full_names, "Name columns view__feature");
}

}  // namespace

void AddRetrievalCommands(CLI::App& app, Action* action) {
  auto flags = std::make_shared<RetrievalFlags>();
  CLI::App* historical =
      app.add_subcommand("get-historical-features",
                         "Join features to entity rows as they were known at each row's time");
  AddFeatureFlags(historical, flags.get());
  CLI::Option* entities = historical->add_option(
      "-d,--entities", flags->entities,
      "File with the entity rows: join keys, event_timestamp, anything else");
  historical
      ->add_option("--entity-query", flags->entity_query,
                   "SELECT that gives the entity rows, run in the database of offline_store")
      ->excludes(entities);
  historical->add_option("-o,--out", flags->out, "File to write: .parquet, .csv, .arrow, .jsonl");
  historical->add_option("-s,--start", flags->start, "Without entity rows: beginning, inclusive");
  historical->add_option("-e,--end", flags->end,
                         "Without entity rows: end, inclusive (default: now)");
  historical->add_option("--created-before", flags->created_before,
                         "Rows created after this do not exist");
  historical->add_flag("--filter-by-created-timestamp", flags->filter_by_created,
                       "Rows created after an entity row's time do not exist for it");
  CLI::Option* save_as =
      historical->add_option("--save-as", flags->save_as,
                             "Keep the rows as a saved dataset of this name, with statistics");
  historical->add_flag("--overwrite", flags->overwrite, "Replace a saved dataset of that name")
      ->needs(save_as);
  historical->add_flag("--explain", flags->explain, "Print the plan instead of running it");
  historical->add_flag("--stats", flags->stats, "Print what each step did");
  historical->callback(
      [=] { *action = [flags](Session& session) { return GetHistorical(session, *flags); }; });

  CLI::App* online =
      app.add_subcommand("get-online-features", "Read the newest features from the online store");
  AddFeatureFlags(online, flags.get());
  online
      ->add_option("-e,--entities", flags->entities,
                   "JSON: [{\"driver_id\": 1001}] or {\"driver_id\": [1001]}, or @FILE")
      ->required();
  online->add_option("--as-of", flags->as_of,
                     "Instant that TTL and windows count back from (default: now)");
  online->callback(
      [=] { *action = [flags](Session& session) { return GetOnline(session, *flags); }; });
}

}  // namespace gnomon::cli
