#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "dataset/execution.h"
#include "dataset/function_registry.h"
#include "dataset/plan.h"
#include "runtime/backend.h"
#include "runtime/job.h"
#include "runtime/stage.h"

/// Plans on many nodes: a plan is cut into stages at its shuffles and run as a job of runtime. The
/// result has the same rows in the same order as an Execution of the plan, and files the same
/// bytes, for any number of partitions and nodes and whatever fails underway.
namespace gnomon::dataset {

/// None of these changes a result.
struct DistributionOptions {
  /// Of scans, ranges, tables and shuffles, as far as there is enough to divide. 0: twice the CPUs
  /// of the backend's nodes. A job that is to be resumed names it, so that its plan stays the same.
  int num_partitions = 0;
  /// What one task takes of a source or a shuffle, about: a plan whose sources are larger than
  /// num_partitions of these gets more partitions, and what has to be brought into order (a sort,
  /// the positions of a sample) is done in one task when the sources below it are smaller than one.
  int64_t partition_bytes = int64_t{64} << 20;
  /// A Parquet file is cut, between its row groups, into parts of at least this many bytes.
  int64_t min_part_bytes = int64_t{4} << 20;
  /// The right side of a join goes whole to every partition of the left when its sources have at
  /// most this many bytes; else both sides are shuffled.
  int64_t broadcast_bytes = int64_t{100} << 20;
  /// What one task may take, for admission. 0: not counted.
  int64_t task_memory_bytes = 0;
  bool optimize = true;
  /// What progress and the journal call the job.
  std::string name = "plan";
  runtime::JobOptions job = {};
};

/// Scans of the same files, which were read once for all of them.
struct SharedScanStats {
  std::vector<size_t> operators = {};  ///< their places in DistributedStats::operators
  int64_t rows = 0;                    ///< that were read; each of the scans gave some of them
};

/// What a plan did in stages. What was tried again, came twice or was made again because its blocks
/// were lost counts once.
struct DistributedStats {
  /// Those of Execution::Stats for the same plan: rows are the same, seconds are the sum over all
  /// tasks. The bytes of a node may have hidden columns in them.
  std::vector<OperatorStats> operators = {};
  /// The time and the row groups of such a read are those of its first scan.
  std::vector<SharedScanStats> shared_scans = {};
  /// With the time of moving rows between tasks, which no operator has.
  std::vector<runtime::StageStats> stages = {};
  runtime::JobStats job = {};
  /// Tasks of an earlier run whose work is not in `operators`: a resumed job knows that of
  /// committed tasks from its journal, but not of those that fed them.
  int64_t missing_tasks = 0;

  /// Of operators and blocks.
  int64_t spilled_bytes() const;
};

/// One line an operator, one a read for several of them, one a stage, and what is missing.
std::string FormatStats(const DistributedStats& stats);

/// The rows of a finished job, in the order of the plan, from blocks on the driver. Outlived by the
/// backend. Not thread-safe.
class DistributedResult : public BatchSource {
 public:
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  /// What its operators and stages did.
  virtual const DistributedStats& work() const = 0;
  const runtime::JobStats& stats() const { return work().job; }
};

/// Adds what the tasks of plans need to a registry: driver and workers call it alike. `functions`
/// (may be null) is for map_batches, `extensions` (may be null) for what plans name of plug-ins;
/// both outlive the registry.
Status RegisterPlanStages(runtime::StageRegistry& registry, const FunctionRegistry* functions,
                          const PlanExtensions* extensions = nullptr);

/// What worker processes have to be told so that their tasks can read what this process can, for
/// LocalOptions::access: the settings of s3:// paths (table::UseS3). Environment and credentials
/// files are theirs as well as ours. The stages of RegisterPlanStages know what to do with it.
std::map<std::string, Secret> AccessForWorkers();

/// Optimises the plan, cuts it and runs it to its end. A write node must be the root; its files
/// appear once, whatever fails, and with a journal (options.job) also over a crash of the driver.
/// kUnsupported for plans with batches that are handed over (InputSpec), a write node inside, or a
/// write to other than this machine's file system.
Result<std::unique_ptr<DistributedResult>> ExecuteDistributed(
    const Context& context, runtime::Backend& backend, const Plan& plan,
    const DistributionOptions& options = {});

/// The stages with their plans, partitions and edges; reads nothing. REQUIRES:
/// options.num_partitions > 0.
Result<std::string> ExplainDistributed(const Plan& plan, const DistributionOptions& options);

}  // namespace gnomon::dataset
