#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

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
    std::string path = "data/registry.db";  ///< absolute after loading
    int64_t cache_ttl = 600 * int64_t{1'000'000};
  } registry;
  struct OnlineStore {
    std::string type = "sqlite";
    std::string path = "data/online_store.db";  ///< absolute after loading
    /// What the counted values of one lifetime aggregate of one entity may take.
    int64_t value_counts_mb = 16;
  } online_store;
  struct OfflineStore {
    std::string type =
        "file";  ///< file, dask, duckdb (file sources), ray (the same, with storage_path)
    std::string storage_path;
  } offline_store;
  /// batch_engine of the documents; embedded defaults. Sizes are MB = 2^20 bytes as in Feast.
  struct BatchEngine {
    std::string type = "local";
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
  struct Tracking {
    std::string path = "data/runs";  ///< the local run store's folder, absolute after loading
  } tracking;
  std::vector<std::string> plugins;  ///< libraries, absolute after loading
  std::string models = "models";     ///< the model repository's folder, absolute after loading
  int entity_key_serialization_version = 3;
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
