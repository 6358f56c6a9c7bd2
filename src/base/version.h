#pragma once

namespace gnomon {

/// The build's version, as `gnomon version` prints it.
extern const char* const kVersion;

}  // namespace gnomon
