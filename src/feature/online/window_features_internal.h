#pragma once

#include <memory>

#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/online/online_store.h"

namespace gnomon::feature::internal {

/// The features of a window view from its stored rows, with the code that online reads use.
Result<std::shared_ptr<const OnlineFeatures>> MakeWindowFeatures(const OnlineTable& table,
                                                                 const FeatureView& view);

}  // namespace gnomon::feature::internal
