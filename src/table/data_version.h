#pragma once

#include <string>

#include "base/error.h"

namespace gnomon::table {

/// A text that differs when other bytes lie at a path of ListDataFiles: another set of files, one
/// that was replaced, or one that was written to. Reads no data.
Result<std::string> DataVersion(const std::string& path);

}  // namespace gnomon::table
