#pragma once

#include <cstdint>

namespace gnomon::runtime {

/// The version of the frames between driver and worker, which are always of one build.
inline constexpr int32_t kWorkerProtocol = 2;

}  // namespace gnomon::runtime
