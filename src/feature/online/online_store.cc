#include "feature/online/online_store.h"

#include <utility>

#include "base/text.h"
#include "feature/online/cached_store.h"
#include "feature/online/postgres_store_internal.h"
#include "feature/online/redis_store_internal.h"
#include "feature/online/sqlite_store_internal.h"

namespace gnomon::feature {

namespace {

Result<std::unique_ptr<OnlineStore>> OpenUncached(const RepositoryConfig::OnlineStore& config) {
  if (config.type == "sqlite") return internal::OpenSqliteStore(config);
  if (config.type == "redis") return internal::OpenRedisStore(config);
  if (config.type == "postgres") return internal::OpenPostgresStore(config);
  return MakeError(ErrorKind::kUnsupported,
                   Concat("online store type is not supported: ", config.type), {},
                   "sqlite, redis and postgres are");
}

}  // namespace

Result<std::unique_ptr<OnlineStore>> OpenOnlineStore(const RepositoryConfig::OnlineStore& config) {
  GNOMON_ASSIGN_OR_RETURN(auto store, OpenUncached(config));
  if (config.cache_size_mb == 0) return store;
  return CacheOnlineStore(std::move(store),
                          {.size_bytes = config.cache_size_mb << 20, .ttl = config.cache_ttl});
}

}  // namespace gnomon::feature
