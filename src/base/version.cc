#include "base/version.h"

namespace gnomon {

const char* const kVersion = GNOMON_VERSION;

}  // namespace gnomon
