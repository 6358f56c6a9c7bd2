#pragma once

#include <functional>
#include <memory>

#include "feature/online/online_store.h"

namespace gnomon::feature {

/// Opens one more store object over the same, at first empty, storage.
using OpenStore = std::function<std::unique_ptr<OnlineStore>()>;

/// What every online store must do, as subcases of the running test case: called with new storage
/// each time.
void CheckOnlineStore(const OpenStore& open);

}  // namespace gnomon::feature
