#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"

namespace gnomon::feature {

/// What of a project's registry a features.yaml can say.
struct ImportedDefinitions {
  std::string project;
  Definitions definitions;            ///< valid
  std::vector<std::string> left_out;  ///< what it cannot say, one line each
};

/// Reads a registry of Feast's or ours, see Registry::Open. `project` may be empty when there is
/// only one: kUser lists them otherwise. kNotFound for a registry or project that does not exist.
Result<ImportedDefinitions> ImportRegistry(const Context& context, const std::string& path,
                                           const std::string& project);

/// The text of a features.yaml, with what was left out as comments.
std::string FormatImport(const ImportedDefinitions& imported);

}  // namespace gnomon::feature
