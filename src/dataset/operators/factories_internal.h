#pragma once

#include <memory>
#include <vector>

#include "dataset/operators/operator_internal.h"

/// Makes each operator of the physical plan. `plan` is the node that it executes, of which it may
/// keep what it needs; `stats` outlives it.
namespace gnomon::dataset::internal {

Result<OperatorPtr> MakeScanOperator(const Environment& environment, const Plan& plan,
                                     OperatorStats* stats);

/// range, table and input.
Result<OperatorPtr> MakeMemoryOperator(const Environment& environment, const Plan& plan,
                                       OperatorStats* stats);

OperatorPtr MakeExternalOperator(const Environment& environment, const Plan& plan,
                                 OperatorStats* stats);

/// project, filter, derive and row-wise map_batches: `nodes` from the first to the last, fused.
Result<OperatorPtr> MakePipelineOperator(const Environment& environment,
                                         const std::vector<Plan>& nodes, OperatorPtr input,
                                         OperatorStats* stats);
bool IsPipelineNode(const PlanNode& node);

/// The code of a map_batches; lives as long as the spec and the registry (may be null).
Result<const BatchFunction*> FunctionOf(const MapBatchesSpec& spec,
                                        const FunctionRegistry* functions);

/// map_batches of functions that look at more than one row.
Result<OperatorPtr> MakeMapBatchesOperator(const Environment& environment, const Plan& plan,
                                           OperatorPtr input, OperatorStats* stats);

/// union, limit, sample.
Result<OperatorPtr> MakeStreamOperator(const Environment& environment, const Plan& plan,
                                       std::vector<OperatorPtr> inputs, OperatorStats* stats);

/// Cannot be undone: what it has written stays written when the plan fails later.
OperatorPtr MakeExternalWriteOperator(const Environment& environment, const Plan& plan,
                                      OperatorPtr input, OperatorStats* stats);

OperatorPtr MakeLatestOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                               OperatorStats* stats);
OperatorPtr MakeSortOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                             OperatorStats* stats);
Result<OperatorPtr> MakeAggregateOperator(const Environment& environment, const Plan& plan,
                                          OperatorPtr input, OperatorStats* stats);
OperatorPtr MakeJoinOperator(const Environment& environment, const Plan& plan, OperatorPtr left,
                             OperatorPtr right, OperatorStats* stats);
/// asof_join and window_aggregate.
OperatorPtr MakeTimeMatchOperator(const Environment& environment, const Plan& plan,
                                  OperatorPtr left, OperatorPtr right, OperatorStats* stats);
OperatorPtr MakeRepartitionOperator(const Environment& environment, const Plan& plan,
                                    OperatorPtr input, OperatorStats* stats);
OperatorPtr MakeWriteOperator(const Environment& environment, const Plan& plan, OperatorPtr input,
                              OperatorStats* stats);

}  // namespace gnomon::dataset::internal
