#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/tls1.h>
#include <openssl/x509v3.h>

#include "net/client_socket_internal.h"

namespace gnomon::net {
namespace {

constexpr double kLongestPoll = 0.05;  // seconds until a stop request is seen

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  int get() const { return value_; }

 private:
  int value_;
};

Status SocketError(int errno_value) {
  return Error(ErrorKind::kUnavailable, std::strerror(errno_value));
}

// Waits until `events` or an error condition is there.
Status WaitFor(const Context& context, int descriptor, short events) {
  while (true) {
    GNOMON_RETURN_NOT_OK(context.Check());
    int timeout = -1;
    if (context.deadline.has_value() || context.stop.stop_possible()) {
      const double left =
          context.deadline.has_value() ? *context.deadline - MonotonicSeconds() : kLongestPoll;
      const double span =
          context.stop.stop_possible() ? std::clamp(left, 0.0, kLongestPoll) : std::max(left, 0.0);
      timeout = static_cast<int>(std::min(span * 1e3 + 1, 1e9));
    }
    pollfd item{.fd = descriptor, .events = events, .revents = 0};
    const int ready = poll(&item, 1, timeout);
    if (ready > 0) return Status::OK();
    if (ready < 0 && errno != EINTR) return SocketError(errno);
  }
}

class PlainSocket : public ClientSocket {
 public:
  explicit PlainSocket(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  Status WriteAll(const Context& context, std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t sent = send(descriptor_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        GNOMON_RETURN_NOT_OK(WaitFor(context, descriptor_.get(), POLLOUT));
      } else if (errno != EINTR) {
        return SocketError(errno);
      }
    }
    return Status::OK();
  }

  Result<size_t> ReadSome(const Context& context, std::span<char> buffer) override {
    while (true) {
      const ssize_t received = recv(descriptor_.get(), buffer.data(), buffer.size(), 0);
      if (received >= 0) return static_cast<size_t>(received);
      if (errno == EAGAIN) {
        GNOMON_RETURN_NOT_OK(WaitFor(context, descriptor_.get(), POLLIN));
      } else if (errno != EINTR) {
        return SocketError(errno);
      }
    }
  }

  bool IsIdleAndOpen() override {
    char byte = 0;
    return recv(descriptor_.get(), &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
  }

 private:
  Descriptor descriptor_;
};

struct TlsDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* tls) const { SSL_free(tls); }
  void operator()(BIO_METHOD* method) const { BIO_meth_free(method); }
};
template <typename T>
using TlsPtr = std::unique_ptr<T, TlsDeleter>;

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL, and a client must not die of SIGPIPE. The
// BIO's data is the descriptor, owned by the TlsSocket.
int DescriptorOf(BIO* bio) { return *static_cast<const int*>(BIO_get_data(bio)); }

int BioWrite(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t sent = send(DescriptorOf(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int BioRead(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t received = recv(DescriptorOf(bio), bytes, static_cast<size_t>(size), 0);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(received);
}

long BioControl(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

TlsPtr<BIO_METHOD> MakeBioMethod() {
  TlsPtr<BIO_METHOD> method(BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "gnomon"));
  BIO_meth_set_write(method.get(), BioWrite);
  BIO_meth_set_read(method.get(), BioRead);
  BIO_meth_set_ctrl(method.get(), BioControl);
  return method;
}

std::string TlsMessage() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "the connection was closed";
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

bool IsAddress(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

class TlsSocket : public ClientSocket {
 public:
  explicit TlsSocket(Descriptor descriptor)
      : descriptor_(std::move(descriptor)), number_(descriptor_.get()) {}
  ~TlsSocket() override {
    if (tls_ != nullptr) SSL_shutdown(tls_.get());  // close_notify; the answer is not awaited
    ERR_clear_error();
  }

  Status Handshake(const Context& context, const Url& url, const HttpClientOptions& options) {
    method_ = MakeBioMethod();
    tls_context_.reset(SSL_CTX_new(TLS_client_method()));
    if (method_ == nullptr || tls_context_ == nullptr) {
      return Error(ErrorKind::kInternal, "cannot set up TLS: ", TlsMessage());
    }
    SSL_CTX_set_min_proto_version(tls_context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_mode(tls_context_.get(), SSL_MODE_AUTO_RETRY | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                             SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (options.verify_tls) {
      SSL_CTX_set_verify(tls_context_.get(), SSL_VERIFY_PEER, nullptr);
      const bool loaded = options.ca_file.empty()
                              ? SSL_CTX_set_default_verify_paths(tls_context_.get()) == 1
                              : SSL_CTX_load_verify_locations(
                                    tls_context_.get(), options.ca_file.c_str(), nullptr) == 1;
      if (!loaded) {
        return Error(ErrorKind::kUser, "cannot use the CA file ", options.ca_file, ": ",
                     TlsMessage());
      }
    }
    tls_.reset(SSL_new(tls_context_.get()));
    BIO* bio = BIO_new(method_.get());
    BIO_set_data(bio, &number_);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls_.get(), bio, bio);  // takes the BIO
    X509_VERIFY_PARAM* expected = SSL_get0_param(tls_.get());
    if (IsAddress(url.host)) {
      X509_VERIFY_PARAM_set1_ip_asc(expected, url.host.c_str());
    } else {
      // SSL_set_tlsext_host_name, whose macro casts away const.
      std::string name = url.host;
      SSL_ctrl(tls_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
      X509_VERIFY_PARAM_set1_host(expected, url.host.c_str(), url.host.size());
    }
    while (true) {
      ERR_clear_error();
      const int result = SSL_connect(tls_.get());
      if (result == 1) return Status::OK();
      const int problem = SSL_get_error(tls_.get(), result);
      const long verified = SSL_get_verify_result(tls_.get());
      if (options.verify_tls && verified != X509_V_OK) {
        return Error(ErrorKind::kUnauthenticated, "the certificate of ", url.host,
                     " is not trusted: ", X509_verify_cert_error_string(verified));
      }
      GNOMON_RETURN_NOT_OK(Await(context, problem));
    }
  }

  Status WriteAll(const Context& context, std::string_view bytes) override {
    while (!bytes.empty()) {
      ERR_clear_error();
      size_t written = 0;
      const int result = SSL_write_ex(tls_.get(), bytes.data(), bytes.size(), &written);
      if (result == 1) {
        bytes.remove_prefix(written);
      } else {
        GNOMON_RETURN_NOT_OK(Await(context, SSL_get_error(tls_.get(), result)));
      }
    }
    return Status::OK();
  }

  Result<size_t> ReadSome(const Context& context, std::span<char> buffer) override {
    while (true) {
      ERR_clear_error();
      size_t received = 0;
      const int result = SSL_read_ex(tls_.get(), buffer.data(), buffer.size(), &received);
      if (result == 1) return received;
      const int problem = SSL_get_error(tls_.get(), result);
      if (problem == SSL_ERROR_ZERO_RETURN) return size_t{0};
      GNOMON_RETURN_NOT_OK(Await(context, problem));
    }
  }

  bool IsIdleAndOpen() override {
    // Session tickets may come at any time: let OpenSSL take them in.
    ERR_clear_error();
    char byte = 0;
    size_t received = 0;
    const int result = SSL_peek_ex(tls_.get(), &byte, 1, &received);
    return result != 1 && SSL_get_error(tls_.get(), result) == SSL_ERROR_WANT_READ;
  }

 private:
  Status Await(const Context& context, int problem) {
    if (problem == SSL_ERROR_WANT_READ) return WaitFor(context, descriptor_.get(), POLLIN);
    if (problem == SSL_ERROR_WANT_WRITE) return WaitFor(context, descriptor_.get(), POLLOUT);
    const int socket_problem = errno;
    const std::string message = TlsMessage();
    return Error(ErrorKind::kUnavailable, "TLS failed: ",
                 problem == SSL_ERROR_SYSCALL && socket_problem != 0 ? std::strerror(socket_problem)
                                                                     : message);
  }

  Descriptor descriptor_;
  int number_;  // what the BIO points at
  TlsPtr<BIO_METHOD> method_;
  TlsPtr<SSL_CTX> tls_context_;
  TlsPtr<SSL> tls_;
};

Result<Descriptor> ConnectTo(const Context& context, const addrinfo& address) {
  Descriptor descriptor(socket(
      address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol));
  if (descriptor.get() < 0) return SocketError(errno);
  const int on = 1;
  setsockopt(descriptor.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(descriptor.get(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return SocketError(errno);
    GNOMON_RETURN_NOT_OK(WaitFor(context, descriptor.get(), POLLOUT));
    int problem = 0;
    socklen_t size = sizeof problem;
    getsockopt(descriptor.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
    if (problem != 0) return SocketError(problem);
  }
  return descriptor;
}

Result<Descriptor> ConnectToHost(const Context& context, const Url& url) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int problem =
      getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (problem != 0) return Error(ErrorKind::kUnavailable, gai_strerror(problem));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  Status last = Error(ErrorKind::kUnavailable, "no address");
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    auto connected = ConnectTo(context, *address);
    if (connected.ok()) return connected;
    last = connected.status();
    GNOMON_RETURN_NOT_OK(context.Check());
  }
  return last;
}

}  // namespace

Result<std::unique_ptr<ClientSocket>> ClientSocket::Connect(const Context& context, const Url& url,
                                                            const HttpClientOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(Descriptor descriptor, ConnectToHost(context, url));
  if (url.scheme != "https") return std::make_unique<PlainSocket>(std::move(descriptor));
  auto socket = std::make_unique<TlsSocket>(std::move(descriptor));
  GNOMON_RETURN_NOT_OK(socket->Handshake(context, url, options));
  return socket;
}

}  // namespace gnomon::net
