#pragma once

#include <string>
#include <vector>

#include "dataset/optimizer/optimizer.h"

/// The optimiser's rules. Each takes a plan and gives one with the same rows, and says what it did.
namespace gnomon::dataset::internal {

using Notes = std::vector<std::string>;

/// Filters move below what keeps their columns, down into scans.
Result<Plan> PushDownPredicates(const Plan& plan, Notes* notes);
/// Files whose partition values no predicate of the scan lets pass are left out.
Result<Plan> PrunePartitions(const Plan& plan, Notes* notes);
/// Limits move below what gives one row for one, into sorts and scans.
Result<Plan> PushDownLimits(const Plan& plan, Notes* notes);
/// Columns that nobody reads are not read.
Result<Plan> PushDownProjections(const Plan& plan, Notes* notes);

/// The node over other inputs; the node itself when they are the same.
Result<Plan> WithInputs(const Plan& node, std::vector<Plan> inputs);

}  // namespace gnomon::dataset::internal
