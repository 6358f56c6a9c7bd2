#pragma once

#include <cstdint>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/plan.h"

namespace gnomon::dataset {

/// The partition of each row as a repartition node defines it, in [0, num_partitions): what a
/// shuffle between workers uses too. `first_position` is the input position of the batch's first
/// row (round robin). Equal keys of any width, unit or encoding fall into one partition. The same
/// on every machine that runs the same build.
Result<std::vector<int32_t>> PartitionOfRows(const arrow::RecordBatch& batch,
                                             const RepartitionSpec& spec, int64_t first_position);

}  // namespace gnomon::dataset
