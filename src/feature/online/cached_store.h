#pragma once

#include <cstdint>
#include <memory>

#include "feature/online/online_store.h"

namespace gnomon::feature {

struct OnlineCacheOptions {
  int64_t size_bytes = 0;  ///< rows, keys and what keeping them takes; above it the least recently
                           ///< used rows leave
  int64_t ttl = 0;         ///< microseconds until a row is read anew, by the Context's clock
};

/// A store that keeps rows it read in this process, missing ones too, and answers from them. What
/// is kept is the stored row: TTL, as_of and windows are evaluated above the store as ever.
///
/// - A write through this object (Commit, Update) drops the rows it names before it returns, and a
///   read that began before that keeps nothing of them: no later read sees an older row. Rows of
///   one such write are seen together.
/// - Writes of other processes and objects are seen row by row, at most `ttl` after their commit.
///   Of two rows of one entity that are read meanwhile, the one of the newer event time is kept.
/// - Prepare, DropExcept and Teardown empty it. Errors are never kept.
///
/// Counts rows: gnomon_feature_online_cache_hits_total and ..._misses_total. Thread-safe.
std::unique_ptr<OnlineStore> CacheOnlineStore(std::unique_ptr<OnlineStore> store,
                                              const OnlineCacheOptions& options);

}  // namespace gnomon::feature
