#pragma once

#include <memory>

#include "base/config.h"
#include "base/error.h"
#include "feature/definition/repository.h"
#include "feature/online/online_store.h"

namespace gnomon::feature {

/// What OpenOnlineStore takes in another process to write to the same store: addresses and
/// passwords.
Secret AccessTo(const RepositoryConfig::OnlineStore& config);

/// The store whose access that is. It keeps no rows: other processes write too.
Result<std::unique_ptr<OnlineStore>> OpenOnlineStore(const Secret& access);

}  // namespace gnomon::feature
