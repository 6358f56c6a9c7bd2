#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "feature/definition/definition.h"

namespace gnomon::feature {

/// feature_store.yaml: the documents' keys and Feast's own.
struct RepositoryConfig {
  std::string folder;  ///< absolute; relative paths of the file are below it
  std::string project;
  std::string provider = "local";
  struct Registry {
    std::string type = "file";
    /// Absolute after loading; of type sql a URL, whose password is never shown.
    std::string path = "data/registry.db";
    int64_t cache_ttl = 600 * int64_t{1'000'000};
  } registry;
  struct OnlineStore {
    std::string type = "sqlite";                ///< sqlite, redis, postgres
    std::string path = "data/online_store.db";  ///< sqlite's, absolute after loading
    /// packed, feast; empty: what is there decides, packed for new tables.
    std::string layout = {};
    int entity_key_version = 3;  ///< entity_key_serialization_version, for layout feast
    /// Serve values that are older than their view's ttl, as Feast does.
    bool serve_expired = false;
    /// What the counted values of one lifetime aggregate of one entity may take.
    int64_t value_counts_mb = 16;
    /// What this process may keep of the rows that it read (feature/online/cached_store.h); 0:
    /// nothing.
    int64_t cache_size_mb = 0;
    int64_t cache_ttl = 10'000'000;  ///< microseconds until another process's write is seen
    // Of servers. Redis: Feast's connection_string fills these in.
    std::string host = {};  ///< redis: also the path of a unix socket
    int port = 0;           ///< 0: the server's usual one
    std::string database = {};
    std::string user = {};
    Secret password = {};
    int max_connections = 10;
    // PostgreSQL's.
    std::string db_schema = "public";
    /// libpq's; of Redis: "" (no TLS), require (nothing is checked), verify-ca, verify-full.
    std::string sslmode = {};
    std::string sslrootcert = {};
    std::string sslcert = {};
    std::string sslkey = {};
    // Redis'.
    std::string redis_type = "redis";  ///< redis, redis_cluster
    /// Servers of a cluster, by which the others are found: (host, port).
    std::vector<std::pair<std::string, int>> servers = {};
    int64_t key_ttl_seconds = 0;  ///< 0: keys stay
    double socket_timeout_seconds = 10;
  } online_store;
  struct OfflineStore {
    /// file, dask, duckdb (all of them files), ray (the same, with storage_path), postgres, sqlite.
    /// Where a source is read is said by the source's own type.
    std::string type = "file";
    std::string storage_path = {};
    std::string path = {};  ///< sqlite's database
    // PostgreSQL's; what is empty comes from PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE ...
    std::string host = {};
    int port = 0;
    std::string database = {};
    std::string user = {};
    Secret password = {};
    std::string db_schema = {};
    std::string sslmode = {};
    std::string sslrootcert = {};
    std::string sslcert = {};
    std::string sslkey = {};
    int max_connections = 4;  ///< that read a table side by side
  } offline_store;
  /// batch_engine of the documents; embedded defaults. Sizes are MB = 2^20 bytes as in Feast.
  struct BatchEngine {
    std::string type = "local";
    /// thread: retrieval in this process; process: as stages in max_workers worker processes.
    std::string isolation = "thread";
    int max_workers = 0;  ///< 0: CPUs
    bool enable_optimization = true;
    int64_t broadcast_join_threshold_mb = 100;
    int max_parallelism_multiplier = 2;
    int64_t target_partition_size_mb = 64;
    int64_t window_size_for_joins = 3600 * int64_t{1'000'000};
  } batch_engine;
  struct FeatureServer {
    std::string host = "127.0.0.1";
    int port = 6566;
    int metrics_port = 0;  ///< 0: /metrics on the same port only
  } feature_server;
  /// How s3:// paths are reached; what is empty is taken from the environment (docs/guide/s3.md).
  struct S3 {
    std::string endpoint_url = {};
    std::string scheme = {};
    std::string region = {};
    std::string access_key_id = {};
    Secret secret_access_key = {};
    Secret session_token = {};
    std::optional<bool> path_style = {};
    bool anonymous = false;
    std::string ca_file = {};  ///< relative to the repository folder
  } s3;
  struct Tracking {
    std::string path = "data/runs";  ///< the local run store's folder, absolute after loading
  } tracking;
  std::vector<std::string> plugins;  ///< libraries, absolute after loading
  std::string models = "models";     ///< the model repository's folder, absolute after loading
  int entity_key_serialization_version = 3;
  /// materialization.online_write_batch_size: entity rows that become visible together.
  int64_t rows_per_commit = 1'000'000;
  int64_t memory_limit = 0;  ///< bytes; 0: 60 % of the machine's or cgroup's memory
};

/// Parses feature_store.yaml. `folder` is the repository. Unknown keys are kUser with file, line
/// and nearest key; keys of Feast that have no effect here are logged as warnings; a store,
/// registry or engine type that Gnomon lacks is kUnsupported and names it and those that exist.
Result<RepositoryConfig> ParseRepositoryConfig(const ConfigNode& root, const std::string& folder);

/// Finds and loads `feature_store.yaml` in `folder` (or the file `yaml_path`). kNotFound says how
/// to make one.
Result<RepositoryConfig> LoadRepositoryConfig(const std::string& folder,
                                              const std::string& yaml_path = "");

/// Parses one features file (keys: entities, data_sources, feature_views, on_demand_feature_views,
/// feature_services). `extensions`: what the repository's plug-ins add; may be null.
Result<Definitions> ParseDefinitions(const ConfigNode& root,
                                     const std::shared_ptr<const Extensions>& extensions = nullptr);

/// Loads features.yaml, or all of features/*.yaml in name order, joins and validates them
/// (Validate).
Result<Definitions> LoadDefinitions(const std::string& folder,
                                    const std::shared_ptr<const Extensions>& extensions = nullptr);

}  // namespace gnomon::feature
