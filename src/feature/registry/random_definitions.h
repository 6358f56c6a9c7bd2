#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "feature/definition/definition.h"

namespace gnomon::feature {

/// Definitions that Validate accepts, different for each seed: every kind of object, every type and
/// parameter, odd names and texts. For tests.
Definitions RandomDefinitions(uint64_t seed);

}  // namespace gnomon::feature
