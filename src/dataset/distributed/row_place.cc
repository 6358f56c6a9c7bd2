#include <algorithm>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/distributed/block_source_internal.h"
#include "dataset/distributed/row_place_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"

namespace gnomon::dataset::internal {

RowRuns::RowRuns(int64_t total_rows, int64_t run_rows, int64_t num_partitions)
    : run_rows_(run_rows),
      num_partitions_(num_partitions),
      num_runs_(std::max<int64_t>(1, total_rows / run_rows + (total_rows % run_rows != 0))) {}

Result<RowPlace> PlaceOf(const runtime::TaskContext& task, const proto::StageCounts& counts) {
  const auto schema = arrow::schema({arrow::field(kCountColumn, arrow::int64(), false)});
  GNOMON_ASSIGN_OR_RETURN(const auto source,
                          OpenEdges(task, {counts.edges().begin(), counts.edges().end()}, schema));
  const int64_t own = counts.first_partition() + task.task().partition;
  RowPlace place;
  int64_t partition = 0;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, source->Next());
    if (batch == nullptr) return place;
    const auto& rows = static_cast<const arrow::Int64Array&>(*batch->column(0));
    for (int64_t i = 0; i < rows.length(); ++i, ++partition) {
      if (partition < own) place.first_row += rows.Value(i);
      place.total_rows += rows.Value(i);
    }
  }
}

}  // namespace gnomon::dataset::internal
