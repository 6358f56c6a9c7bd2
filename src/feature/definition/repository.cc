#include "feature/definition/repository.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <utility>
#include <vector>

#include "base/log.h"
#include "feature/definition/offline_store_config_internal.h"
#include "feature/definition/online_store_config_internal.h"
#include "feature/definition/s3_config_internal.h"
#include "feature/definition/store_keys_internal.h"

namespace gnomon::feature {

namespace {

constexpr std::string_view kModule = "feature";

// Keys of Feast's Ray store and engine that change nothing here: what they tune does not exist.
const std::vector<std::string> kRayKeysWithoutEffect = {"enable_distributed_joins",
                                                        "enable_ray_logging",
                                                        "ray_conf",
                                                        "cluster_name",
                                                        "auth_token",
                                                        "kuberay_conf",
                                                        "num_gpus",
                                                        "gpu_batch_format",
                                                        "worker_task_options",
                                                        "staging_location",
                                                        "write_concurrency"};

// What a repository asks for and this build lacks. All of it is told at once, so that a user learns
// in one run what to change.
struct Missing {
  std::vector<std::string> things;
  std::vector<std::string> hints;
  Location location;

  void Add(std::string thing, std::string hint, const ConfigNode& place) {
    if (things.empty()) location = place.location();
    things.push_back(std::move(thing));
    if (std::ranges::find(hints, hint) == hints.end()) hints.push_back(std::move(hint));
  }

  Status ToStatus() const {
    if (things.empty()) return Status::OK();
    return MakeError(ErrorKind::kUnsupported,
                     Concat("not supported by this build: ", Join(things, "; ")), location,
                     Join(hints, "; "));
  }
};

std::string Absolute(const std::string& folder, const std::string& path) {
  if (path.find("://") != std::string::npos) return path;
  return (std::filesystem::path(folder) / path).lexically_normal().string();
}

// The scheme of "s3://bucket/x"; empty for a path. Never more of the text: it may hold a password.
std::string SchemeOf(const std::string& path) {
  const size_t end = path.find("://");
  return end == std::string::npos ? std::string() : path.substr(0, end);
}

// `key` of a section, or the whole section where it is a lone word ("online_store: sqlite").
Result<std::string> TypeOf(const ConfigNode& section, std::string_view key,
                           const std::string& fallback) {
  if (section.is_null()) return fallback;
  if (section.is_scalar()) return section.AsString();
  if (!section.is_mapping()) return section.ErrorHere("expected a mapping of keys");
  const ConfigNode type = section.Get(key);
  return type.is_null() ? Result<std::string>(fallback) : type.AsString();
}

Status ReadBool(const ConfigNode& section, std::string_view key, bool* value) {
  const ConfigNode member = section.Get(key);
  if (member.is_null()) return Status::OK();
  return member.AsBool().Value(value);
}

// A window such as 1H; elsewhere a plain number is seconds, here nobody would know.
Status ReadWindow(const ConfigNode& section, std::string_view key, int64_t* value) {
  const ConfigNode member = section.Get(key);
  if (member.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(*value, member.AsDuration());
  GNOMON_ASSIGN_OR_RETURN(const std::string text, member.AsString());
  if (text.find_first_not_of("0123456789.eE+-") == std::string::npos) {
    return member.ErrorHere(Concat("a duration without a unit: ", Quoted(text)),
                            "write it like '1H', '30min' or '15s'");
  }
  if (*value <= 0) return member.ErrorHere("must be longer than zero");
  return Status::OK();
}

Status ReadProject(const ConfigNode& root, RepositoryConfig* config) {
  const ConfigNode node = root.Get("project");
  if (node.is_null())
    return root.ErrorHere("project is missing", "add a line as: project: my_project");
  GNOMON_ASSIGN_OR_RETURN(config->project, node.AsString());
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  const std::string& name = config->project;
  if (name.empty() || !std::ranges::all_of(name, is_word) || name[0] == '_' || name[0] == '-') {
    return node.ErrorHere(Concat(
        "a project name has letters, digits, '_' and '-' and begins with a letter or digit, not ",
        Quoted(name)));
  }
  return Status::OK();
}

// The file of sqlite:///FILE is below the repository, too.
Status ResolveDatabase(const std::string& folder, const ConfigNode& place, std::string* url) {
  constexpr std::string_view kSqlite = "sqlite:///";
  if (!url->starts_with("sqlite:")) return Status::OK();
  const std::string file = url->starts_with(kSqlite) ? url->substr(kSqlite.size()) : std::string();
  if (file.empty()) return place.ErrorHere("a SQLite registry has a file", "path: sqlite:///FILE");
  *url = Concat(kSqlite, Absolute(folder, file));
  return Status::OK();
}

Status ReadRegistry(const ConfigNode& node, RepositoryConfig* config, Missing* missing) {
  auto& registry = config->registry;
  if (node.is_scalar()) {
    GNOMON_ASSIGN_OR_RETURN(registry.path, node.AsString());
    if (registry.path.empty()) return node.ErrorHere("is empty");
  } else if (!node.is_null()) {
    GNOMON_ASSIGN_OR_RETURN(registry.type, TypeOf(node, "registry_type", registry.type));
    GNOMON_RETURN_NOT_OK(node.CheckKeys(
        {"registry_type", "path", "cache_ttl_seconds", "registry_store_type"},
        {"cache_mode", "s3_additional_kwargs", "purge_feast_metadata",
         "enable_online_feature_view_versioning", "serve_features_while_materializing", "mcp",
         "read_path", "sqlalchemy_config_kwargs", "thread_pool_executor_worker_count",
         "schema_mode"}));
    GNOMON_RETURN_NOT_OK(ReadText(node, "path", &registry.path));
    int64_t seconds = registry.cache_ttl / 1'000'000;
    constexpr int64_t kCentury = 100 * int64_t{366} * 86'400;
    GNOMON_RETURN_NOT_OK(ReadInteger(node, "cache_ttl_seconds", int64_t{0}, kCentury, &seconds));
    registry.cache_ttl = seconds * 1'000'000;
    std::string store_type;
    GNOMON_RETURN_NOT_OK(ReadText(node, "registry_store_type", &store_type));
    if (!store_type.empty()) {
      missing->Add(Concat("registry_store_type ", Quoted(store_type)), "registry_type: file",
                   node.Get("registry_store_type"));
    }
  }
  const ConfigNode place = node.Has("registry_type") ? node.Get("registry_type") : node;
  const std::string scheme = SchemeOf(registry.path);
  const std::string database = scheme.substr(0, scheme.find('+'));
  const bool is_database =
      database == "sqlite" || database == "postgresql" || database == "postgres";
  if (registry.type == "sql") {
    if (!is_database) {
      missing->Add(scheme.empty() ? std::string("registry_type 'sql' without a URL")
                                  : Concat("a registry at ", scheme, "://"),
                   "path: sqlite:///FILE or postgresql://...", place);
    }
    return ResolveDatabase(config->folder, place, &registry.path);
  }
  if (registry.type != "file") {
    missing->Add(Concat("registry_type ", Quoted(registry.type)), "registry_type: file or sql",
                 place);
  } else if (is_database) {
    return place.ErrorHere("a registry in a database", "add: registry_type: sql");
  } else if (!scheme.empty()) {
    missing->Add(Concat("a registry at ", scheme, "://"), "registry: a path of this machine",
                 place);
  }
  registry.path = Absolute(config->folder, registry.path);
  return Status::OK();
}

Status ReadOnlineStore(const ConfigNode& node, RepositoryConfig* config, Missing* missing) {
  auto& store = config->online_store;
  GNOMON_ASSIGN_OR_RETURN(store.type, TypeOf(node, "type", store.type));
  const std::string refused = UnsupportedOnlineStore(node, store.type);
  if (!refused.empty()) {
    missing->Add(refused, "online_store type: sqlite, redis or postgres",
                 node.Has("type") ? node.Get("type") : node);
    return Status::OK();
  }
  GNOMON_RETURN_NOT_OK(ReadOnlineStoreKeys(node, &store));
  if (const std::string scheme = SchemeOf(store.path); !scheme.empty()) {
    return node.Get("path").ErrorHere("a SQLite file has a plain path");
  }
  store.path = Absolute(config->folder, store.path);
  return Status::OK();
}

// Settings that the engine shares with Feast's Ray offline store; the engine's own win.
Status ReadJoinSettings(const ConfigNode& node, RepositoryConfig::BatchEngine* engine) {
  constexpr int64_t kMaxMegabytes = int64_t{1} << 40;
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "broadcast_join_threshold_mb", int64_t{0}, kMaxMegabytes,
                                   &engine->broadcast_join_threshold_mb));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "max_parallelism_multiplier", 1, 1'000'000,
                                   &engine->max_parallelism_multiplier));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "target_partition_size_mb", int64_t{1}, kMaxMegabytes,
                                   &engine->target_partition_size_mb));
  return ReadWindow(node, "window_size_for_joins", &engine->window_size_for_joins);
}

// Whether a Ray cluster is asked for; the engine inherits from the offline store.
struct Cluster {
  std::string address;
  bool use = false;
  ConfigNode place;

  Status Read(const ConfigNode& node) {
    const std::string before = address;
    GNOMON_RETURN_NOT_OK(ReadText(node, "ray_address", &address));
    const ConfigNode nested = node.Get("ray_cluster");
    if (!nested.is_null()) {
      if (!nested.is_mapping()) return nested.ErrorHere("expected a mapping with the key address");
      GNOMON_RETURN_NOT_OK(nested.CheckKeys({"address"}));
      GNOMON_RETURN_NOT_OK(ReadText(nested, "address", &address));
    }
    if (address != before) place = nested.is_null() ? node.Get("ray_address") : nested;
    for (const std::string_view key : {"use_ray_cluster", "use_kuberay"}) {
      bool here = false;
      GNOMON_RETURN_NOT_OK(ReadBool(node, key, &here));
      use = use || here;
      if (here) place = node.Get(key);
    }
    return Status::OK();
  }
};

Status ReadOfflineStore(const ConfigNode& node, RepositoryConfig* config, Cluster* cluster,
                        Missing* missing) {
  auto& store = config->offline_store;
  GNOMON_ASSIGN_OR_RETURN(store.type, TypeOf(node, "type", store.type));
  if (store.type == "file" || store.type == "dask" || store.type == "duckdb") {
    if (node.is_scalar()) return Status::OK();
    return node.CheckKeys({"type"}, {"staging_location", "staging_location_endpoint_override"});
  }
  if (store.type == "sqlite" || store.type == "postgres") {
    if (node.is_scalar()) return Status::OK();
    GNOMON_RETURN_NOT_OK(ReadDatabaseStoreKeys(node, &store));
    if (!store.path.empty()) store.path = Absolute(config->folder, store.path);
    return Status::OK();
  }
  if (store.type != "ray") {
    missing->Add(Concat("offline_store type ", Quoted(store.type)),
                 "offline_store type: file, dask, duckdb, ray, postgres or sqlite",
                 node.Has("type") ? node.Get("type") : node);
    return Status::OK();
  }
  if (node.is_scalar()) return Status::OK();
  GNOMON_RETURN_NOT_OK(
      node.CheckKeys({"type", "storage_path", "ray_address", "use_ray_cluster", "use_kuberay",
                      "broadcast_join_threshold_mb", "max_parallelism_multiplier",
                      "target_partition_size_mb", "window_size_for_joins"},
                     kRayKeysWithoutEffect));
  GNOMON_RETURN_NOT_OK(ReadText(node, "storage_path", &store.storage_path));
  if (!store.storage_path.empty())
    store.storage_path = Absolute(config->folder, store.storage_path);
  GNOMON_RETURN_NOT_OK(ReadJoinSettings(node, &config->batch_engine));
  return cluster->Read(node);
}

Status ReadBatchEngine(const ConfigNode& node, RepositoryConfig* config, Cluster* cluster,
                       Missing* missing) {
  auto& engine = config->batch_engine;
  GNOMON_ASSIGN_OR_RETURN(engine.type, TypeOf(node, "type", engine.type));
  if (engine.type != "local" && engine.type != "ray.engine" &&
      engine.type != "ray.RayMaterializationEngine") {
    missing->Add(Concat("batch_engine type ", Quoted(engine.type)),
                 "batch_engine type: local, ray.engine or ray.RayMaterializationEngine",
                 node.Has("type") ? node.Get("type") : node);
    return Status::OK();
  }
  if (node.is_scalar()) return Status::OK();
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      {"type", "isolation", "max_workers", "enable_optimization", "broadcast_join_threshold_mb",
       "max_parallelism_multiplier", "target_partition_size_mb", "window_size_for_joins",
       "ray_address", "use_ray_cluster", "use_kuberay", "ray_cluster"},
      kRayKeysWithoutEffect));
  GNOMON_RETURN_NOT_OK(ReadText(node, "isolation", &engine.isolation));
  if (engine.isolation != "thread" && engine.isolation != "process")
    return node.Get("isolation").ErrorHere("isolation: thread or process");
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "max_workers", 0, 1'000'000, &engine.max_workers));
  GNOMON_RETURN_NOT_OK(ReadBool(node, "enable_optimization", &engine.enable_optimization));
  GNOMON_RETURN_NOT_OK(ReadJoinSettings(node, &engine));
  return cluster->Read(node);
}

Status ReadFeatureServer(const ConfigNode& node, RepositoryConfig* config) {
  auto& server = config->feature_server;
  if (node.is_null()) return Status::OK();
  if (!node.is_mapping()) return node.ErrorHere("expected a mapping of keys");
  GNOMON_RETURN_NOT_OK(node.CheckKeys(
      {"host", "port", "metrics_port"},
      {"type", "enabled", "metrics", "feature_logging", "audit_logging",
       "offline_push_batching_enabled", "offline_push_batching_batch_size",
       "offline_push_batching_batch_interval_seconds", "transformation_service_endpoint"}));
  GNOMON_RETURN_NOT_OK(ReadText(node, "host", &server.host));
  GNOMON_RETURN_NOT_OK(ReadInteger(node, "port", 0, 65'535, &server.port));
  return ReadInteger(node, "metrics_port", 0, 65'535, &server.metrics_port);
}

Status ReadMaterialization(const ConfigNode& node, RepositoryConfig* config) {
  if (node.is_null()) return Status::OK();
  if (!node.is_mapping()) return node.ErrorHere("expected a mapping of keys");
  GNOMON_RETURN_NOT_OK(node.CheckKeys({"online_write_batch_size"}, {"pull_latest_features"}));
  return ReadInteger(node, "online_write_batch_size", int64_t{1}, int64_t{1'000'000'000},
                     &config->rows_per_commit);
}

Status ReadPlugins(const ConfigNode& node, RepositoryConfig* config) {
  if (node.is_null()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const auto paths, node.AsStringList());
  for (const std::string& path : paths) {
    if (path.empty()) return node.ErrorHere("a plug-in library has no path");
    if (!SchemeOf(path).empty()) return node.ErrorHere("a plug-in library has a plain path");
    config->plugins.push_back(Absolute(config->folder, path));
  }
  return Status::OK();
}

Status ReadFolders(const ConfigNode& root, RepositoryConfig* config) {
  const ConfigNode tracking = root.Get("tracking");
  if (!tracking.is_null() && !tracking.is_mapping()) {
    return tracking.ErrorHere("expected a mapping of keys");
  }
  GNOMON_RETURN_NOT_OK(tracking.CheckKeys({"path"}));
  GNOMON_RETURN_NOT_OK(ReadText(tracking, "path", &config->tracking.path));
  GNOMON_RETURN_NOT_OK(ReadText(root, "models", &config->models));
  GNOMON_RETURN_NOT_OK(ReadPlugins(root.Get("plugins"), config));
  config->tracking.path = Absolute(config->folder, config->tracking.path);
  config->models = Absolute(config->folder, config->models);
  return Status::OK();
}

// A server that drops an access rule without a word would be worse than none.
Status CheckAuth(const ConfigNode& node, Missing* missing) {
  GNOMON_ASSIGN_OR_RETURN(const std::string type, TypeOf(node, "type", "no_auth"));
  if (type != "no_auth")
    missing->Add(Concat("auth type ", Quoted(type)), "auth type: no_auth", node);
  return Status::OK();
}

void CheckCluster(const Cluster& cluster, Missing* missing) {
  if (cluster.use) {
    missing->Add(cluster.address.empty() ? "a Ray cluster"
                                         : Concat("the Ray cluster ", Quoted(cluster.address)),
                 "use_ray_cluster: false runs the engine in this process", cluster.place);
  } else if (!cluster.address.empty()) {
    LogWarning(kModule,
               "the Ray address has no effect without use_ray_cluster: true; the engine runs in "
               "this process",
               {{"address", cluster.address}, {"at", cluster.place.location().ToString()}});
  }
}

}  // namespace

Result<RepositoryConfig> ParseRepositoryConfig(const ConfigNode& root, const std::string& folder) {
  if (!root.is_mapping()) {
    return root.ErrorHere("expected a mapping of keys", "add a line as: project: my_project");
  }
  GNOMON_RETURN_NOT_OK(
      root.CheckKeys({"project", "provider", "registry", "online_store", "offline_store",
                      "batch_engine", "auth", "feature_server", "tracking", "models", "plugins",
                      "s3", "materialization", "entity_key_serialization_version", "memory_limit"},
                     {"project_description", "embedding_model", "flags", "coerce_tz_aware",
                      "openlineage", "mlflow", "data_quality_monitoring"}));
  RepositoryConfig config;
  config.folder =
      std::filesystem::absolute(folder.empty() ? "." : folder).lexically_normal().string();
  if (config.folder.size() > 1 && config.folder.ends_with('/')) config.folder.pop_back();
  Missing missing;
  Cluster cluster;
  GNOMON_RETURN_NOT_OK(ReadProject(root, &config));
  GNOMON_RETURN_NOT_OK(ReadText(root, "provider", &config.provider));
  if (config.provider != "local") {
    missing.Add(Concat("provider ", Quoted(config.provider)), "provider: local",
                root.Get("provider"));
  }
  GNOMON_RETURN_NOT_OK(ReadRegistry(root.Get("registry"), &config, &missing));
  GNOMON_RETURN_NOT_OK(ReadOnlineStore(root.Get("online_store"), &config, &missing));
  GNOMON_RETURN_NOT_OK(ReadOfflineStore(root.Get("offline_store"), &config, &cluster, &missing));
  GNOMON_RETURN_NOT_OK(ReadBatchEngine(root.Get("batch_engine"), &config, &cluster, &missing));
  GNOMON_RETURN_NOT_OK(CheckAuth(root.Get("auth"), &missing));
  GNOMON_RETURN_NOT_OK(ReadFeatureServer(root.Get("feature_server"), &config));
  GNOMON_RETURN_NOT_OK(ReadFolders(root, &config));
  GNOMON_RETURN_NOT_OK(ReadS3(root.Get("s3"), &config.s3));
  GNOMON_RETURN_NOT_OK(ReadInteger(root, "entity_key_serialization_version", 2, 3,
                                   &config.entity_key_serialization_version));
  config.online_store.entity_key_version = config.entity_key_serialization_version;
  GNOMON_RETURN_NOT_OK(ReadMaterialization(root.Get("materialization"), &config));
  if (const ConfigNode limit = root.Get("memory_limit"); !limit.is_null()) {
    GNOMON_ASSIGN_OR_RETURN(config.memory_limit, limit.AsBytes());
    if (config.memory_limit < 0) return limit.ErrorHere("must not be negative");
  }
  CheckCluster(cluster, &missing);
  GNOMON_RETURN_NOT_OK(missing.ToStatus());
  return config;
}

}  // namespace gnomon::feature
