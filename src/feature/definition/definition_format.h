#pragma once

#include <string>

#include "feature/definition/definition.h"

namespace gnomon::feature {

/// The text of a features.yaml that ParseDefinitions reads as these definitions, but for what
/// `apply` finds out by itself: the column types of aggregations, the plug-ins.
std::string FormatDefinitions(const Definitions& definitions);

}  // namespace gnomon::feature
