#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/text.h"
#include "feature/online/redis_tls_internal.h"

namespace gnomon::feature::internal {
namespace {

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL, and a lost server must not end this process
// by SIGPIPE. The BIO's data is the descriptor's number.
int DescriptorOf(BIO* bio) {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}

int WriteBytes(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = ::send(DescriptorOf(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int ReadBytes(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t received = ::recv(DescriptorOf(bio), bytes, static_cast<size_t>(size), 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(received);
}

long ControlBytes(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

struct MethodDeleter {
  void operator()(BIO_METHOD* method) const { BIO_meth_free(method); }
};

BIO_METHOD* Method() {
  static const std::unique_ptr<BIO_METHOD, MethodDeleter> method = [] {
    std::unique_ptr<BIO_METHOD, MethodDeleter> made(
        BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "redis"));
    if (made != nullptr) {
      BIO_meth_set_write(made.get(), WriteBytes);
      BIO_meth_set_read(made.get(), ReadBytes);
      BIO_meth_set_ctrl(made.get(), ControlBytes);
    }
    return made;
  }();
  return method.get();
}

bool IsAddress(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> bytes;
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

/// The reason of OpenSSL's first error, which the others are about; empties its list.
std::string TakeReason() {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  if (code == 0) return "the connection was closed";
  if (ERR_SYSTEM_ERROR(code)) return std::strerror(ERR_GET_REASON(code));
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? Concat("error ", code, " of OpenSSL") : reason;
}

Status Refused(std::string message, std::string hint) {
  return MakeError(ErrorKind::kUnauthenticated, std::move(message), {}, std::move(hint));
}

/// The server's certificate was not accepted.
Status NotTrusted(const std::string& place, long verdict) {
  std::string hint;
  switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      hint = "the server needs a new certificate, or this machine's clock is wrong";
      break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      hint = "name the server as its certificate does, or set ssl_check_hostname=false";
      break;
    default:
      hint = "name the file with the authority's certificate: ssl_ca_certs=FILE";
  }
  return Refused(Concat("redis ", place, ": the server's certificate is not trusted: ",
                        X509_verify_cert_error_string(verdict)),
                 std::move(hint));
}

Status FileError(const char* key, const std::string& file) {
  return MakeError(ErrorKind::kUser,
                   Concat("online_store: cannot use ", key, " ", Quoted(file), ": ", TakeReason()),
                   {}, "a PEM file that this process may read");
}

}  // namespace

void TlsSessionDeleter::operator()(ssl_st* session) const {
  SSL_free(session);
  ERR_clear_error();
}

void RedisTls::ContextDeleter::operator()(ssl_ctx_st* context) const { SSL_CTX_free(context); }

Result<RedisTls::TlsContext> RedisTls::MakeContext() const {
  ERR_clear_error();
  TlsContext made(SSL_CTX_new(TLS_client_method()));
  if (made == nullptr || Method() == nullptr)
    return Error(ErrorKind::kInternal, "cannot set up TLS: ", TakeReason());
  SSL_CTX* const context = made.get();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  if (options_.verify) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    if (options_.ca_file.empty()) {
      SSL_CTX_set_default_verify_paths(context);
    } else if (SSL_CTX_load_verify_locations(context, options_.ca_file.c_str(), nullptr) != 1) {
      return FileError("ssl_ca_certs", options_.ca_file);
    }
  }
  if (options_.certificate_file.empty()) return made;
  if (SSL_CTX_use_certificate_chain_file(context, options_.certificate_file.c_str()) != 1)
    return FileError("ssl_certfile", options_.certificate_file);
  const std::string& key =
      options_.key_file.empty() ? options_.certificate_file : options_.key_file;
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1)
    return FileError("ssl_keyfile", key);
  return made;
}

Result<TlsSession> RedisTls::MakeSession(int descriptor, const std::string& host) {
  TlsSession session;
  {
    const MutexLock lock(mutex_);
    if (context_ == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(context_, MakeContext());
    }
    session.reset(SSL_new(context_.get()));
  }
  BIO* bio = BIO_new(Method());
  if (session == nullptr || bio == nullptr) {
    BIO_free(bio);
    return Error(ErrorKind::kExhausted, "cannot set up TLS: ", TakeReason());
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(descriptor)));
  BIO_set_init(bio, 1);
  SSL_set_bio(session.get(), bio, bio);  // takes the BIO
  const bool is_address = IsAddress(host);
  const bool is_path = host.starts_with('/');
  if (!is_address && !is_path) {
    // SSL_set_tlsext_host_name, whose macro casts away const.
    std::string name = host;
    SSL_ctrl(session.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
  }
  if (!options_.verify || !options_.check_host || is_path) return session;
  X509_VERIFY_PARAM* expected = SSL_get0_param(session.get());
  const int is_set = is_address ? X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str())
                                : X509_VERIFY_PARAM_set1_host(expected, host.c_str(), host.size());
  if (is_set != 1)
    return Error(ErrorKind::kUser, "no certificate can be for the host ", Quoted(host));
  return session;
}

Status RedisTls::Failure(ssl_st* session, int result, const std::string& place) {
  const int socket_error = errno;
  const int problem = SSL_get_error(session, result);
  const unsigned long code = ERR_peek_error();
  const std::string reason = TakeReason();
  if (problem == SSL_ERROR_SSL) {
    switch (ERR_GET_REASON(code)) {
      case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return NotTrusted(place, SSL_get_verify_result(session));
      case SSL_R_WRONG_VERSION_NUMBER:
      case SSL_R_HTTP_REQUEST:
        return Refused(Concat("redis ", place, ": the server speaks no TLS on this port"),
                       "leave ssl=true out, or name the port of its TLS");
      case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
      case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
      case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        return Refused(Concat("redis ", place, ": the server refuses our certificate: ", reason),
                       "it wants one from an authority that it trusts: ssl_certfile, ssl_keyfile");
      default:
        break;
    }
  }
  if (problem == SSL_ERROR_SYSCALL && code == 0 && socket_error != 0)
    return Error(ErrorKind::kUnavailable, "redis ", place,
                 ": the connection broke: ", std::strerror(socket_error));
  return Error(ErrorKind::kUnavailable, "redis ", place, ": TLS failed: ", reason);
}

}  // namespace gnomon::feature::internal
