#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "feature/online/online_store.h"

namespace gnomon::feature::internal {

/// The packed layout in one SQLite file, which Prepare creates. Readers are never blocked and see
/// whole commits only; writers of all processes take turns.
Result<std::unique_ptr<OnlineStore>> OpenSqliteStore(const std::string& path);

}  // namespace gnomon::feature::internal
