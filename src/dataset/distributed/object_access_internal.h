#pragma once

#include <string_view>

#include "base/error.h"

namespace gnomon::dataset::internal {

/// The service of runtime's AddAccess that s3:// paths are.
inline constexpr const char* kObjectAccess = "s3";

/// UseS3 with what AccessForWorkers gave in the driver's process.
Status TakeObjectAccess(std::string_view bytes);

}  // namespace gnomon::dataset::internal
