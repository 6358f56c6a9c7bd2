#pragma once

#include "base/error.h"
#include "dataset/plan.h"
#include "gnomon/plan.pb.h"

/// Expressions, and the nodes that may call plug-ins or bring rows together in time, as messages.
/// What plug-ins have comes from `extensions` (may be null); kNotFound when they lack it.
namespace gnomon::dataset::internal {

Status WriteExpressions(const std::vector<NamedExpression>& expressions,
                        proto::DatasetExpressions* out);
Result<std::vector<NamedExpression>> ReadExpressions(const proto::DatasetExpressions& in,
                                                     const PlanExtensions* extensions);
Result<NodeSpec> ReadFilter(const proto::DatasetFilter& in, const PlanExtensions* extensions);

Status WriteMapBatches(const MapBatchesSpec& spec, proto::DatasetMapBatches* out);
Result<NodeSpec> ReadMapBatches(const proto::DatasetMapBatches& in,
                                const PlanExtensions* extensions);

void WriteAggregate(const AggregateSpec& spec, proto::DatasetAggregate* out);
Result<NodeSpec> ReadAggregate(const proto::DatasetAggregate& in, const PlanExtensions* extensions);

Status WriteAsOfJoin(const AsOfJoinSpec& spec, proto::DatasetAsOfJoin* out);
Result<NodeSpec> ReadAsOfJoin(const proto::DatasetAsOfJoin& in);

Status WriteWindowAggregate(const WindowAggregateSpec& spec, proto::DatasetWindowAggregate* out);
Result<NodeSpec> ReadWindowAggregate(const proto::DatasetWindowAggregate& in,
                                     const PlanExtensions* extensions);

Status WriteExternal(const ExternalSpec& spec, proto::DatasetExternal* out);
Result<NodeSpec> ReadExternal(const proto::DatasetExternal& in, const PlanExtensions* extensions);

void WriteLatest(const LatestSpec& spec, proto::DatasetLatest* out);
NodeSpec ReadLatest(const proto::DatasetLatest& in);
void WriteTimeRange(const TimeRangeSpec& spec, proto::DatasetTimeRange* out);
Result<NodeSpec> ReadTimeRange(const proto::DatasetTimeRange& in);
void WriteExternalWrite(const ExternalWriteSpec& spec, proto::DatasetExternalWrite* out);
Result<NodeSpec> ReadExternalWrite(const proto::DatasetExternalWrite& in,
                                   const PlanExtensions* extensions);

}  // namespace gnomon::dataset::internal
