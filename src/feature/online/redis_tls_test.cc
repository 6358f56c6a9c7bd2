#include <optional>
#include <thread>
#include <vector>

#include <arrow/array.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "feature/online/online_store.h"
#include "feature/online/online_store_suite_internal.h"
#include "feature/online/redis_connection_internal.h"
#include "tests/support/certificates.h"
#include "tests/support/process.h"
#include "tests/support/redis.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using internal::RedisConnection;
using internal::RedisTls;
using internal::RedisTlsOptions;
using test::Authority;
using test::RedisServer;
using test::ValueOf;

/// A server with a certificate for localhost and 127.0.0.1 from an authority of its own.
struct TlsServer {
  explicit TlsServer(
      const test::CertificateOptions& certificate = {.names = "DNS:localhost,IP:127.0.0.1"},
      const std::vector<std::string>& arguments = {})
      : authority(folder.path()) {
    authority.SignServer(folder.path(), certificate);
    server.emplace(RedisServer::Start({.tls_folder = folder.path(), .arguments = arguments}));
  }
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const Authority authority;
  std::optional<RedisServer> server;
};

Result<std::unique_ptr<RedisConnection>> Connect(const std::string& host, const RedisServer& server,
                                                 const RedisTlsOptions& tls, double timeout = 30) {
  GNOMON_ASSIGN_OR_RETURN(
      auto connection, RedisConnection::Connect({}, {.host = host,
                                                     .port = server.port(),
                                                     .timeout_seconds = timeout * test::TimeScale(),
                                                     .tls = std::make_shared<RedisTls>(tls)}));
  // What TLS 1.3 makes of our certificate is told after the handshake.
  GNOMON_RETURN_NOT_OK(connection->Run({}, {"PING"}).status());
  return connection;
}

TEST_CASE("the Redis store does over TLS what every online store must do") {
  static TlsServer tls;  // of all subcases
  tls.server->FlushAll();
  CheckOnlineStore([] {
    return ValueOf(OpenOnlineStore({.type = "redis",
                                    .host = "localhost",
                                    .port = tls.server->port(),
                                    .sslmode = "verify-full",
                                    .sslrootcert = tls.authority.certificate()}));
  });
}

TEST_CASE("a server's certificate is trusted as it was asked for") {
  const TlsServer tls;
  const RedisTlsOptions trusting{.ca_file = tls.authority.certificate()};
  CHECK_OK(Connect("localhost", *tls.server, trusting));
  CHECK_OK(Connect("127.0.0.1", *tls.server, trusting));
  CHECK_OK(Connect("localhost", *tls.server, {.verify = false}));

  const auto unknown = test::ErrorOf(Connect("localhost", *tls.server, {}));
  CHECK_ERROR(unknown, ErrorKind::kUnauthenticated, "certificate is not trusted");
  CHECK(HintOf(unknown).find("ssl_ca_certs") != std::string::npos);
  const TemporaryFolder elsewhere = test::MakeTemporaryFolder();
  const Authority stranger(elsewhere.path());
  CHECK_ERROR(Connect("localhost", *tls.server, {.ca_file = stranger.certificate()}),
              ErrorKind::kUnauthenticated, "certificate is not trusted");
  CHECK_ERROR(Connect("localhost", *tls.server, {.ca_file = "/none.crt"}), ErrorKind::kUser,
              "cannot use ssl_ca_certs '/none.crt': No such file");
  CHECK_ERROR(Connect("localhost", *tls.server,
                      {.ca_file = trusting.ca_file, .certificate_file = trusting.ca_file}),
              ErrorKind::kUser, "cannot use ssl_keyfile");
}

TEST_CASE("a certificate of another host or of yesterday is refused by name") {
  const TlsServer other({.names = "DNS:cache.example"});
  const std::string ca = other.authority.certificate();
  CHECK_ERROR(Connect("localhost", *other.server, {.ca_file = ca}), ErrorKind::kUnauthenticated,
              "hostname mismatch");
  CHECK_ERROR(Connect("127.0.0.1", *other.server, {.ca_file = ca}), ErrorKind::kUnauthenticated,
              "IP address mismatch");
  CHECK_OK(Connect("localhost", *other.server, {.ca_file = ca, .check_host = false}));

  const TlsServer expired({.days = -1});
  CHECK_ERROR(Connect("localhost", *expired.server, {.ca_file = expired.authority.certificate()}),
              ErrorKind::kUnauthenticated, "certificate has expired");
}

TEST_CASE("a server that wants a certificate of its clients gets ours") {
  const TlsServer tls({}, {"--tls-auth-clients", "yes"});
  const TemporaryFolder ours = test::MakeTemporaryFolder();
  tls.authority.SignServer(ours.path(), {});
  RedisTlsOptions options{.ca_file = tls.authority.certificate()};
  const auto without = test::ErrorOf(Connect("localhost", *tls.server, options));
  // Its alert is lost where it closes the connection before it has read all that we sent.
  CHECK(HintOf(without).find("ssl_certfile") != std::string::npos);
  options.certificate_file = ours.path() + "/server.crt";
  options.key_file = ours.path() + "/server.key";
  CHECK_OK(Connect("localhost", *tls.server, options));
}

TEST_CASE("TLS with a server that has none, and none with one that wants it, is named") {
  // It waits for the rest of what it takes for a command.
  const auto plain = test::ErrorOf(Connect("localhost", RedisServer::Shared(), {}, /*timeout=*/2));
  CHECK(HintOf(plain).find("ssl=true") != std::string::npos);
  const TlsServer tls;
  auto connection =
      ValueOf(RedisConnection::Connect({}, {.host = "localhost", .port = tls.server->port()}));
  const auto refused = test::ErrorOf(connection->Run({}, {"PING"}));
  CHECK(HintOf(refused).find("ssl=true") != std::string::npos);
}

TEST_CASE("large answers and many commands at once pass through TLS, also of several threads") {
  const TlsServer tls;
  const auto shared =
      std::make_shared<RedisTls>(RedisTlsOptions{.ca_file = tls.authority.certificate()});
  const std::string value(300'000, 'x');
  const auto exchange = [&](const std::string& key) -> Status {
    GNOMON_ASSIGN_OR_RETURN(
        const auto connection,
        RedisConnection::Connect({},
                                 {.host = "localhost", .port = tls.server->port(), .tls = shared}));
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 20; ++i) connection->Append({"SET", Concat(key, i), value});
      for (int i = 0; i < 20; ++i) connection->Append({"GET", Concat(key, i)});
      for (int i = 0; i < 20; ++i) GNOMON_RETURN_NOT_OK(connection->NextOk({}).status());
      for (int i = 0; i < 20; ++i) {
        GNOMON_ASSIGN_OR_RETURN(const auto reply, connection->NextOk({}));
        if (reply.Text() != value) return Error(ErrorKind::kDataLoss, "another value came back");
      }
    }
    return Status::OK();
  };
  std::vector<Status> outcomes(3);
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < outcomes.size(); ++i)
      threads.emplace_back([&, i] { outcomes[i] = exchange(Concat("k", i, ":")); });
  }
  for (const Status& outcome : outcomes) CHECK_OK(outcome);
}

}  // namespace
}  // namespace gnomon::feature
