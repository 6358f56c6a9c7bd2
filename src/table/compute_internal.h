#pragma once

#include "base/error.h"

namespace gnomon::table::internal {

/// Registers Arrow's compute kernels once; cheap afterwards. Thread-safe.
Status InitializeCompute();

}  // namespace gnomon::table::internal
