#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "dataset/plan.h"

namespace gnomon::dataset::internal {

/// One scan that reads what several scans of the same files would each read.
struct SharedScan {
  Plan scan;
  /// For each of them a plan of its rows, in its columns, out of those of `scan`, which the input
  /// node kSourceInput stands for.
  std::vector<Plan> members;
};

/// Scans of the same files in one: all their columns, and the rows between the outermost of their
/// bounds. Absent where columns do not go together (another type or name in one of them), and where
/// one scan would decode clearly more than all of them: rows outside the range of times of the one
/// for the columns of the other. REQUIRES: a scan.
Result<std::optional<SharedScan>> ShareScans(const std::vector<Plan>& scans);

/// Could two scans with these files be one?
bool ReadSameFiles(const ScanSpec& one, const ScanSpec& other);

/// The plan with `replacement` instead of the input node of that name.
Result<Plan> ReplaceInput(const Plan& plan, const std::string& name, const Plan& replacement);

}  // namespace gnomon::dataset::internal
