#pragma once

#include <string>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "feature/definition/repository.h"

namespace gnomon::feature {

/// The section `online_store` of type redis; `shared` are keys that are read elsewhere. Errors show
/// no value of connection_string that may be a secret.
Status ReadRedis(const ConfigNode& node, const std::vector<std::string>& shared,
                 RepositoryConfig::OnlineStore* store);

}  // namespace gnomon::feature
