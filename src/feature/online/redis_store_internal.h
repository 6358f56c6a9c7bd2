#pragma once

#include <memory>

#include "base/error.h"
#include "feature/online/online_store.h"

namespace gnomon::feature::internal {

/// A Redis server or cluster. There are no transactions over many keys: a commit's rows become
/// visible in pieces, in a cluster one by one, each entity's row whole; a write that is larger than
/// its buffer begins to be visible before its commit. Every upsert is guarded by event time inside
/// the server, so that a write may be done again, by any number of writers.
Result<std::unique_ptr<OnlineStore>> OpenRedisStore(const RepositoryConfig::OnlineStore& config);

}  // namespace gnomon::feature::internal
