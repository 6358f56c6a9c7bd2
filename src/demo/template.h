#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::demo {

/// Writes a new repository: feature_store.yaml, features.yaml, training files and, for `minimal`, a
/// small source. The folder is made when it is missing. kConflict when one of the files exists;
/// nothing is written then. Returns the files' paths. Names: minimal, sales, flights.
Result<std::vector<std::string>> WriteTemplate(const Context& context, const std::string& name,
                                               const std::string& folder);

}  // namespace gnomon::demo
