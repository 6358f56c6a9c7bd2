#include "feature/definition/offline_store_config_internal.h"
#include "feature/definition/store_keys_internal.h"

namespace gnomon::feature {

Status ReadDatabaseStoreKeys(const ConfigNode& node, RepositoryConfig::OfflineStore* store) {
  if (store->type == "postgres") {
    std::vector<std::string> keys = kPostgresKeys;
    keys.push_back("type");
    GNOMON_RETURN_NOT_OK(
        node.CheckKeys(keys, {"conn_type", "min_conn", "keepalives_idle", "entity_select_mode"}));
    return ReadPostgres(node, store);
  }
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"type", "path"}));
  return ReadText(node, "path", &store->path);
}

}  // namespace gnomon::feature
