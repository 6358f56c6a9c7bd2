#pragma once

#include <string>

#include "feast/core/registry.pb.h"
#include "feature/registry/registry.h"

/// Saved datasets as Feast's messages; what Feast has no field for is in the tag gnomon.spec.
namespace gnomon::feature {

void WriteSavedDataset(const SavedDataset& dataset, const std::string& project, int64_t now,
                       feast::core::SavedDataset* message);
SavedDataset ReadSavedDataset(const feast::core::SavedDataset& message);

/// Null when there is none.
feast::core::SavedDataset* FindSavedDataset(const std::string& project, const std::string& name,
                                            feast::core::Registry* registry);

}  // namespace gnomon::feature
