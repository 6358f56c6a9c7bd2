#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace gnomon::dataset::internal {

/// Size and time of last change; kNotFound and so on name the path.
Status StatFile(const std::string& path, int64_t* size, int64_t* modified_nanos);

}  // namespace gnomon::dataset::internal
