#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/config.h"
#include "base/error.h"
#include "dataset/external_sink.h"
#include "dataset/plan.h"
#include "feature/definition/definition.h"
#include "feature/engine/failed_rows.h"
#include "feature/engine/materialization.h"
#include "feature/online/online_store.h"
#include "pit/window.h"
#include "runtime/stage.h"

/// The online store as the end of a plan (dataset/external_sink.h).
namespace gnomon::feature {

/// PlanExtensions::sinks' name.
inline constexpr const char* kOnlineSink = "online";

using OpenedStore = std::function<Result<OnlineStore*>()>;
using PluginAggregates = std::map<std::string, std::shared_ptr<const pit::CustomAggregate>>;

/// Writes the rows of a partition, whole keys, as MaterializeView does: of a plain view one row for
/// each key, of a window view its events in input order. Rows are upserts that replace a stored one
/// only when they are not older, and all attempts of a partition have the same rows; so an attempt
/// that was killed half-way, came twice or goes on when another one has ended changes nothing.
///
/// The token says how many rows there were. Rows that cannot be written are no error of the
/// attempt, which would be made again: the driver finds them in the tokens of all partitions.
std::shared_ptr<const dataset::ExternalSink> MakeOnlineSink(OpenedStore store,
                                                            PluginAggregates aggregates);

/// For a worker process, which is told of the store before its first task: LocalOptions::access of
/// the driver has AccessToOnlineStore. `extensions`, whose aggregates are there, gets the sink.
Status RegisterOnlineSink(runtime::StageRegistry& registry, dataset::PlanExtensions* extensions);
std::map<std::string, Secret> AccessToOnlineStore(Secret access);

/// What a sink is told of a view's rows: the columns of join keys and features (of a window view
/// AggregatedColumns) have the names of the view, these others their own.
struct OnlineSinkRows {
  std::string time;
  std::string created = {};
  /// Of a plain view: columns (int64) that say for how many rows of the source a row stands, and
  /// how many of these have no key or no time and are skipped.
  std::string source_rows = {};
  std::string skipped_rows = {};
};

/// ExternalWriteSpec::parameters.
Result<std::string> OnlineSinkParameters(const Definitions& definitions, const std::string& project,
                                         const FeatureView& view, const OnlineSinkRows& rows,
                                         int64_t end, const MaterializationOptions& options);

/// Adds what a token says; kDataLoss when it is none.
Status AddToken(std::string_view token, MaterializationResult* result, FailedRows* failed);

}  // namespace gnomon::feature
