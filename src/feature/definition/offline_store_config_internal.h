#pragma once

#include "base/config.h"
#include "base/error.h"
#include "feature/definition/repository.h"

namespace gnomon::feature {

/// The keys of the section `offline_store` of type postgres or sqlite, as store->type says. `path`
/// stays as it is written.
Status ReadDatabaseStoreKeys(const ConfigNode& node, RepositoryConfig::OfflineStore* store);

}  // namespace gnomon::feature
