#pragma once

#include <string_view>

#include "base/files.h"
#include "tests/support/status.h"

namespace gnomon::test {

using gnomon::TemporaryFolder;

/// A folder that is removed at the end of the scope; ends the test case when it cannot be made.
inline TemporaryFolder MakeTemporaryFolder(std::string_view prefix = "gnomon-test") {
  return ValueOf(TemporaryFolder::Make(prefix));
}

}  // namespace gnomon::test
