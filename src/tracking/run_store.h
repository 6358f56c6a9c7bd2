#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/ids.h"

/// Experiment tracking in MLflow's words: experiments hold runs; a run has parameters (immutable),
/// metrics (a history by step), tags and artifacts. The local store is one SQLite file and a folder
/// of artifacts; an MLflow server implements the same interface.
namespace gnomon::tracking {

enum class RunStatus { kRunning, kScheduled, kFinished, kFailed, kKilled };
const char* NameOf(RunStatus status);  ///< RUNNING, SCHEDULED, FINISHED, FAILED, KILLED

struct MetricPoint {
  std::string key;
  double value = 0;
  int64_t step = 0;
  int64_t timestamp = 0;  ///< microseconds
};

struct Run {
  RunId id;
  std::string experiment;
  std::string name;
  RunStatus status = RunStatus::kRunning;
  int64_t start_time = 0;  ///< microseconds
  int64_t end_time = 0;    ///< 0: not ended
  std::map<std::string, std::string> params;
  std::map<std::string, double> metrics;  ///< last value by key (greatest step, then time)
  std::map<std::string, std::string> tags;
  std::string artifact_folder;
};

/// Limits and characters of keys are MLflow's (key 250, param value 6000, tag value 8000 bytes).
/// Thread-safe.
class RunStore {
 public:
  virtual ~RunStore() = default;
  virtual Result<Run> CreateRun(const Context& context, const std::string& experiment,
                                const std::string& name,
                                const std::map<std::string, std::string>& tags = {}) = 0;
  /// The same value again is fine, another one kConflict.
  virtual Status LogParams(const Context& context, const RunId& run,
                           const std::map<std::string, std::string>& params) = 0;
  virtual Status LogMetrics(const Context& context, const RunId& run,
                            const std::vector<MetricPoint>& metrics) = 0;
  virtual Status SetTags(const Context& context, const RunId& run,
                         const std::map<std::string, std::string>& tags) = 0;
  /// Copies a file or folder to `artifact_path` (relative, no "..") among the run's artifacts.
  virtual Status LogArtifact(const Context& context, const RunId& run,
                             const std::string& local_path, const std::string& artifact_path) = 0;
  virtual Status EndRun(const Context& context, const RunId& run, RunStatus status) = 0;

  /// By id, an unambiguous prefix of it (at least 4 digits) or the run's name (the newest of that
  /// name).
  virtual Result<Run> GetRun(const Context& context, const std::string& id_or_name) = 0;
  /// Newest first; an empty experiment means all.
  virtual Result<std::vector<Run>> ListRuns(const Context& context,
                                            const std::string& experiment = "",
                                            int64_t max_results = 1000) = 0;
  virtual Result<std::vector<MetricPoint>> MetricHistory(const Context& context, const RunId& run,
                                                         const std::string& key) = 0;
  virtual Result<std::vector<std::string>> ListArtifacts(const Context& context,
                                                         const RunId& run) = 0;
};

/// Opens or makes the store in `folder` (runs.db, artifacts/).
Result<std::unique_ptr<RunStore>> OpenLocalRunStore(const std::string& folder);

}  // namespace gnomon::tracking
