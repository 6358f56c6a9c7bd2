#pragma once

#include <memory>

#include "base/error.h"
#include "feature/online/online_store.h"

namespace gnomon::feature::internal {

/// One SQLite file, which Prepare creates. Readers are never blocked and see
/// whole commits only; writers of all processes take turns.
Result<std::unique_ptr<OnlineStore>> OpenSqliteStore(const RepositoryConfig::OnlineStore& config);

}  // namespace gnomon::feature::internal
