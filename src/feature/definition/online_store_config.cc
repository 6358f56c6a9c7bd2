#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "base/text.h"
#include "feature/definition/online_store_config_internal.h"
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

/// "true" and "1" of connection_string, which redis-py takes as they come.
bool IsTrue(std::string_view text) {
  const std::string lower = ToLower(text);
  return lower == "true" || lower == "1" || lower == "\"true\"";
}

bool ParseNumber(std::string_view text, int64_t least, int64_t greatest, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value >= least &&
         *value <= greatest;
}

/// Feast's "host:port,key=value,...". Errors do not show values: one may be the password.
Status ReadConnectionString(const ConfigNode& node, OnlineStore* store) {
  const ConfigNode place = node.Get("connection_string");
  if (place.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const std::string text, place.AsString());
  int hosts = 0;
  for (const std::string& part : Split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos) {
      const size_t colon = part.rfind(':');
      int64_t port = 6379;
      if (colon != std::string::npos && !ParseNumber(part.substr(colon + 1), 1, 65'535, &port))
        return place.ErrorHere("has no port number", "connection_string: host:port,key=value");
      if (++hosts > 1) {
        return place.ErrorHere("names several servers, which a cluster has",
                               "one server is supported: host:port");
      }
      store->host = std::string(Trim(part.substr(0, colon)));
      store->port = static_cast<int>(port);
      continue;
    }
    const std::string key(Trim(part.substr(0, equals)));
    std::string value = part.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')  // Feast reads JSON
      value = value.substr(1, value.size() - 2);
    int64_t number = 0;
    if (key == "db") {
      if (!ParseNumber(value, 0, 1'000'000, &number)) return place.ErrorHere("db is no number");
      store->database = value;
    } else if (key == "password") {
      store->password = Secret(std::move(value));
    } else if (key == "username") {
      store->user = value;
    } else if (key == "socket_timeout" || key == "socket_connect_timeout") {
      if (!ParseNumber(value, 1, 86'400, &number))
        return place.ErrorHere(Concat(key, " is no number of seconds"));
      store->socket_timeout_seconds = static_cast<double>(number);
    } else if (key == "ssl" && !IsTrue(value)) {
      continue;
    } else if (key == "ssl") {
      return WithLocation(
          MakeError(
              ErrorKind::kUnsupported,
              "online_store.connection_string: this build speaks no TLS with Redis (ssl=true)", {},
              "end TLS beside Gnomon (stunnel, an Envoy or ghostunnel sidecar) and name "
              "that as host:port without ssl"),
          place.location());
    } else if (!key.starts_with("skip_full_coverage_check")) {
      return place.ErrorHere(
          Concat("has an unknown parameter ", Quoted(key)),
          DidYouMean(key, std::vector<std::string>{"db", "password", "username", "ssl",
                                                   "socket_timeout", "socket_connect_timeout"}));
    }
  }
  return hosts == 1 ? Status::OK()
                    : place.ErrorHere("names no server", "connection_string: host:port,key=value");
}

Status ReadRedis(const ConfigNode& node, OnlineStore* store) {
  store->host = "localhost";
  store->port = 6379;
  if (!node.is_mapping()) return Status::OK();
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      WithShared({"redis_type", "connection_string", "host", "port", "database", "user", "password",
                  "password_file", "key_ttl_seconds", "max_conn"}),
      {"client", "full_scan_for_deletion", "skip_dedup", "sentinel_master"}));
  GNOMON_RETURN_NOT_OK(ReadConnectionString(node, store));
  GNOMON_RETURN_NOT_OK(ReadText(node, "host", &store->host));
  GNOMON_RETURN_NOT_OK(ReadText(node, "user", &store->user));
  int64_t database = 0;
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "database", 0, 1'000'000, &database));
  if (node.Has("database")) store->database = Concat(database);
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "port", 1, 65'535, &store->port));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "max_conn", 1, 10'000, &store->max_connections));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "key_ttl_seconds", 1, int64_t{100} * 366 * 86'400,
                                   &store->key_ttl_seconds));
  return ReadPassword(node, &store->password);
}

}  // namespace

std::string UnsupportedOnlineStore(const ConfigNode& node, const std::string& type) {
  if (type != "sqlite" && type != "redis" && type != "postgres")
    return Concat("online_store type ", Quoted(type));
  const ConfigNode redis = node.Get("redis_type");
  if (type != "redis" || redis.is_null()) return {};
  const auto kind = redis.AsString();
  if (!kind.ok() || *kind == "redis") return {};
  return Concat("redis_type ", Quoted(*kind));
}

Status ReadOnlineStoreKeys(const ConfigNode& node, OnlineStore* store) {
  if (store->type == "redis") {
    GNOMON_RETURN_NOT_OK(ReadRedis(node, store));
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
