#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::tracking {

/// Copies a file or folder to `artifact_path` below `folder`. Each file appears whole or not at
/// all. kUser when the path leaves the folder.
Status CopyArtifact(const Context& context, const std::string& local_path,
                    const std::string& folder, const std::string& artifact_path);

/// Relative paths of all files below `folder`, sorted; none when it does not exist.
Result<std::vector<std::string>> ArtifactsIn(const std::string& folder);

}  // namespace gnomon::tracking
