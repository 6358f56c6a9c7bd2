#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/asof_strategy.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"

/// Historical features: for each entity row the values that were known at its time (the
/// point-in-time rules are in docs/design/point_in_time.md).
namespace gnomon::feature {

struct RetrievalOptions {
  /// Rows created after the entity row's time do not exist for it.
  bool filter_by_created_timestamp = false;
  /// Rows created after this instant (microseconds) do not exist at all.
  std::optional<int64_t> created_before = {};
  /// How point-in-time joins are cut up: batch_engine of feature_store.yaml. No value depends on
  /// it.
  dataset::AsOfSettings join = {};
  /// Runs as stages in worker processes, where a plan can say it all (stage_retrieval.h).
  bool in_processes = false;
  /// Program and arguments of a worker, "{fd}" for its socket; empty: this program.
  std::vector<std::string> worker_command = {};
  /// Absolute paths of the definitions' plug-in libraries, in their order: workers load them.
  std::vector<std::string> plugins = {};
};

struct RetrievalStats {
  int64_t entity_rows = 0;
  int64_t null_key_rows = 0;  ///< entity rows with a null join key in some view
  int64_t source_rows = 0;    ///< read from sources
  int64_t scans = 0;          ///< of sources
  std::vector<std::pair<std::string, double>> seconds;     ///< by step
  std::vector<std::pair<std::string, std::string>> joins;  ///< view, how it was joined and why
  int64_t spilled_bytes = 0;
};

/// The name of the entity rows' time column: `event_timestamp` when there is one, else the only
/// time column. kUser when there is none or several (they are named).
Result<std::string> EventTimestampColumn(const arrow::Schema& schema);

/// One output row per entity row, in input order: all entity columns as they are, then the plan's
/// outputs. No match gives nulls. Errors: kUser for a missing join key or request column, a join
/// key of another type, an output name that is an entity column.
Result<std::shared_ptr<arrow::Table>> RetrieveHistorical(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    const arrow::Table& entity_rows, const RetrievalOptions& options, RetrievalStats* stats);

/// Retrieval without entity rows, [start, end] both inclusive in microseconds. One plain view alone
/// gives its rows; otherwise the distinct (keys, time) of all views' rows, in order of time and
/// then first appearance, joined as of that time. kUser when the views have different join keys or
/// need request data.
Result<std::shared_ptr<arrow::Table>> RetrieveRange(const Context& context, const FeaturePlan& plan,
                                                    const OfflineStore& store, int64_t start,
                                                    int64_t end, const RetrievalOptions& options,
                                                    RetrievalStats* stats);

/// The plan in words, with the reason for each choice.
std::string ExplainRetrieval(const FeaturePlan& plan, const RetrievalOptions& options);

}  // namespace gnomon::feature
