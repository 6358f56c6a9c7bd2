#include <algorithm>
#include <limits>
#include <utility>

#include "base/files.h"
#include "base/mutex.h"
#include "base/text.h"
#include "sql/sqlite.h"
#include "tracking/artifact_folder_internal.h"
#include "tracking/run_store.h"

namespace gnomon::tracking {
namespace {

// MLflow's limits, in bytes.
constexpr size_t kMaxKey = 250;
constexpr size_t kMaxParam = 6000;
constexpr size_t kMaxTag = 8000;
constexpr size_t kMinPrefix = 4;

constexpr const char* kSchema = R"sql(
CREATE TABLE IF NOT EXISTS format (version INTEGER NOT NULL);
INSERT INTO format SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM format);
CREATE TABLE IF NOT EXISTS runs (
  run_id TEXT PRIMARY KEY, experiment TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
  start_time INTEGER NOT NULL, end_time INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS runs_by_time ON runs (start_time);
CREATE TABLE IF NOT EXISTS params (
  run_id TEXT NOT NULL REFERENCES runs, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE TABLE IF NOT EXISTS tags (
  run_id TEXT NOT NULL REFERENCES runs, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, key));
CREATE TABLE IF NOT EXISTS metrics (
  run_id TEXT NOT NULL REFERENCES runs, key TEXT NOT NULL, step INTEGER NOT NULL, timestamp INTEGER NOT NULL,
  value REAL, PRIMARY KEY (run_id, key, step, timestamp));
)sql";

constexpr int64_t kFormatVersion = 1;

/// MLflow's rule: letters, digits, underscores, dashes, periods, spaces, colons and slashes.
Status CheckKey(std::string_view what, std::string_view key) {
  if (key.empty() || key.size() > kMaxKey) {
    return Error(ErrorKind::kUser, what, " names have 1 to ", kMaxKey, " bytes: ", Quoted(key));
  }
  for (char character : key) {
    const bool fine = (character >= 'a' && character <= 'z') ||
                      (character >= 'A' && character <= 'Z') ||
                      (character >= '0' && character <= '9') ||
                      std::string_view("_-. :/").find(character) != std::string_view::npos;
    if (!fine) {
      return Error(ErrorKind::kUser, what,
                   " names have letters, digits and _ - . : / only: ", Quoted(key));
    }
  }
  return Status::OK();
}

Status CheckValue(std::string_view what, const std::string& key, const std::string& value,
                  size_t limit) {
  if (value.size() <= limit) return Status::OK();
  return Error(ErrorKind::kUser, what, " ", Quoted(key), " is longer than ", limit, " bytes");
}

Result<RunStatus> ParseStatus(std::string_view text) {
  for (RunStatus status : {RunStatus::kRunning, RunStatus::kScheduled, RunStatus::kFinished,
                           RunStatus::kFailed, RunStatus::kKilled}) {
    if (text == NameOf(status)) return status;
  }
  return Error(ErrorKind::kDataLoss, "unknown run status in the run store: ", Quoted(text));
}

/// 0 for a new database.
Result<int64_t> FormatVersion(sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(auto tables,
                          database->Prepare("SELECT 1 FROM sqlite_master WHERE name = 'format'"));
  GNOMON_ASSIGN_OR_RETURN(const bool exists, tables.Step());
  if (!exists) return 0;
  GNOMON_ASSIGN_OR_RETURN(auto select, database->Prepare("SELECT max(version) FROM format"));
  GNOMON_RETURN_NOT_OK(select.Step().status());
  return select.Int(0);
}

/// One SQLite file `runs.db` and a folder `artifacts/<run id>` per run.
class LocalRunStore : public RunStore {
 public:
  LocalRunStore(std::string folder, sql::Sqlite database)
      : folder_(std::move(folder)), database_(std::move(database)) {}

  Result<Run> CreateRun(const Context& context, const std::string& experiment,
                        const std::string& name,
                        const std::map<std::string, std::string>& tags) override {
    Run run;
    run.id = RunId::Random();
    run.experiment = experiment.empty() ? "Default" : experiment;
    run.name = name;
    run.start_time = context.clock->NowMicros();
    run.tags = tags;
    run.artifact_folder = ArtifactFolder(run.id);
    MutexLock lock(mutex_);
    GNOMON_RETURN_NOT_OK(database_.Transaction([&]() -> Status {
      GNOMON_ASSIGN_OR_RETURN(auto insert,
                              database_.Prepare("INSERT INTO runs VALUES (?, ?, ?, ?, ?, 0)"));
      insert.BindText(1, run.id.value);
      insert.BindText(2, run.experiment);
      insert.BindText(3, run.name);
      insert.BindText(4, NameOf(run.status));
      insert.BindInt(5, run.start_time);
      GNOMON_RETURN_NOT_OK(insert.Execute());
      return WriteTags(run.id, tags);
    }));
    return run;
  }

  Status LogParams(const Context&, const RunId& run,
                   const std::map<std::string, std::string>& params) override {
    for (const auto& [key, value] : params) {
      GNOMON_RETURN_NOT_OK(CheckKey("parameter", key));
      GNOMON_RETURN_NOT_OK(CheckValue("parameter", key, value, kMaxParam));
    }
    MutexLock lock(mutex_);
    return database_.Transaction([&]() -> Status {
      GNOMON_RETURN_NOT_OK(CheckExists(run));
      GNOMON_ASSIGN_OR_RETURN(auto old, ReadTexts("params", run.value));
      GNOMON_ASSIGN_OR_RETURN(auto insert,
                              database_.Prepare("INSERT OR IGNORE INTO params VALUES (?, ?, ?)"));
      for (const auto& [key, value] : params) {
        auto found = old.find(key);
        if (found != old.end() && found->second != value) {
          return Error(ErrorKind::kConflict, "parameter ", Quoted(key), " of the run is ",
                       Quoted(found->second), " already and cannot become ", Quoted(value));
        }
        insert.BindText(1, run.value);
        insert.BindText(2, key);
        insert.BindText(3, value);
        GNOMON_RETURN_NOT_OK(insert.Execute());
      }
      return Status::OK();
    });
  }

  Status LogMetrics(const Context&, const RunId& run,
                    const std::vector<MetricPoint>& metrics) override {
    for (const MetricPoint& point : metrics) GNOMON_RETURN_NOT_OK(CheckKey("metric", point.key));
    MutexLock lock(mutex_);
    return database_.Transaction([&]() -> Status {
      GNOMON_RETURN_NOT_OK(CheckExists(run));
      GNOMON_ASSIGN_OR_RETURN(
          auto insert, database_.Prepare("INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?, ?)"));
      for (const MetricPoint& point : metrics) {
        insert.BindText(1, run.value);
        insert.BindText(2, point.key);
        insert.BindInt(3, point.step);
        insert.BindInt(4, point.timestamp);
        insert.BindDouble(5, point.value);  // SQLite keeps NaN as NULL
        GNOMON_RETURN_NOT_OK(insert.Execute());
      }
      return Status::OK();
    });
  }

  Status SetTags(const Context&, const RunId& run,
                 const std::map<std::string, std::string>& tags) override {
    MutexLock lock(mutex_);
    return database_.Transaction([&]() -> Status {
      GNOMON_RETURN_NOT_OK(CheckExists(run));
      return WriteTags(run, tags);
    });
  }

  Status LogArtifact(const Context& context, const RunId& run, const std::string& local_path,
                     const std::string& artifact_path) override {
    {
      MutexLock lock(mutex_);
      GNOMON_RETURN_NOT_OK(CheckExists(run));
    }
    return CopyArtifact(context, local_path, ArtifactFolder(run), artifact_path);
  }

  Status EndRun(const Context& context, const RunId& run, RunStatus status) override {
    MutexLock lock(mutex_);
    GNOMON_RETURN_NOT_OK(CheckExists(run));
    GNOMON_ASSIGN_OR_RETURN(
        auto update,
        database_.Prepare("UPDATE runs SET status = ?, end_time = ? WHERE run_id = ?"));
    update.BindText(1, NameOf(status));
    update.BindInt(2, context.clock->NowMicros());
    update.BindText(3, run.value);
    return update.Execute();
  }

  Result<Run> GetRun(const Context&, const std::string& id_or_name) override {
    MutexLock lock(mutex_);
    GNOMON_ASSIGN_OR_RETURN(std::string id, FindId(id_or_name));
    return ReadRun(id);
  }

  Result<std::vector<Run>> ListRuns(const Context&, const std::string& experiment,
                                    int64_t max_results) override {
    MutexLock lock(mutex_);
    std::vector<std::string> ids;
    {
      GNOMON_ASSIGN_OR_RETURN(
          auto select, database_.Prepare("SELECT run_id FROM runs WHERE ?1 = '' OR experiment = ?1 "
                                         "ORDER BY start_time DESC, rowid DESC LIMIT ?2"));
      select.BindText(1, experiment);
      select.BindInt(2, max_results);
      GNOMON_ASSIGN_OR_RETURN(ids, Texts(select));
    }
    std::vector<Run> runs;
    for (const std::string& id : ids) {
      GNOMON_ASSIGN_OR_RETURN(Run run, ReadRun(id));
      runs.push_back(std::move(run));
    }
    return runs;
  }

  Result<std::vector<MetricPoint>> MetricHistory(const Context&, const RunId& run,
                                                 const std::string& key) override {
    MutexLock lock(mutex_);
    GNOMON_RETURN_NOT_OK(CheckExists(run));
    GNOMON_ASSIGN_OR_RETURN(
        auto select,
        database_.Prepare("SELECT step, timestamp, value FROM metrics WHERE run_id = ? "
                          "AND key = ? ORDER BY step, timestamp"));
    select.BindText(1, run.value);
    select.BindText(2, key);
    std::vector<MetricPoint> points;
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(bool more, select.Step());
      if (!more) return points;
      points.push_back({.key = key,
                        .value = MetricValue(select, 2),
                        .step = select.Int(0),
                        .timestamp = select.Int(1)});
    }
  }

  Result<std::vector<std::string>> ListArtifacts(const Context&, const RunId& run) override {
    return ArtifactsIn(ArtifactFolder(run));
  }

 private:
  std::string ArtifactFolder(const RunId& run) const {
    return Concat(folder_, "/artifacts/", run.value);
  }

  static double MetricValue(const sql::SqliteStatement& row, int column) {
    return row.IsNull(column) ? std::numeric_limits<double>::quiet_NaN() : row.Double(column);
  }

  Status CheckExists(const RunId& run) {
    GNOMON_ASSIGN_OR_RETURN(auto select, database_.Prepare("SELECT 1 FROM runs WHERE run_id = ?"));
    select.BindText(1, run.value);
    GNOMON_ASSIGN_OR_RETURN(bool found, select.Step());
    return found ? Status::OK()
                 : Error(ErrorKind::kNotFound, "run does not exist: ", Quoted(run.value));
  }

  Status WriteTags(const RunId& run, const std::map<std::string, std::string>& tags) {
    GNOMON_ASSIGN_OR_RETURN(auto insert,
                            database_.Prepare("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)"));
    for (const auto& [key, value] : tags) {
      GNOMON_RETURN_NOT_OK(CheckKey("tag", key));
      GNOMON_RETURN_NOT_OK(CheckValue("tag", key, value, kMaxTag));
      insert.BindText(1, run.value);
      insert.BindText(2, key);
      insert.BindText(3, value);
      GNOMON_RETURN_NOT_OK(insert.Execute());
    }
    return Status::OK();
  }

  static Result<std::vector<std::string>> Texts(sql::SqliteStatement& select) {
    std::vector<std::string> texts;
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(bool more, select.Step());
      if (!more) return texts;
      texts.emplace_back(select.Text(0));
    }
  }

  /// The id that an id, a prefix or a name stands for.
  Result<std::string> FindId(const std::string& id_or_name) {
    GNOMON_ASSIGN_OR_RETURN(
        auto by_name,
        database_.Prepare("SELECT run_id FROM runs WHERE run_id = ?1 OR name = ?1 "
                          "ORDER BY run_id = ?1 DESC, start_time DESC, rowid DESC LIMIT 1"));
    by_name.BindText(1, id_or_name);
    GNOMON_ASSIGN_OR_RETURN(auto ids, Texts(by_name));
    if (!ids.empty()) return ids.front();
    if (id_or_name.size() >= kMinPrefix) {
      GNOMON_ASSIGN_OR_RETURN(
          auto by_prefix,
          database_.Prepare("SELECT run_id FROM runs WHERE substr(run_id, 1, ?2) = ?1 LIMIT 2"));
      by_prefix.BindText(1, id_or_name);
      by_prefix.BindInt(2, static_cast<int64_t>(id_or_name.size()));
      GNOMON_ASSIGN_OR_RETURN(ids, Texts(by_prefix));
      if (ids.size() == 1) return ids.front();
      if (ids.size() == 2) {
        return Error(ErrorKind::kUser, "several runs begin with ", Quoted(id_or_name),
                     ": give more of the id");
      }
    }
    return MakeError(ErrorKind::kNotFound, Concat("run does not exist: ", Quoted(id_or_name)), {},
                     "list them: gnomon runs list");
  }

  Result<std::map<std::string, std::string>> ReadTexts(const std::string& table,
                                                       const std::string& id) {
    GNOMON_ASSIGN_OR_RETURN(auto select, database_.Prepare(Concat("SELECT key, value FROM ", table,
                                                                  " WHERE run_id = ?")));
    select.BindText(1, id);
    std::map<std::string, std::string> texts;
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(bool more, select.Step());
      if (!more) return texts;
      texts.emplace(select.Text(0), select.Text(1));
    }
  }

  Result<Run> ReadRun(const std::string& id) {
    Run run;
    run.id = {id};
    run.artifact_folder = ArtifactFolder(run.id);
    GNOMON_ASSIGN_OR_RETURN(
        auto select, database_.Prepare("SELECT experiment, name, status, start_time, end_time "
                                       "FROM runs WHERE run_id = ?"));
    select.BindText(1, id);
    GNOMON_ASSIGN_OR_RETURN(bool found, select.Step());
    if (!found) return Error(ErrorKind::kNotFound, "run does not exist: ", Quoted(id));
    run.experiment = select.Text(0);
    run.name = select.Text(1);
    GNOMON_ASSIGN_OR_RETURN(run.status, ParseStatus(select.Text(2)));
    run.start_time = select.Int(3);
    run.end_time = select.Int(4);
    GNOMON_ASSIGN_OR_RETURN(run.params, ReadTexts("params", id));
    GNOMON_ASSIGN_OR_RETURN(run.tags, ReadTexts("tags", id));
    GNOMON_ASSIGN_OR_RETURN(auto metrics,
                            database_.Prepare("SELECT key, value FROM metrics WHERE run_id = ? "
                                              "ORDER BY step, timestamp"));
    metrics.BindText(1, id);
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(bool more, metrics.Step());
      if (!more) return run;
      run.metrics[std::string(metrics.Text(0))] = MetricValue(metrics, 1);
    }
  }

  const std::string folder_;
  Mutex mutex_;
  sql::Sqlite database_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace

const char* NameOf(RunStatus status) {
  switch (status) {
    case RunStatus::kRunning:
      return "RUNNING";
    case RunStatus::kScheduled:
      return "SCHEDULED";
    case RunStatus::kFinished:
      return "FINISHED";
    case RunStatus::kFailed:
      return "FAILED";
    case RunStatus::kKilled:
      return "KILLED";
  }
  return "";
}

Result<std::unique_ptr<RunStore>> OpenLocalRunStore(const std::string& folder) {
  GNOMON_RETURN_NOT_OK(MakeFolders(folder));
  GNOMON_ASSIGN_OR_RETURN(auto database, sql::Sqlite::Open(folder + "/runs.db"));
  GNOMON_ASSIGN_OR_RETURN(const int64_t version, FormatVersion(&database));
  if (version > kFormatVersion) {
    return Error(ErrorKind::kUnsupported, "the run store ", folder, " has format version ", version,
                 ", this gnomon reads up to ", kFormatVersion);
  }
  // A store that is there is not written to: reading it need not wait for writers.
  if (version == 0) {
    GNOMON_RETURN_NOT_OK(database.Transaction([&] { return database.Execute(kSchema); }));
  }
  return std::make_unique<LocalRunStore>(folder, std::move(database));
}

}  // namespace gnomon::tracking
