#pragma once

#include <memory>

#include "base/error.h"
#include "feature/online/online_store.h"

namespace gnomon::feature::internal {

/// A PostgreSQL database. Readers are never blocked and see whole commits only. A write is done at
/// its commit, by one transaction that is tried again when the connection is lost; one that is
/// larger than its buffer is sent meanwhile and not tried again.
Result<std::unique_ptr<OnlineStore>> OpenPostgresStore(const RepositoryConfig::OnlineStore& config);

}  // namespace gnomon::feature::internal
