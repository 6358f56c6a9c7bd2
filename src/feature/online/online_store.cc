#include "feature/online/online_store.h"

#include "base/text.h"
#include "feature/online/postgres_store_internal.h"
#include "feature/online/redis_store_internal.h"
#include "feature/online/sqlite_store_internal.h"

namespace gnomon::feature {

Result<std::unique_ptr<OnlineStore>> OpenOnlineStore(const RepositoryConfig::OnlineStore& config) {
  if (config.type == "sqlite") return internal::OpenSqliteStore(config);
  if (config.type == "redis") return internal::OpenRedisStore(config);
  if (config.type == "postgres") return internal::OpenPostgresStore(config);
  return MakeError(ErrorKind::kUnsupported,
                   Concat("online store type is not supported: ", config.type), {},
                   "sqlite, redis and postgres are");
}

}  // namespace gnomon::feature
