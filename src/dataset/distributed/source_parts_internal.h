#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "dataset/plan.h"

namespace gnomon::dataset::internal {

/// A scan, range or table cut into at most `num_parts` sources whose rows, one after the other, are
/// its own. A scan is cut between files, as evenly as their sizes allow; one with a limit stays
/// whole.
Result<std::vector<Plan>> PartsOfSource(const Plan& source, int num_parts);

/// Bytes of all sources below a plan: files as they are on the disk, tables as they are in memory.
/// The greatest number when a file's size is not known.
int64_t SourceBytes(const Plan& plan);

}  // namespace gnomon::dataset::internal
