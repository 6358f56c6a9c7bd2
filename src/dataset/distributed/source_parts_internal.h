#pragma once

#include <cstdint>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/plan.h"

namespace gnomon::dataset::internal {

struct SourceCut {
  int num_parts = 1;
  int64_t partition_bytes = 0;  ///< 0: num_parts is enough for any size
  int64_t min_part_bytes = 1;
};

/// A scan, range, table or external source cut into sources whose rows, one after the other, are
/// its own: `num_parts` of them, or as many as hold partition_bytes each if that is more; fewer
/// where there is not enough to divide. A scan is cut between files and between the row groups of
/// Parquet files, as evenly as their sizes allow; one with a limit stays whole. An external source
/// is cut into its own parts.
Result<std::vector<Plan>> PartsOfSource(const Plan& source, const SourceCut& cut);

/// The number of partitions for this many bytes.
int PartitionsFor(int64_t bytes, const SourceCut& cut);

/// Bytes of a row, about, by the widths of the types.
double RowWidth(const arrow::Schema& schema);

/// Bytes of all sources below a plan: files as they are on the disk, for the columns that are read
/// their share by the widths of the types, tables as they are in memory.
/// The greatest number when a file's size is not known.
int64_t SourceBytes(const Plan& plan);

}  // namespace gnomon::dataset::internal
