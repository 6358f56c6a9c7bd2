#pragma once

#include <string>

#include "base/config.h"
#include "base/error.h"
#include "feature/definition/repository.h"

namespace gnomon::feature {

/// What a repository asks of its online store that this build lacks: a type, a kind of Redis. Empty
/// when it has it.
std::string UnsupportedOnlineStore(const ConfigNode& node, const std::string& type);

/// The keys of the section `online_store` for store->type, which is set. `path` stays as it is
/// written.
Status ReadOnlineStoreKeys(const ConfigNode& node, RepositoryConfig::OnlineStore* store);

}  // namespace gnomon::feature
