#include <fstream>

#include <doctest/doctest.h>

#include "base/config.h"
#include "base/text.h"
#include "feature/definition/repository.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

Result<RepositoryConfig::OnlineStore> Parse(std::string_view members) {
  const std::string yaml =
      Concat("project: p\nentity_key_serialization_version: 2\nonline_store: {", members, "}");
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode root, ParseConfig(yaml, "feature_store.yaml"));
  GNOMON_ASSIGN_OR_RETURN(const auto config, ParseRepositoryConfig(root, "/repo"));
  return config.online_store;
}

TEST_CASE("Feast's keys of a PostgreSQL online store are read") {
  const auto store = ValueOf(Parse(
      "type: postgres, host: db, port: 5433, database: f, db_schema: s, user: u, password: secret, "
      "sslmode: verify-ca, sslkey_path: k, sslcert_path: c, sslrootcert_path: r, conn_type: pool, "
      "min_conn: 2, max_conn: 7, layout: feast, serve_expired: true"));
  CHECK(store.type == "postgres");
  CHECK(store.host == "db");
  CHECK(store.port == 5433);
  CHECK(store.database == "f");
  CHECK(store.db_schema == "s");
  CHECK(store.user == "u");
  CHECK(store.password.Reveal() == "secret");
  CHECK(store.sslmode == "verify-ca");
  CHECK(store.sslkey == "k");
  CHECK(store.sslcert == "c");
  CHECK(store.sslrootcert == "r");
  CHECK(store.max_connections == 7);
  CHECK(store.layout == "feast");
  CHECK(store.serve_expired);
  CHECK(store.entity_key_version == 2);
  CHECK(ValueOf(Parse("type: postgres, host: db")).db_schema == "public");
  CHECK(ValueOf(Parse("type: postgres, host: db")).sslmode.empty());
}

TEST_CASE("Feast's connection string of Redis is read") {
  const auto store =
      ValueOf(Parse("type: redis, key_ttl_seconds: 60, connection_string: "
                    "'cache:6380,db=2,username=me,password=a=b,ssl=false,socket_timeout=3'"));
  CHECK(store.host == "cache");
  CHECK(store.port == 6380);
  CHECK(store.database == "2");
  CHECK(store.user == "me");
  CHECK(store.password.Reveal() == "a=b");
  CHECK(store.socket_timeout_seconds == 3);
  CHECK(store.key_ttl_seconds == 60);
  CHECK(ValueOf(Parse("type: redis")).host == "localhost");
  CHECK(ValueOf(Parse("type: redis")).port == 6379);
  CHECK(
      ValueOf(Parse("type: redis, connection_string: 'x:1,password=\"007\"'")).password.Reveal() ==
      "007");
  CHECK(ValueOf(Parse("type: redis, host: /run/redis.sock, database: 3")).database == "3");
}

TEST_CASE("TLS with Redis is read as redis-py reads it") {
  const auto mode = [](const std::string& parameters) {
    const auto store =
        ValueOf(Parse(Concat("type: redis, connection_string: 'a:1,", parameters, "'")));
    return store.sslmode;
  };
  CHECK(mode("ssl=false").empty());
  CHECK(mode("ssl_check_hostname=true").empty());
  for (const char* on : {"ssl=true", "ssl=True", "ssl=1", "ssl=\"true\""})
    CHECK(mode(on) == "verify-full");
  CHECK(mode("ssl=true,ssl_cert_reqs=required") == "verify-full");
  CHECK(mode("ssl=true,ssl_cert_reqs=optional") == "verify-full");
  CHECK(mode("ssl=true,ssl_check_hostname=false") == "verify-ca");
  CHECK(mode("ssl_cert_reqs=none,ssl=true") == "require");
  const auto store = ValueOf(
      Parse("type: redis, connection_string: 'a:1,ssl=true,ssl_ca_certs=ca.crt,ssl_certfile=me.crt,"
            "ssl_keyfile=me.key'"));
  CHECK(store.sslrootcert == "ca.crt");
  CHECK(store.sslcert == "me.crt");
  CHECK(store.sslkey == "me.key");
  const auto keys = ValueOf(
      Parse("type: redis, host: a, ssl: true, ssl_ca_certs: ca.crt, ssl_check_hostname: false"));
  CHECK(keys.sslmode == "verify-ca");
  CHECK(keys.sslrootcert == "ca.crt");
  CHECK_ERROR(Parse("type: redis, host: a, ssl: maybe"), ErrorKind::kUser, "neither true nor");
  CHECK_ERROR(Parse("type: redis, connection_string: 'a:1,ssl=true,ssl_cert_reqs=some'"),
              ErrorKind::kUser, "required, optional, none");
  CHECK_ERROR(Parse("type: redis, connection_string: 'a:1,ssl=true,ssl_ca_cert=x'"),
              ErrorKind::kUser, "did you mean 'ssl_ca_certs'?");
}

TEST_CASE("the servers of a Redis cluster are read") {
  const auto store =
      ValueOf(Parse("type: redis, redis_type: redis_cluster, connection_string: "
                    "'a:1,b,c:3,ssl=true,skip_full_coverage_check=true,password=secret'"));
  CHECK(store.redis_type == "redis_cluster");
  CHECK(store.servers == std::vector<std::pair<std::string, int>>{{"a", 1}, {"b", 6379}, {"c", 3}});
  CHECK(store.sslmode == "verify-full");
  CHECK(store.password.Reveal() == "secret");
  CHECK(ValueOf(Parse("type: redis, redis_type: redis_cluster, host: x, port: 7")).servers ==
        std::vector<std::pair<std::string, int>>{{"x", 7}});
  CHECK(ValueOf(Parse("type: redis, redis_type: redis_cluster, database: 0")).database.empty());
  CHECK_ERROR(Parse("type: redis, redis_type: redis_cluster, connection_string: 'a:1,db=2'"),
              ErrorKind::kUser, "has no databases");
  CHECK(ValueOf(Parse("type: redis, connection_string: 'a:1'")).servers.empty());
}

TEST_CASE("every online store may have a cache") {
  CHECK(ValueOf(Parse("type: sqlite")).cache_size_mb == 0);
  CHECK(ValueOf(Parse("type: sqlite")).cache_ttl == 10'000'000);
  for (const std::string type : {"sqlite", "redis", "postgres"}) {
    const auto store = ValueOf(Parse(Concat("type: ", type, ", cache_size_mb: 64, cache_ttl: 2s")));
    CHECK(store.cache_size_mb == 64);
    CHECK(store.cache_ttl == 2'000'000);
  }
  CHECK_ERROR(Parse("cache_size_mb: -1"), ErrorKind::kUser, "between 0 and 1000000, not -1");
  CHECK_ERROR(Parse("cache_size_mb: lots"), ErrorKind::kUser, "cache_size_mb");
  CHECK_ERROR(Parse("cache_ttl: 0"), ErrorKind::kUser, "longer than zero");
  CHECK_ERROR(Parse("cache_ttl: -5"), ErrorKind::kUser, "cache_ttl");
  CHECK_ERROR(Parse("cache_ttl: soon"), ErrorKind::kUser, "cache_ttl");
}

TEST_CASE("a password may stand in a file") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/password";
  std::ofstream(path) << "from a file\n";
  CHECK(ValueOf(Parse(Concat("type: redis, password_file: ", path))).password.Reveal() ==
        "from a file");
  CHECK_ERROR(Parse(Concat("type: redis, password: x, password_file: ", path)), ErrorKind::kUser,
              "give one of them");
  CHECK_ERROR(Parse("type: redis, password_file: /nowhere"), ErrorKind::kNotFound, "/nowhere");
}

TEST_CASE("what is wrong in online_store is named, without a secret") {
  CHECK_ERROR(Parse("layout: packd"), ErrorKind::kUser, "unknown layout 'packd'");
  CHECK_ERROR(Parse("type: postgres, hots: db"), ErrorKind::kUser, "did you mean 'host'?");
  CHECK_ERROR(Parse("type: postgres, host: db, sslmode: on"), ErrorKind::kUser, "sslmode");
  CHECK_ERROR(Parse("type: postgres, host: db, port: 0"), ErrorKind::kUser, "between 1 and 65535");
  CHECK_ERROR(Parse("type: redis, path: x"), ErrorKind::kUser, "path");
  CHECK_ERROR(Parse("type: redis, redis_type: redis_sentinel"), ErrorKind::kUnsupported,
              "redis_type 'redis_sentinel'");
  CHECK_ERROR(Parse("type: redis, connection_string: 'a:1,b:2'"), ErrorKind::kUser,
              "several servers");
  CHECK_ERROR(Parse("type: redis, connection_string: 'a:x'"), ErrorKind::kUser, "port number");
  const auto unknown =
      test::ErrorOf(Parse("type: redis, connection_string: 'a:1,usrname=x,password=hidden'"));
  CHECK_ERROR(unknown, ErrorKind::kUser, "did you mean 'username'?");
  CHECK(unknown.ToString().find("hidden") == std::string::npos);
}

}  // namespace
}  // namespace gnomon::feature
