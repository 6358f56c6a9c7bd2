#include <utility>
#include <vector>

#include "base/text.h"
#include "feature/definition/online_store_config_internal.h"
#include "feature/definition/redis_config_internal.h"
#include "feature/definition/store_keys_internal.h"

namespace gnomon::feature {
namespace {

using OnlineStore = RepositoryConfig::OnlineStore;

/// The keys that every type has.
const std::vector<std::string> kShared = {
    "type", "layout", "serve_expired", "value_counts_mb", "cache_size_mb", "cache_ttl"};

std::vector<std::string> WithShared(std::vector<std::string> keys) {
  keys.insert(keys.end(), kShared.begin(), kShared.end());
  return keys;
}

Status ReadShared(const ConfigNode& node, OnlineStore* store) {
  GNOMON_RETURN_NOT_OK(ReadText(node, "layout", &store->layout));
  if (!store->layout.empty() && store->layout != "packed" && store->layout != "feast") {
    return node.Get("layout").ErrorHere(Concat("unknown layout ", Quoted(store->layout)),
                                        "layouts: packed, feast");
  }
  if (const ConfigNode expired = node.Get("serve_expired"); !expired.is_null()) {
    GNOMON_ASSIGN_OR_RETURN(store->serve_expired, expired.AsBool());
  }
  if (const ConfigNode ttl = node.Get("cache_ttl"); !ttl.is_null()) {
    GNOMON_ASSIGN_OR_RETURN(store->cache_ttl, ttl.AsDuration());
    if (store->cache_ttl <= 0)
      return ttl.ErrorHere("must be longer than zero", "cache_size_mb: 0 turns the cache off");
  }
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "cache_size_mb", 0, 1'000'000, &store->cache_size_mb));
  // A stored row is at most 2^31 - 1 bytes long.
  return ReadInteger(node, "value_counts_mb", 1, 2047, &store->value_counts_mb);
}

Status ReadSqlite(const ConfigNode& node, OnlineStore* store) {
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      WithShared({"path"}),
      {"vector_enabled", "vector_len", "text_search_enabled", "enable_openai_compatible_store"}));
  return ReadText(node, "path", &store->path);
}

Status ReadPostgresStore(const ConfigNode& node, OnlineStore* store) {
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys(WithShared(kPostgresKeys),
                     {"conn_type", "min_conn", "keepalives_idle", "vector_enabled", "vector_len",
                      "enable_openai_compatible_store", "max_batched_result_rows"}));
  return ReadPostgres(node, store);
}

}  // namespace

std::string UnsupportedOnlineStore(const ConfigNode& node, const std::string& type) {
  if (type != "sqlite" && type != "redis" && type != "postgres")
    return Concat("online_store type ", Quoted(type));
  const ConfigNode redis = node.Get("redis_type");
  if (type != "redis" || redis.is_null()) return {};
  const auto kind = redis.AsString();
  if (!kind.ok() || *kind == "redis" || *kind == "redis_cluster") return {};
  return Concat("redis_type ", Quoted(*kind));
}

Status ReadOnlineStoreKeys(const ConfigNode& node, OnlineStore* store) {
  if (store->type == "redis") {
    GNOMON_RETURN_NOT_OK(ReadRedis(node, kShared, store));
  } else if (!node.is_mapping()) {
    return Status::OK();
  } else if (store->type == "postgres") {
    GNOMON_RETURN_NOT_OK(ReadPostgresStore(node, store));
  } else {
    GNOMON_RETURN_NOT_OK(ReadSqlite(node, store));
  }
  return ReadShared(node, store);
}

}  // namespace gnomon::feature
