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
#include "dataset/distributed/distributed.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"
#include "table/partitioned_table.h"

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
  /// Of a retrieval as stages: what each node of its plan did, and each stage.
  dataset::DistributedStats stages = {};
};

/// The name of the entity rows' time column: `event_timestamp` when there is one, else the only
/// time column. kUser when there is none or several (they are named).
Result<std::string> EventTimestampColumn(const arrow::Schema& schema);

/// The rows of a retrieval in batches, whose sizes are the same whatever the memory limit. Not
/// thread-safe.
class HistoricalRows {
 public:
  virtual ~HistoricalRows() = default;
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  /// Null at the end.
  virtual Result<std::shared_ptr<arrow::RecordBatch>> Next() = 0;
  /// Complete after the end.
  virtual const RetrievalStats& stats() const = 0;
};

/// Rows that are in memory already.
std::unique_ptr<HistoricalRows> RowsOfTable(std::shared_ptr<arrow::Table> table,
                                            RetrievalStats stats);

/// All rows as one table. Its memory is reserved while it is made: kExhausted when the budget
/// refuses. The first `held_columns` are not counted: somebody else holds them.
Result<std::shared_ptr<arrow::Table>> CollectRows(const Context& context, HistoricalRows* rows,
                                                  int held_columns = 0);

/// One output row per entity row, in input order: all entity columns as they are, then the plan's
/// outputs. No match gives nulls. Neither the entity rows nor the result are in memory as a whole:
/// the entity rows are read twice (files must stay as they are), and what the budget has no room
/// for is spilled. Distinct keys of the entity rows have to fit, and the rows of a view over views.
/// Everything given outlives the result. Errors: kUser for a missing join key or request column, a
/// join key of another type, an output name that is an entity column; kExhausted for what does not
/// fit.
Result<std::unique_ptr<HistoricalRows>> OpenHistorical(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    std::shared_ptr<const table::PartitionedTable> entity_rows, const RetrievalOptions& options);

/// The rows of OpenHistorical as one table.
Result<std::shared_ptr<arrow::Table>> RetrieveHistorical(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    const arrow::Table& entity_rows, const RetrievalOptions& options, RetrievalStats* stats);

/// Retrieval without entity rows, [start, end] both inclusive in microseconds. One plain view alone
/// gives its rows; otherwise the distinct (keys, time) of all views' rows, in order of time and
/// then first appearance, joined as of that time. kUser when the views have different join keys or
/// need request data. The rows of one view stream; the distinct keys and times of several are
/// spilled where the budget has no room. Everything given outlives the result.
Result<std::unique_ptr<HistoricalRows>> OpenRange(const Context& context, const FeaturePlan& plan,
                                                  const OfflineStore& store, int64_t start,
                                                  int64_t end, const RetrievalOptions& options);

/// The rows of OpenRange as one table.
Result<std::shared_ptr<arrow::Table>> RetrieveRange(const Context& context, const FeaturePlan& plan,
                                                    const OfflineStore& store, int64_t start,
                                                    int64_t end, const RetrievalOptions& options,
                                                    RetrievalStats* stats);

/// The plan in words, with the reason for each choice.
std::string ExplainRetrieval(const FeaturePlan& plan, const RetrievalOptions& options);

}  // namespace gnomon::feature
