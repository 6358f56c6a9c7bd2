#include "feature/definition/repository.h"

#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "feature/definition/loaded_definitions.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

Result<RepositoryConfig> Parse(const std::string& yaml) {
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode root, ParseConfig(yaml, "feature_store.yaml"));
  return ParseRepositoryConfig(root, "/repo");
}

// The complete example of Feast's Ray engine page, apart from the cluster switches.
std::string RayExample(const std::string& use_ray_cluster) {
  return Concat(R"(
project: my_feast_project
registry: data/registry.db
provider: local
offline_store:
    type: ray
    storage_path: s3://my-bucket/feast-data
    ray_address: localhost:10001
    use_ray_cluster: )",
                use_ray_cluster, R"(
batch_engine:
    type: ray.engine
    max_workers: 8
    max_parallelism_multiplier: 2
    enable_optimization: true
    broadcast_join_threshold_mb: 50
    target_partition_size_mb: 128
    window_size_for_joins: "30min"
    ray_address: localhost:10001
    use_ray_cluster: )",
                use_ray_cluster, R"(
online_store:
    type: sqlite
    path: data/online_store.db
feature_server:
    port: 6566
    metrics_port: 8888
)");
}

}  // namespace

TEST_CASE("a project name is all that a repository needs") {
  const auto config = ValueOf(Parse("project: p"));
  CHECK(config.project == "p");
  CHECK(config.folder == "/repo");
  CHECK(config.registry.path == "/repo/data/registry.db");
  CHECK(config.online_store.path == "/repo/data/online_store.db");
  CHECK(config.online_store.value_counts_mb == 16);
  CHECK(config.tracking.path == "/repo/data/runs");
  CHECK(config.models == "/repo/models");
  CHECK(config.entity_key_serialization_version == 3);
  CHECK(config.feature_server.port == 6566);
}

TEST_CASE("the complete Ray example runs embedded unless it asks for the cluster") {
  const auto config = ValueOf(Parse(RayExample("false")));
  CHECK(config.batch_engine.type == "ray.engine");
  CHECK(config.batch_engine.max_workers == 8);
  CHECK(config.batch_engine.broadcast_join_threshold_mb == 50);
  CHECK(config.batch_engine.target_partition_size_mb == 128);
  CHECK(config.batch_engine.window_size_for_joins == int64_t{1800} * 1'000'000);
  CHECK(config.offline_store.type == "ray");
  CHECK(config.offline_store.storage_path == "s3://my-bucket/feast-data");
  CHECK(config.feature_server.metrics_port == 8888);
  const auto error = test::ErrorOf(Parse(RayExample("true")));
  CHECK_ERROR(error, ErrorKind::kUnsupported, "the Ray cluster 'localhost:10001'");
  CHECK_ERROR(error, ErrorKind::kUnsupported, "use_ray_cluster: false");
  CHECK(LocationOf(error).line > 0);
}

TEST_CASE("Feast's window sizes are read, the engine's before the offline store's") {
  const auto window = [](const std::string& store, const std::string& engine) {
    return ValueOf(Parse(Concat("project: p\noffline_store: {type: ray, storage_path: x", store,
                                "}\nbatch_engine: {type: ray.engine", engine, "}")))
               .batch_engine.window_size_for_joins /
           1'000'000;
  };
  CHECK(window("", "") == 3600);
  CHECK(window(", window_size_for_joins: 15s", "") == 15);
  CHECK(window(", window_size_for_joins: 15s", ", window_size_for_joins: 2H") == 7200);
}

TEST_CASE("the sales document's offline store is PostgreSQL, and its password is not shown") {
  const auto config = ValueOf(Parse(R"(
project: sales_forecasting
offline_store:
  type: postgres
  host: postgres
  port: 5432
  database: feast
  user: feast
  password: feast-secret
  db_schema: features
  sslmode: verify-full
  sslrootcert_path: /etc/ca.pem
)"));
  const auto& store = config.offline_store;
  CHECK(store.type == "postgres");
  CHECK(store.host == "postgres");
  CHECK(store.port == 5432);
  CHECK(store.database == "feast");
  CHECK(store.user == "feast");
  CHECK(store.password.Reveal() == "feast-secret");
  CHECK(store.password.ToString() == "***");
  CHECK(store.db_schema == "features");
  CHECK(store.sslmode == "verify-full");
  CHECK(store.sslrootcert == "/etc/ca.pem");
  CHECK_ERROR(Parse("project: p\noffline_store: {type: postgres, sslmode: maybe}"),
              ErrorKind::kUser, "verify-full");
  CHECK_ERROR(Parse("project: p\noffline_store: {type: postgres, hosts: a}"), ErrorKind::kUser,
              "did you mean 'host'");
  const auto sqlite = ValueOf(Parse("project: p\noffline_store: {type: sqlite, path: a.db}"));
  CHECK(sqlite.offline_store.path.ends_with("/a.db"));
}

TEST_CASE("what a repository asks for and is not there is named in one error") {
  const auto error = test::ErrorOf(Parse(R"(
project: sales_forecasting
provider: local
registry:
  registry_type: sql
  path: mysql://feast:feast@postgres:5432/feast
offline_store:
  type: snowflake.offline
online_store:
  type: postgres
  host: postgres
batch_engine:
  type: ray.RayMaterializationEngine
  ray_cluster:
    address: ray://feast-ray-head-svc:10001
entity_key_serialization_version: 2
)"));
  CHECK_ERROR(error, ErrorKind::kUnsupported, "a registry at mysql://");
  CHECK_ERROR(error, ErrorKind::kUnsupported, "offline_store type 'snowflake.offline'");
  CHECK_ERROR(error, ErrorKind::kUnsupported, "feature_store.yaml:5");
  CHECK_ERROR(error, ErrorKind::kUnsupported, "file, dask, duckdb, ray, postgres or sqlite");
  CHECK(error.ToString().find("feast:feast") == std::string::npos);
}

TEST_CASE("an engine's address without use_ray_cluster stays in this process") {
  const auto config =
      ValueOf(Parse("project: p\nbatch_engine: {type: ray.RayMaterializationEngine, ray_cluster: "
                    "{address: 'ray://head:10001'}}"));
  CHECK(config.batch_engine.type == "ray.RayMaterializationEngine");
}

TEST_CASE("a registry is a path or a mapping") {
  CHECK(ValueOf(Parse("project: p\nregistry: r.db")).registry.path == "/repo/r.db");
  CHECK(ValueOf(Parse("project: p\nregistry: /abs/r.db")).registry.path == "/abs/r.db");
  const auto config = ValueOf(
      Parse("project: p\nregistry: {path: x/../r.db, cache_ttl_seconds: 5, cache_mode: sync}"));
  CHECK(config.registry.path == "/repo/r.db");
  CHECK(config.registry.cache_ttl == 5'000'000);
  CHECK_ERROR(Parse("project: p\nregistry: s3://u:secret@b/r.db"), ErrorKind::kUnsupported,
              "a registry at s3://");
  const auto sql = [](const std::string& path) {
    return Parse("project: p\nregistry: {registry_type: sql, path: '" + path + "'}");
  };
  CHECK(ValueOf(sql("sqlite:///data/r.db")).registry.path == "sqlite:////repo/data/r.db");
  CHECK(ValueOf(sql("sqlite:////abs/r.db")).registry.path == "sqlite:////abs/r.db");
  const std::string url = "postgresql+psycopg://u:secret@h/d";
  CHECK(ValueOf(sql(url)).registry.path == url);
  CHECK_ERROR(sql("r.db"), ErrorKind::kUnsupported, "without a URL");
  CHECK_ERROR(sql("sqlite://"), ErrorKind::kUser, "sqlite:///FILE");
  CHECK_ERROR(Parse("project: p\nregistry: " + url), ErrorKind::kUser, "registry_type: sql");
  CHECK_ERROR(Parse("project: p\nregistry: {pth: r.db}"), ErrorKind::kUser, "did you mean 'path'?");
}

TEST_CASE("materialization says how many rows are written together") {
  CHECK(ValueOf(Parse("project: p")).rows_per_commit == 1'000'000);
  CHECK(ValueOf(Parse("project: p\nmaterialization: {online_write_batch_size: 10}"))
            .rows_per_commit == 10);
  CHECK_ERROR(Parse("project: p\nmaterialization: {online_write_batch_size: 0}"), ErrorKind::kUser,
              "between 1");
  CHECK_ERROR(Parse("project: p\nmaterialization: {batch: 1}"), ErrorKind::kUser, "'batch'");
}

TEST_CASE("stores may be named by a lone word, and what is missing is named with what exists") {
  CHECK(
      ValueOf(Parse("project: p\nonline_store: sqlite\noffline_store: dask")).offline_store.type ==
      "dask");
  CHECK_ERROR(Parse("project: p\nonline_store: dynamodb"), ErrorKind::kUnsupported,
              "online_store type: sqlite");
  CHECK_ERROR(Parse("project: p\nbatch_engine: {type: spark.engine}"), ErrorKind::kUnsupported,
              "'spark.engine'");
  CHECK_ERROR(Parse("project: p\nprovider: gcp"), ErrorKind::kUnsupported, "provider 'gcp'");
  CHECK_ERROR(Parse("project: p\nauth: {type: oidc}"), ErrorKind::kUnsupported, "auth type 'oidc'");
  CHECK_OK(Parse("project: p\nauth: {type: no_auth}"));
  CHECK_OK(Parse("project: p\nbatch_engine: ray.engine\noffline_store: ray"));
  CHECK_ERROR(Parse("project: p\nbatch_engine: {type: ray.engine, use_kuberay: true}"),
              ErrorKind::kUnsupported, "a Ray cluster");
}

TEST_CASE("keys of Feast without effect are warnings, unknown keys are errors with the nearest") {
  CHECK_OK(
      Parse("project: p\ncoerce_tz_aware: true\nflags: {}\nmlflow: {enabled: false}\n"
            "feature_server: {type: local, metrics: {enabled: true}}\n"
            "batch_engine: {type: ray.engine, ray_conf: {a: 1}, num_gpus: 1}"));
  const auto error = test::ErrorOf(Parse("project: p\nonline_stor: {type: sqlite}"));
  CHECK_ERROR(error, ErrorKind::kUser, "did you mean 'online_store'?");
  CHECK(LocationOf(error).line == 2);
  CHECK_ERROR(Parse("project: p\nbatch_engine: {type: ray.engine, max_worker: 1}"),
              ErrorKind::kUser, "did you mean 'max_workers'?");
}

TEST_CASE("values out of range name the key") {
  const auto wrong = [](const std::string& line, std::string_view part) {
    CAPTURE(line);
    CHECK_ERROR(Parse(Concat("project: p\n", line)), ErrorKind::kUser, part);
  };
  wrong("batch_engine: {type: local, max_workers: -1}", "batch_engine.max_workers");
  wrong("batch_engine: {type: local, max_parallelism_multiplier: 0}", "max_parallelism_multiplier");
  wrong("batch_engine: {type: local, target_partition_size_mb: big}", "target_partition_size_mb");
  wrong("batch_engine: {type: local, window_size_for_joins: 1 moon}", "window_size_for_joins");
  wrong("batch_engine: {type: local, window_size_for_joins: 0s}", "longer than zero");
  wrong("batch_engine: {type: local, window_size_for_joins: 60}", "without a unit: '60'");
  wrong("batch_engine: {type: local, window_size_for_joins: \"0.5\"}", "without a unit");
  wrong("batch_engine: {type: local, broadcast_join_threshold_mb: -5}",
        "broadcast_join_threshold_mb");
  wrong("feature_server: {port: 65536}", "feature_server.port");
  wrong("feature_server: 6566", "expected a mapping");
  wrong("entity_key_serialization_version: 1", "between 2 and 3");
  wrong("memory_limit: much", "memory_limit");
  wrong("online_store: {path: ''}", "is empty");
  wrong("online_store: {value_counts_mb: 0}", "online_store.value_counts_mb");
  wrong("online_store: {value_counts_mb: 2048}", "between 1 and 2047");
  CHECK_ERROR(Parse("provider: local"), ErrorKind::kUser, "project is missing");
  CHECK_ERROR(Parse("project: _p"), ErrorKind::kUser, "begins with a letter or digit");
  CHECK_ERROR(Parse("project: a b"), ErrorKind::kUser, "'a b'");
  CHECK_ERROR(Parse(""), ErrorKind::kUser, "expected a mapping");
  CHECK(ValueOf(Parse("project: p\nonline_store: {value_counts_mb: 3}"))
            .online_store.value_counts_mb == 3);
  CHECK(ValueOf(Parse("project: p\nmemory_limit: 2GiB")).memory_limit == int64_t{2} << 30);
}

TEST_CASE("a repository is loaded from its folder or from a named file") {
  const auto folder = test::MakeTemporaryFolder();
  CHECK_ERROR(LoadRepositoryConfig(folder.path()), ErrorKind::kNotFound, "gnomon init");
  test::RequireOk(WriteFileAtomic(folder.path() + "/feature_store.yaml", "project: p\n"));
  const auto config = ValueOf(LoadRepositoryConfig(folder.path() + "/"));
  CHECK(config.folder == folder.path());
  CHECK(config.registry.path == folder.path() + "/data/registry.db");
  test::RequireOk(WriteFileAtomic(folder.path() + "/other.yaml", "project: q\n"));
  CHECK(ValueOf(LoadRepositoryConfig(folder.path(), folder.path() + "/other.yaml")).project == "q");
  CHECK_ERROR(LoadRepositoryConfig(folder.path(), folder.path() + "/none.yaml"),
              ErrorKind::kNotFound, "none.yaml");
}

TEST_CASE("an error that the sources' schemas show tells where the object was written") {
  const auto folder = test::MakeTemporaryFolder();
  CHECK_OK(WriteFileAtomic(folder.path() + "/features.yaml", R"(entities:
  - {name: driver, join_keys: [id]}
data_sources:
  - {name: s, path: s.parquet}
feature_views:
  - {name: good, entities: [driver], source: s, schema: [{name: a}]}
  - {name: bad, entities: [driver], source: s, schema: [{name: c}]}
)"));
  const auto loaded = ValueOf(LoadDefinitionsWithPlaces(folder.path()));
  CHECK(loaded.Holds(ValueOf(LoadDefinitions(folder.path()))));
  CHECK_FALSE(loaded.Holds({}));
  const auto id = arrow::field("id", arrow::int64());
  const auto a = arrow::field("a", arrow::float64());
  const auto at = arrow::field("at", arrow::timestamp(arrow::TimeUnit::MICRO));
  const auto error = test::ErrorOf(ResolveLoaded(loaded, {{"s", arrow::schema({id, a, at})}}));
  CHECK_ERROR(error, ErrorKind::kUser, "feature 'c' is no column of 's.parquet'");
  CHECK(LocationOf(error).line == 7);
  const auto no_time = test::ErrorOf(ResolveLoaded(loaded, {{"s", arrow::schema({id, a})}}));
  CHECK_ERROR(no_time, ErrorKind::kUser, "no timestamp column");
  CHECK(LocationOf(no_time).line == 4);
}

TEST_CASE("an empty file of definitions is an error, so that it does not delete what is applied") {
  const auto folder = test::MakeTemporaryFolder();
  CHECK_OK(WriteFileAtomic(folder.path() + "/features.yaml", "# nothing yet\n"));
  const auto error = test::ErrorOf(LoadDefinitions(folder.path()));
  CHECK_ERROR(error, ErrorKind::kUser, "the file of definitions is empty");
  CHECK(LocationOf(error).file == folder.path() + "/features.yaml");
  CHECK_OK(WriteFileAtomic(folder.path() + "/features.yaml", "entities: []\n"));
  CHECK(ValueOf(LoadDefinitions(folder.path())).entities.empty());
}

TEST_CASE("the section s3 has an endpoint and keys, which are never shown") {
  const auto none = ValueOf(Parse("project: p")).s3;
  CHECK(none.endpoint_url.empty());
  CHECK(none.secret_access_key.empty());
  CHECK(!none.path_style);
  const auto s3 = ValueOf(Parse("project: p\ns3: {endpoint_url: 'http://m:9000', region: r, "
                                "access_key_id: k, secret_access_key: geheim, session_token: t, "
                                "path_style: false, scheme: HTTP}"))
                      .s3;
  CHECK(s3.endpoint_url == "http://m:9000");
  CHECK(s3.region == "r");
  CHECK(s3.access_key_id == "k");
  CHECK(s3.secret_access_key.Reveal() == "geheim");
  CHECK(s3.secret_access_key.ToString() == "***");
  CHECK(s3.session_token.Reveal() == "t");
  CHECK(s3.path_style == false);
  CHECK(s3.scheme == "http");
  CHECK(ValueOf(Parse("project: p\ns3: {endpoint_override: h, anonymous: true}")).s3.anonymous);
  const auto wrong = [](const std::string& section) { return Parse("project: p\ns3: " + section); };
  CHECK_ERROR(wrong("{endpoint_url: a, endpoint_override: b}"), ErrorKind::kUser, "keep one");
  CHECK_ERROR(wrong("{access_key_id: k}"), ErrorKind::kUser, "belong together");
  CHECK_ERROR(wrong("{scheme: ftp}"), ErrorKind::kUser, "http or https");
  CHECK_ERROR(wrong("{acces_key_id: k}"), ErrorKind::kUser, "did you mean 'access_key_id'?");
  CHECK_ERROR(wrong("{access_key_id: k, secret_access_key_file: /nowhere/key}"),
              ErrorKind::kNotFound, "/nowhere/key");
  CHECK_ERROR(wrong("minio"), ErrorKind::kUser, "expected a mapping");
}

}  // namespace gnomon::feature
