#pragma once

#include <vector>

#include "feature/registry/registry.h"

namespace gnomon::feature {

/// One change per object, by kind in the order of Definitions: those of `wanted` in their order,
/// then what is deleted.
std::vector<RegistryChange> CompareDefinitions(const Definitions& stored,
                                               const Definitions& wanted);

/// The views whose stored rows cannot be those of the new definition: their entities, source (and
/// what is read of it), features, filter, transformations or aggregations changed.
std::vector<std::string> StaleViews(const Definitions& stored, const Definitions& wanted);

}  // namespace gnomon::feature
