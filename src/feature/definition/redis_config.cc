#include <algorithm>
#include <charconv>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "feature/definition/redis_config_internal.h"
#include "feature/definition/store_keys_internal.h"

namespace gnomon::feature {
namespace {

using OnlineStore = RepositoryConfig::OnlineStore;

constexpr int kPort = 6379;
/// redis-py's words for TLS, in connection_string and as keys of online_store.
const std::vector<std::string> kTlsKeys = {"ssl",         "ssl_ca_certs",  "ssl_certfile",
                                           "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"};

bool ParseNumber(std::string_view text, int64_t least, int64_t greatest, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value >= least &&
         *value <= greatest;
}

/// What was said about TLS; becomes sslmode when everything was read.
struct Tls {
  bool is_on = false;
  bool verify = true;
  bool check_host = true;
};

/// "true" and "1", which redis-py takes as they come.
Status ReadFlag(const ConfigNode& place, std::string_view key, std::string_view text, bool* value) {
  const std::string lower = ToLower(text);
  if (lower == "true" || lower == "1") {
    *value = true;
  } else if (lower == "false" || lower == "0") {
    *value = false;
  } else {
    return place.ErrorHere(Concat(key, " is neither true nor false"));
  }
  return Status::OK();
}

Status ReadTlsKey(const ConfigNode& place, std::string_view key, std::string value, Tls* tls,
                  OnlineStore* store) {
  if (key == "ssl") return ReadFlag(place, key, value, &tls->is_on);
  if (key == "ssl_check_hostname") return ReadFlag(place, key, value, &tls->check_host);
  if (key == "ssl_cert_reqs") {
    // A client's "optional" is Python's "required": a server always has a certificate.
    const std::vector<std::string> known = {"required", "optional", "none"};
    if (std::ranges::find(known, value) == known.end())
      return place.ErrorHere("ssl_cert_reqs is unknown", "one of: required, optional, none");
    tls->verify = value != "none";
    return Status::OK();
  }
  std::string& file = key == "ssl_ca_certs"   ? store->sslrootcert
                      : key == "ssl_certfile" ? store->sslcert
                                              : store->sslkey;
  file = std::move(value);
  return Status::OK();
}

Status ReadParameter(const ConfigNode& place, const std::string& key, std::string value, Tls* tls,
                     OnlineStore* store) {
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
  } else if (std::ranges::find(kTlsKeys, key) != kTlsKeys.end()) {
    return ReadTlsKey(place, key, std::move(value), tls, store);
  } else if (!key.starts_with("skip_full_coverage_check")) {
    std::vector<std::string> known = {"db", "password", "username", "socket_timeout",
                                      "socket_connect_timeout"};
    known.insert(known.end(), kTlsKeys.begin(), kTlsKeys.end());
    return place.ErrorHere(Concat("has an unknown parameter ", Quoted(key)),
                           DidYouMean(key, known));
  }
  return Status::OK();
}

/// Feast's "host:port,key=value,...".
Status ReadConnectionString(const ConfigNode& node, Tls* tls, OnlineStore* store) {
  const ConfigNode place = node.Get("connection_string");
  if (place.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const std::string text, place.AsString());
  store->servers.clear();
  for (const std::string& part : Split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos) {
      const size_t colon = part.rfind(':');
      int64_t port = kPort;
      if (colon != std::string::npos && !ParseNumber(part.substr(colon + 1), 1, 65'535, &port))
        return place.ErrorHere("has no port number", "connection_string: host:port,key=value");
      store->servers.emplace_back(Trim(part.substr(0, colon)), static_cast<int>(port));
      continue;
    }
    std::string value = part.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')  // Feast reads JSON
      value = value.substr(1, value.size() - 2);
    GNOMON_RETURN_NOT_OK(ReadParameter(place, std::string(Trim(part.substr(0, equals))),
                                       std::move(value), tls, store));
  }
  if (store->servers.empty())
    return place.ErrorHere("names no server", "connection_string: host:port,key=value");
  return Status::OK();
}

Status ReadTls(const ConfigNode& node, Tls* tls, OnlineStore* store) {
  for (const std::string& key : kTlsKeys) {
    const ConfigNode member = node.Get(key);
    if (member.is_null()) continue;
    GNOMON_ASSIGN_OR_RETURN(std::string value, member.AsString());
    GNOMON_RETURN_NOT_OK(ReadTlsKey(member, key, std::move(value), tls, store));
  }
  if (tls->is_on)
    store->sslmode = !tls->verify ? "require" : tls->check_host ? "verify-full" : "verify-ca";
  return Status::OK();
}

/// Where the server is, or some of the cluster's: `host` and `port` are of one.
Status ReadServers(const ConfigNode& node, OnlineStore* store) {
  const bool is_cluster = store->redis_type == "redis_cluster";
  if (!is_cluster && store->servers.size() > 1) {
    return node.Get("connection_string")
        .ErrorHere("names several servers, which a cluster has", "add: redis_type: redis_cluster");
  }
  std::tie(store->host, store->port) = store->servers.front();
  GNOMON_RETURN_NOT_OK(ReadText(node, "host", &store->host));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "port", 1, 65'535, &store->port));
  if (!is_cluster) {
    store->servers.clear();
  } else if (node.Has("host") || node.Has("port")) {
    store->servers = {{store->host, store->port}};
  }
  return Status::OK();
}

Status ReadDatabase(const ConfigNode& node, OnlineStore* store) {
  int64_t database = 0;
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "database", 0, 1'000'000, &database));
  if (node.Has("database")) store->database = Concat(database);
  if (store->redis_type != "redis_cluster") return Status::OK();
  if (!store->database.empty() && store->database != "0")
    return node.ErrorHere("a Redis cluster has no databases", "leave db out");
  store->database.clear();
  return Status::OK();
}

}  // namespace

Status ReadRedis(const ConfigNode& node, const std::vector<std::string>& shared,
                 OnlineStore* store) {
  store->servers = {{"localhost", kPort}};
  if (!node.is_mapping()) return ReadServers(node, store);
  std::vector<std::string> known = {
      "redis_type", "connection_string", "host",          "port",     "database",
      "user",       "password",          "password_file", "max_conn", "key_ttl_seconds"};
  known.insert(known.end(), shared.begin(), shared.end());
  known.insert(known.end(), kTlsKeys.begin(), kTlsKeys.end());
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys(known, {"client", "full_scan_for_deletion", "skip_dedup", "sentinel_master"}));
  GNOMON_RETURN_NOT_OK(ReadText(node, "redis_type", &store->redis_type));
  Tls tls;
  GNOMON_RETURN_NOT_OK(ReadConnectionString(node, &tls, store));
  GNOMON_RETURN_NOT_OK(ReadTls(node, &tls, store));
  GNOMON_RETURN_NOT_OK(ReadServers(node, store));
  GNOMON_RETURN_NOT_OK(ReadDatabase(node, store));
  GNOMON_RETURN_NOT_OK(ReadText(node, "user", &store->user));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "max_conn", 1, 10'000, &store->max_connections));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "key_ttl_seconds", 1, int64_t{100} * 366 * 86'400,
                                   &store->key_ttl_seconds));
  return ReadPassword(node, &store->password);
}

}  // namespace gnomon::feature
