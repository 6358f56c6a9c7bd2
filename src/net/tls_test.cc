#include <atomic>
#include <fstream>
#include <memory>
#include <thread>

#include <doctest/doctest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/text.h"
#include "net/client.h"
#include "net/loopback_test.h"
#include "net/server.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::net {
namespace {

using test::ValueOf;

struct Deleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};
template <typename T>
using Owned = std::unique_ptr<T, Deleter>;

// A self-signed certificate for the names in `folder`/cert.pem and key.pem.
void WriteCertificate(const std::string& folder,
                      const char* names_text = "DNS:localhost,IP:127.0.0.1") {
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const Owned<X509> certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  const unsigned char common_name[] = "gnomon test";
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common_name, -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  const Owned<X509_EXTENSION> names(
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names_text));
  X509_add_ext(certificate.get(), names.get(), -1);
  REQUIRE(X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0);
  const Owned<std::FILE> cert_file(std::fopen((folder + "/cert.pem").c_str(), "w"));
  REQUIRE(PEM_write_X509(cert_file.get(), certificate.get()) == 1);
  const Owned<std::FILE> key_file(std::fopen((folder + "/key.pem").c_str(), "w"));
  REQUIRE(PEM_write_PrivateKey(key_file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) ==
          1);
}

HttpResponse Echo(const Context&, const HttpRequest& request) {
  return TextResponse(200, std::string(request.body));
}

}  // namespace

TEST_CASE("a server speaks TLS to clients that trust it") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path();
  WriteCertificate(path);
  Router router;
  router.Post("/echo", Echo).Post("/slow", Echo, {.blocking = true});
  const ServerOptions options{.tls_cert_file = path + "/cert.pem",
                              .tls_key_file = path + "/key.pem",
                              .workers = 2,
                              .max_body_bytes = size_t{4} << 20,
                              .header_timeout = std::chrono::milliseconds(5000)};
  const auto server = ValueOf(HttpServer::Start(options, std::move(router), nullptr));
  REQUIRE(server->url().starts_with("https://127.0.0.1:"));
  const HttpClientOptions trusting{.ca_file = path + "/cert.pem"};
  const std::string url = server->url();

  SUBCASE("requests keep the connection, by address and by name") {
    HttpClient client(trusting);
    for (int round = 0; round < 20; ++round) {
      const std::string body = Concat("body ", round);
      CHECK(ValueOf(client.PostJson({}, url + "/echo", body)).body == body);
      CHECK(ValueOf(client.PostJson({}, url + "/slow", body)).body == body);
    }
    CHECK(server->connections() == 1);
    HttpClient by_name(trusting);
    CHECK(ValueOf(by_name.PostJson({}, Concat("https://localhost:", server->port(), "/echo"), "x"))
              .body == "x");
  }
  SUBCASE("large bodies pass, larger ones are refused") {
    HttpClient client(trusting);
    const std::string body(size_t{4} << 20, 'x');
    CHECK(ValueOf(client.PostJson({}, url + "/echo", body)).body == body);
    CHECK(ValueOf(client.PostJson({}, url + "/echo", body + "x")).status == 413);
    CHECK(ValueOf(client.PostJson({}, url + "/echo", "x")).status == 200);
  }
  SUBCASE("a client does not accept a certificate that it does not know") {
    HttpClient unknowing;
    CHECK_ERROR(unknowing.Get({}, url + "/echo"), ErrorKind::kUnauthenticated, "not trusted");
    HttpClient careless({.verify_tls = false});
    CHECK(ValueOf(careless.Get({}, url + "/echo")).status == 405);
  }
  SUBCASE("plain HTTP is not answered") {
    RawClient plain(server->port());
    REQUIRE(plain.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    plain.ReceiveUntil("never");
    CHECK(plain.IsClosedByPeer());
    HttpClient client(trusting);
    CHECK(ValueOf(client.PostJson({}, url + "/echo", "x")).body == "x");
  }
  SUBCASE("many clients at once each get their own answers") {
    std::atomic<int> good = 0;
    std::vector<std::jthread> threads;
    for (int number = 0; number < 8; ++number) {
      threads.emplace_back([&, number] {
        HttpClient client(trusting);
        for (int round = 0; round < 30; ++round) {
          const std::string body = Concat(number, "-", round);
          const auto reply = client.PostJson({}, url + (round % 2 == 0 ? "/echo" : "/slow"), body);
          if (reply.ok() && reply->body == body) ++good;
        }
      });
    }
    threads.clear();
    CHECK(good == 8 * 30);
  }
  SUBCASE("draining ends") {
    HttpClient client(trusting);
    CHECK(ValueOf(client.PostJson({}, url + "/echo", "x")).body == "x");
    CHECK_OK(server->Drain(std::chrono::seconds(kTestSeconds)));
  }
}

TEST_CASE("a client does not accept a trusted certificate of another host") {
  for (const char* names : {"DNS:localhost", "IP:127.0.0.1", "DNS:127.0.0.1"}) {
    CAPTURE(names);
    const TemporaryFolder folder = test::MakeTemporaryFolder();
    const std::string path = folder.path();
    WriteCertificate(path, names);
    const ServerOptions options{
        .tls_cert_file = path + "/cert.pem", .tls_key_file = path + "/key.pem", .workers = 1};
    const auto server = ValueOf(HttpServer::Start(options, Router(), nullptr));
    HttpClient client({.ca_file = path + "/cert.pem"});
    const std::string by_name = Concat("https://localhost:", server->port(), "/");
    const bool is_name = std::string_view(names) == "DNS:localhost";
    const bool is_address = std::string_view(names) == "IP:127.0.0.1";
    if (is_name) {
      CHECK_OK(client.Get({}, by_name));
    } else {
      CHECK_ERROR(client.Get({}, by_name), ErrorKind::kUnauthenticated, "not trusted");
    }
    if (is_address) {
      CHECK_OK(client.Get({}, server->url()));
    } else {
      CHECK_ERROR(client.Get({}, server->url()), ErrorKind::kUnauthenticated, "not trusted");
    }
  }
}

TEST_CASE("a key that does not belong to the certificate is refused") {
  const TemporaryFolder first = test::MakeTemporaryFolder();
  const TemporaryFolder second = test::MakeTemporaryFolder();
  WriteCertificate(first.path());
  WriteCertificate(second.path());
  const std::string key = std::string(second.path()) + "/key.pem";
  const ServerOptions options{.tls_cert_file = std::string(first.path()) + "/cert.pem",
                              .tls_key_file = key};
  CHECK_ERROR(HttpServer::Start(options, Router(), nullptr), ErrorKind::kUser, key);
}

}  // namespace gnomon::net
