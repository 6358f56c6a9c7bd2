#include "feature/online/online_store.h"

#include "base/text.h"
#include "feature/online/sqlite_store_internal.h"

namespace gnomon::feature {

Result<std::unique_ptr<OnlineStore>> OpenOnlineStore(const RepositoryConfig::OnlineStore& config) {
  if (config.type == "sqlite") return internal::OpenSqliteStore(config.path);
  return MakeError(ErrorKind::kUnsupported,
                   Concat("online store type is not supported: ", config.type), {}, "sqlite is");
}

}  // namespace gnomon::feature
