#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "feature/definition/definition.h"

namespace gnomon::feature {

/// Loads the libraries of a repository (absolute paths; those below `folder` are remembered
/// relative to it). Null when there are none. kConflict for a function or an aggregate that has the
/// name of a built-in one.
Result<std::shared_ptr<const Extensions>> LoadExtensions(const std::vector<std::string>& paths,
                                                         const std::string& folder);

/// WithExtensions for definitions of the registry: functions of libraries that they were applied
/// with and that are not loaded now are errors, where they are called, which name the library.
/// `loaded` may be null.
std::shared_ptr<const Definitions> LinkApplied(const Definitions& applied,
                                               std::shared_ptr<const Extensions> loaded);

/// What to warn of: a sentence for each library that changed since the definitions were applied, or
/// is not loaded any more.
std::vector<std::string> PluginWarnings(const Definitions& applied, const Extensions* loaded);

}  // namespace gnomon::feature
