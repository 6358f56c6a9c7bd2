#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/distributed/distributed.h"
#include "dataset/distributed/operator_marks_internal.h"
#include "dataset/plan.h"
#include "runtime/job.h"

namespace gnomon::dataset::internal {

/// The name under which the stage function is registered.
inline constexpr const char* kPlanStage = "dataset.plan";
/// The input node that stands for the task's own part of a source (Task::argument).
inline constexpr const char* kSourceInput = "source";
/// An order column holds (partition << kRowBits | row).
inline constexpr int kRowBits = 40;
/// The column of what StageCounts reads.
inline constexpr const char* kCountColumn = "count";

/// A job whose results are the rows of a plan.
struct StagePlan {
  runtime::JobPlan job;
  /// The stages whose blocks, partition by partition, are the rows; or the one that writes.
  std::vector<size_t> results;
  bool writes = false;
  std::string explain;
  std::vector<OperatorStats> operators;  ///< of the plan, as an execution of it would have them
  std::vector<StageMarks> marks;         ///< by stage
  std::vector<SharedRead> shared_reads;
};

/// Cuts an optimised plan. options.num_partitions > 0.
///
/// A part of the plan that has been cut is a relation: fragments that run side by side, each in a
/// number of partitions, and a rule that says where a row stands among all. Without order columns
/// the relation is the partitions one after the other; scans and what looks at one row at a time
/// keep it so. After a shuffle rows are in the partition of their key, so they carry their position
/// in int64 columns: (partition << 40 | row) of the side before the shuffle. Rows with equal
/// positions (pairs of one left row) stand in one partition, in order. Whatever needs the order of
/// all rows sends them back to as many partitions as they came from, by the upper bits of the first
/// column, and sorts there; another shuffle sorts in each partition. What needs numbers without
/// gaps (sample, calls of map_batches, round robin, files of so many rows) has the rows of each
/// partition counted first. A sort sends rows by ranges of its keys, whose boundaries come from
/// samples of every partition.
Result<StagePlan> CutIntoStages(const Plan& plan, const DistributionOptions& options);

/// The aggregates of each partition, which `spec` merges from then on; absent when one of them has
/// no merge that gives the same bits. Both halves give their groups in the order of their first
/// rows.
std::optional<AggregateSpec> MakePartial(AggregateSpec* spec);

}  // namespace gnomon::dataset::internal
