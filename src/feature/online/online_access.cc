#include "feature/online/online_access.h"

#include <string>

#include "gnomon/online_sink.pb.h"

namespace gnomon::feature {

Secret AccessTo(const RepositoryConfig::OnlineStore& config) {
  proto::OnlineAccess message;
  message.set_type(config.type);
  message.set_path(config.path);
  message.set_layout(config.layout);
  message.set_entity_key_version(config.entity_key_version);
  message.set_host(config.host);
  message.set_port(config.port);
  message.set_database(config.database);
  message.set_user(config.user);
  message.set_password(config.password.Reveal());
  message.set_max_connections(config.max_connections);
  message.set_db_schema(config.db_schema);
  message.set_sslmode(config.sslmode);
  message.set_sslrootcert(config.sslrootcert);
  message.set_sslcert(config.sslcert);
  message.set_sslkey(config.sslkey);
  message.set_redis_type(config.redis_type);
  for (const auto& [host, port] : config.servers) {
    auto* server = message.add_servers();
    server->set_host(host);
    server->set_port(port);
  }
  message.set_key_ttl_seconds(config.key_ttl_seconds);
  message.set_socket_timeout_seconds(config.socket_timeout_seconds);
  return Secret(message.SerializeAsString());
}

Result<std::unique_ptr<OnlineStore>> OpenOnlineStore(const Secret& access) {
  proto::OnlineAccess message;
  if (!message.ParseFromString(access.Reveal()))
    return Error(ErrorKind::kDataLoss, "not the access to an online store");
  RepositoryConfig::OnlineStore config;
  config.type = message.type();
  config.path = message.path();
  config.layout = message.layout();
  config.entity_key_version = message.entity_key_version();
  config.host = message.host();
  config.port = message.port();
  config.database = message.database();
  config.user = message.user();
  config.password = Secret(message.password());
  config.max_connections = message.max_connections();
  config.db_schema = message.db_schema();
  config.sslmode = message.sslmode();
  config.sslrootcert = message.sslrootcert();
  config.sslcert = message.sslcert();
  config.sslkey = message.sslkey();
  config.redis_type = message.redis_type();
  for (const auto& server : message.servers())
    config.servers.emplace_back(server.host(), server.port());
  config.key_ttl_seconds = message.key_ttl_seconds();
  config.socket_timeout_seconds = message.socket_timeout_seconds();
  return OpenOnlineStore(config);
}

}  // namespace gnomon::feature
