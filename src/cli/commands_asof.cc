#include <algorithm>
#include <filesystem>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "dataset/asof/asof_join.h"
#include "net/json.h"
#include "table/file.h"
#include "table/row_bytes.h"

namespace gnomon::cli {
namespace {

/// Rows of a row group of the output at least, however little memory there is.
constexpr int64_t kLeastRowGroup = int64_t{16} * 1024;

struct AsOfFlags {
  std::string left;
  std::vector<std::string> right;
  std::vector<std::string> by;
  std::string on;
  std::string tolerance;
  std::string created;
  std::vector<std::string> features;
  bool full_feature_names = false;
  std::string out;
  std::string spill_folder;
  std::vector<std::string> settings;
  std::string compression = "snappy";
  bool explain = false;
  bool stats = false;
};

/// "prices" for data/prices.parquet and for data/prices/.
std::string StemOf(const std::string& path) {
  std::filesystem::path file(path);
  if (!file.has_filename()) file = file.parent_path();
  return file.stem().string();
}

Result<dataset::AsOfSettings> SettingsOf(const AsOfFlags& flags) {
  dataset::AsOfSettings settings;
  settings.spill_folder = flags.spill_folder;
  for (const std::string& setting : flags.settings) {
    const size_t equals = setting.find('=');
    if (equals == std::string::npos)
      return Error(ErrorKind::kUser, "give a setting as NAME=VALUE: ", Quoted(setting));
    GNOMON_RETURN_NOT_OK(settings.Set(std::string_view(setting).substr(0, equals),
                                      std::string_view(setting).substr(equals + 1)));
  }
  return settings;
}

/// Of one right table: the columns that were asked for, or all that are neither key nor time.
std::vector<std::string> FeaturesOf(const table::PartitionedTable& right, const AsOfFlags& flags) {
  const auto is_in = [](const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  std::vector<std::string> features;
  for (const std::string& name : right.schema()->field_names()) {
    if (is_in(flags.by, name) || name == flags.on || name == flags.created) continue;
    if (flags.features.empty()) features.push_back(name);
  }
  for (const std::string& name : flags.features) {
    if (right.schema()->GetFieldIndex(name) >= 0) features.push_back(name);
  }
  return features;
}

/// Every feature that was asked for lies in some right table.
Status CheckFeatures(const dataset::AsOfRequest& request, const AsOfFlags& flags) {
  std::vector<std::string> known;
  for (const auto& right : request.right) {
    const auto names = right.table->schema()->field_names();
    known.insert(known.end(), names.begin(), names.end());
  }
  for (const std::string& name : flags.features) {
    if (std::ranges::find(known, name) == known.end()) {
      return MakeError(ErrorKind::kNotFound, Concat("no right table has a column ", Quoted(name)),
                       {}, DidYouMean(name, known));
    }
  }
  return Status::OK();
}

Result<dataset::AsOfRequest> RequestOf(const Context& context, const AsOfFlags& flags) {
  dataset::AsOfRequest request{.left = nullptr, .on = flags.on, .right = {}};
  GNOMON_ASSIGN_OR_RETURN(request.settings, SettingsOf(flags));
  int64_t tolerance = 0;
  if (!flags.tolerance.empty()) {
    GNOMON_ASSIGN_OR_RETURN(tolerance, ParseDuration(flags.tolerance));
  }
  std::vector<std::string> required = flags.by;
  required.push_back(flags.on);
  GNOMON_ASSIGN_OR_RETURN(request.left,
                          table::PartitionedTable::Open(context, flags.left, {}, required));
  for (const std::string& path : flags.right) {
    dataset::AsOfFeatures right{.table = nullptr,
                                .left_by = flags.by,
                                .by = flags.by,
                                .on = flags.on,
                                .created = flags.created,
                                .tolerance = tolerance,
                                .features = {}};
    GNOMON_ASSIGN_OR_RETURN(right.table,
                            table::PartitionedTable::Open(context, path, {}, required));
    right.features = FeaturesOf(*right.table, flags);
    for (const std::string& name : right.features) {
      right.outputs.push_back(flags.full_feature_names ? Concat(StemOf(path), "__", name) : name);
    }
    request.right.push_back(std::move(right));
  }
  GNOMON_RETURN_NOT_OK(CheckFeatures(request, flags));
  return request;
}

Result<int64_t> WriteJoin(const Context& context, dataset::PointInTimeJoin* join,
                          const AsOfFlags& flags) {
  table::WriteOptions options{.compression = flags.compression};
  // The writer holds a row group, and once more while it encodes it.
  const int64_t row_bytes = 2 * table::GuessRowBytes(*join->schema());
  const int64_t limit = context.memory->limit();
  if (limit > 0) {
    options.row_group_rows =
        std::clamp<int64_t>(limit / 4 / row_bytes, kLeastRowGroup, options.row_group_rows);
  }
  MemoryBudget writing("output", 0, context.memory);
  GNOMON_RETURN_NOT_OK(
      writing.Reserve(std::min(join->stats().labels, options.row_group_rows) * row_bytes));
  GNOMON_ASSIGN_OR_RETURN(const auto writer,
                          table::TableWriter::Open(context, flags.out, join->schema(), options));
  ProgressPhase phase(context.progress, "join", join->stats().labels);
  int64_t rows = 0;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, join->Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(writer->Write(*batch));
    rows += batch->num_rows();
    phase.Advance(batch->num_rows());
  }
  GNOMON_RETURN_NOT_OK(writer->Commit());
  return rows;
}

void PrintStats(const Session& session, const AsOfFlags& flags, const dataset::AsOfStats& stats,
                int64_t rows, double seconds) {
  if (!session.json) {
    Print(Concat("wrote ", rows, " rows to ", flags.out, " in ", FormatSeconds(seconds)));
    if (flags.stats) Print(stats.ToString());
    return;
  }
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject().Key("out").String(flags.out).Key("rows").Int(rows);
  json.Key("seconds").Double(seconds).Key("null_labels").Int(stats.null_labels);
  json.Key("keys").Int(stats.label_keys).Key("spilled_bytes").Int(stats.spilled_bytes);
  json.Key("right").BeginArray();
  for (const dataset::AsOfStats::Side& side : stats.right) {
    json.BeginObject().Key("name").String(side.name);
    json.Key("strategy").String(side.strategy.ToString()).Key("rows").Int(side.rows);
    json.Key("partitions").Int(side.partitions).Key("pruned").Int(side.pruned);
    json.Key("pages").Int(side.pages).Key("pages_pruned").Int(side.pages_pruned);
    json.Key("matches").Int(side.matches).Key("time_slices").Int(side.time_slices).EndObject();
  }
  json.EndArray().Key("steps").BeginObject();
  for (const auto& [step, spent] : stats.seconds) json.Key(step).Double(spent);
  json.EndObject().EndObject();
  Print(out);
}

Status AsOf(Session& session, const AsOfFlags& flags) {
  if (flags.out.empty() && !flags.explain) {
    return Error(ErrorKind::kUser, "give --out FILE (.parquet, .csv, .arrow, .jsonl) or --explain");
  }
  const Context& context = session.context;
  const double start = MonotonicSeconds();
  GNOMON_ASSIGN_OR_RETURN(auto request, RequestOf(context, flags));
  GNOMON_ASSIGN_OR_RETURN(const auto join,
                          dataset::PointInTimeJoin::Make(context, std::move(request)));
  if (flags.explain) {
    std::string plan = join->Explain();
    if (session.json) {
      std::string out;
      net::JsonWriter(&out).BeginObject().Key("plan").String(plan).EndObject();
      plan = std::move(out);
    }
    Print(plan);
    return Status::OK();
  }
  GNOMON_ASSIGN_OR_RETURN(const int64_t rows, WriteJoin(context, join.get(), flags));
  PrintStats(session, flags, join->stats(), rows, MonotonicSeconds() - start);
  return Status::OK();
}

}  // namespace

void AddAsOfCommand(CLI::App& app, Action* action) {
  auto flags = std::make_shared<AsOfFlags>();
  CLI::App* asof = app.add_subcommand(
      "asof", "Join files point in time: to each left row the newest right row at or before it");
  asof->add_option("--left", flags->left, "Labels: a file, folder or glob")->required();
  asof->add_option("--right", flags->right, "Features: the same (repeatable)")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  asof->add_option("--by", flags->by, "Key columns of both sides: entity[,key2]")
      ->required()
      ->delimiter(',');
  asof->add_option("--on", flags->on, "Time column of both sides")->required();
  asof->add_option("--tolerance", flags->tolerance,
                   "How old a right row may be, such as 7d or 1h (default, and 0: any age)");
  asof->add_option("--created", flags->created,
                   "Column of the right side that decides between rows of one time");
  asof->add_option("--features", flags->features,
                   "Columns to take from the right side (default: all but keys and times)")
      ->delimiter(',');
  asof->add_flag("--full-feature-names", flags->full_feature_names,
                 "Name features file__column, for files with columns of one name");
  asof->add_option("--out", flags->out, "File to write (.parquet, .csv, .arrow, .jsonl)");
  asof->add_option("--compression", flags->compression, "snappy, zstd, lz4, gzip or none")
      ->capture_default_str();
  asof->add_option("--spill-dir", flags->spill_folder, "Where (default: $TMPDIR or /var/tmp)");
  asof->add_option("--set", flags->settings,
                   "NAME=VALUE: max_workers, enable_optimization,\nbroadcast_join_threshold_mb, "
                   "max_parallelism_multiplier,\n"
                   "target_partition_size_mb, window_size_for_joins\n"
                   "(_mb: units of 2^20 bytes)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  asof->add_flag("--explain", flags->explain, "Print the plan instead of running it");
  asof->add_flag("--stats", flags->stats, "Print what was read, matched and spilled");
  asof->callback([=] { *action = [flags](Session& session) { return AsOf(session, *flags); }; });
}

}  // namespace gnomon::cli
