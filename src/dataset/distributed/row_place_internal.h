#pragma once

#include <cstdint>

#include "base/error.h"
#include "gnomon/stage_plan.pb.h"
#include "runtime/stage.h"

/// Where the rows of a task stand among those of all partitions.
namespace gnomon::dataset::internal {

/// Rows are dealt out to partitions in whole runs: the first runs to the first partition and so on,
/// as evenly as that goes. No rows are one run of none.
class RowRuns {
 public:
  /// REQUIRES: run_rows and num_partitions above 0.
  RowRuns(int64_t total_rows, int64_t run_rows, int64_t num_partitions);

  int64_t PartitionOf(int64_t row) const { return row / run_rows_ * num_partitions_ / num_runs_; }
  /// The first run of a partition, which is that of the next one when it has none.
  int64_t FirstRunOf(int64_t partition) const {
    return (partition * num_runs_ + num_partitions_ - 1) / num_partitions_;
  }

 private:
  int64_t run_rows_;
  int64_t num_partitions_;
  int64_t num_runs_;
};

struct RowPlace {
  int64_t first_row = 0;
  int64_t total_rows = 0;
};

/// The place of the task's rows as its fragment's counts say it, for rows that were counted where
/// they are.
Result<RowPlace> PlaceOf(const runtime::TaskContext& task, const proto::StageCounts& counts);

}  // namespace gnomon::dataset::internal
