#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "base/text.h"
#include "feature/online/redis_socket_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr double kSliceSeconds = 0.05;  // how soon a wait notices that its context has ended
constexpr int kKeepAliveSeconds = 15;   // of silence, then as often again before the line is lost

Status CannotConnect(const std::string& place, std::string_view why) {
  return MakeError(ErrorKind::kUnavailable, Concat("cannot connect to redis ", place, ": ", why),
                   {}, "is the server running? see online_store in feature_store.yaml");
}

void SetOption(int descriptor, int level, int name, int value) {
  ::setsockopt(descriptor, level, name, &value, sizeof(value));
}

void KeepAlive(int descriptor) {
  SetOption(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveSeconds);
  SetOption(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveSeconds / 3);
  SetOption(descriptor, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

/// What other users of OpenSSL in this thread have left behind is not this session's.
void ForgetErrors() {
  ERR_clear_error();
  errno = 0;
}

Status HandshakeFailed(const Status& status) {
  // A server without TLS takes the handshake for the beginning of a command, and waits for its end.
  if (KindOf(status) != ErrorKind::kUnavailable) return status;
  return WithHint(status, "does the server speak TLS on this port? if not, leave ssl=true out");
}

struct AddressesDeleter {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};

}  // namespace

RedisSocket::~RedisSocket() {
  ForgetErrors();
  if (session_ != nullptr) SSL_shutdown(session_.get());  // says goodbye and does not wait
  session_.reset();
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::unique_ptr<RedisSocket>> RedisSocket::Connect(const Context& context,
                                                          const std::string& host, int port,
                                                          RedisTls* tls, double give_up) {
  std::unique_ptr<RedisSocket> made(
      new RedisSocket(host.starts_with('/') ? host : Concat(host, ":", port)));
  GNOMON_RETURN_NOT_OK(made->Open(context, host, port, give_up));
  if (tls != nullptr) GNOMON_RETURN_NOT_OK(made->ShakeHands(context, host, tls, give_up));
  return made;
}

Status RedisSocket::Open(const Context& context, const std::string& host, int port,
                         double give_up) {
  if (host.starts_with('/')) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (host.size() >= sizeof(address.sun_path))
      return Error(ErrorKind::kUser, "the path of redis' unix socket is too long: ", host);
    std::memcpy(address.sun_path, host.data(), host.size());
    return OpenAddress(context, AF_UNIX, {reinterpret_cast<const char*>(&address), sizeof(address)},
                       give_up);
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), Concat(port).c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, AddressesDeleter> addresses(found);
  if (failed != 0) return CannotConnect(place_, ::gai_strerror(failed));
  Status status;
  for (const addrinfo* each = addresses.get(); each != nullptr; each = each->ai_next) {
    // One address that does not answer leaves time for the next.
    const double left = give_up - MonotonicSeconds();
    status = OpenAddress(context, each->ai_family,
                         {reinterpret_cast<const char*>(each->ai_addr), each->ai_addrlen},
                         each->ai_next == nullptr ? give_up : give_up - left / 2);
    if (status.ok()) KeepAlive(descriptor_);
    if (status.ok() || KindOf(status) != ErrorKind::kUnavailable) break;
  }
  return status;
}

Status RedisSocket::OpenAddress(const Context& context, int family, std::span<const char> address,
                                double give_up) {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor_ < 0) return ErrnoError(errno, Concat("redis ", place_));
  if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(address.data()),
                static_cast<socklen_t>(address.size())) == 0)
    return Status::OK();
  // A unix socket whose queue is full says EAGAIN and does not become writable.
  if (errno != EINPROGRESS) return CannotConnect(place_, std::strerror(errno));
  const Status waited = Wait(context, POLLOUT, give_up);
  if (!waited.ok() && KindOf(waited) == ErrorKind::kUnavailable)
    return CannotConnect(place_, std::strerror(ETIMEDOUT));
  GNOMON_RETURN_NOT_OK(waited);
  int error = 0;
  socklen_t size = sizeof(error);
  ::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? Status::OK() : CannotConnect(place_, std::strerror(error));
}

Status RedisSocket::ShakeHands(const Context& context, const std::string& host, RedisTls* tls,
                               double give_up) {
  GNOMON_ASSIGN_OR_RETURN(session_, tls->MakeSession(descriptor_, host));
  for (;;) {
    ForgetErrors();
    const int result = SSL_connect(session_.get());
    if (result == 1) return Status::OK();
    const auto step = AfterTls(result);
    const Status status = step.ok() ? Wait(context, step->wanted, give_up) : step.status();
    if (!status.ok()) return HandshakeFailed(WithContext(status, "TLS handshake"));
  }
}

Status RedisSocket::Wait(const Context& context, short events, double give_up) const {
  for (;;) {
    GNOMON_RETURN_NOT_OK(WithContext(context.Check(), Concat("waiting for redis ", place_)));
    pollfd waited{.fd = descriptor_, .events = events, .revents = 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(kSliceSeconds * 1000));
    if (ready > 0) return Status::OK();
    if (ready < 0 && errno != EINTR) return ErrnoError(errno, Concat("redis ", place_));
    if (MonotonicSeconds() >= give_up)
      return Error(ErrorKind::kUnavailable, "redis ", place_, ": no answer in time");
  }
}

Status RedisSocket::Broken(int error) const {
  return Error(ErrorKind::kUnavailable, "redis ", place_,
               ": the connection broke: ", std::strerror(error));
}

Status RedisSocket::Closed() const {
  return Error(ErrorKind::kUnavailable, "redis ", place_, ": the server closed the connection");
}

Result<RedisSocket::Step> RedisSocket::AfterTls(int result) const {
  const int error = errno;
  switch (SSL_get_error(session_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Step{.wanted = POLLIN};
    case SSL_ERROR_WANT_WRITE:
      return Step{.wanted = POLLOUT};
    case SSL_ERROR_ZERO_RETURN:
      return Closed();
    default:
      errno = error;
      return RedisTls::Failure(session_.get(), result, place_);
  }
}

Result<RedisSocket::Step> RedisSocket::TrySend(std::string_view bytes) {
  if (session_ != nullptr) {
    size_t sent = 0;
    ForgetErrors();
    const int result = SSL_write_ex(session_.get(), bytes.data(), bytes.size(), &sent);
    if (result == 1) return Step{.bytes = sent};
    return AfterTls(result);
  }
  const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) return Step{.bytes = static_cast<size_t>(sent)};
  if (errno == EAGAIN || errno == EINTR) return Step{.wanted = POLLOUT};
  return Broken(errno);
}

Result<RedisSocket::Step> RedisSocket::TryReceive(std::span<char> into) {
  if (session_ != nullptr) {
    size_t received = 0;
    ForgetErrors();
    const int result = SSL_read_ex(session_.get(), into.data(), into.size(), &received);
    if (result == 1) return Step{.bytes = received};
    return AfterTls(result);
  }
  const ssize_t received = ::recv(descriptor_, into.data(), into.size(), 0);
  if (received > 0) return Step{.bytes = static_cast<size_t>(received)};
  if (received == 0) return Closed();
  if (errno == EAGAIN || errno == EINTR) return Step{.wanted = POLLIN};
  return Broken(errno);
}

Status RedisSocket::Lost(const Status& status) const {
  if (any_received_ || place_.starts_with('/') || KindOf(status) != ErrorKind::kUnavailable)
    return status;
  // A server that is not spoken to as it wants says goodbye, if that, before it says anything.
  return WithHint(status, session_ == nullptr
                              ? "if the server wants TLS on this port: ssl=true"
                              : "if the server asks for a certificate: ssl_certfile, ssl_keyfile");
}

Status RedisSocket::SendAll(const Context& context, std::string_view bytes, double give_up) {
  while (!bytes.empty()) {
    const auto step = TrySend(bytes);
    if (!step.ok()) return Lost(step.status());
    bytes.remove_prefix(step->bytes);
    if (step->wanted != 0) GNOMON_RETURN_NOT_OK(Wait(context, step->wanted, give_up));
  }
  return Status::OK();
}

Result<size_t> RedisSocket::ReceiveSome(const Context& context, std::span<char> into,
                                        double give_up) {
  // The answer to what was just sent is not there yet; what TLS has decrypted, poll does not see.
  if (session_ == nullptr && !more_) GNOMON_RETURN_NOT_OK(Wait(context, POLLIN, give_up));
  for (;;) {
    GNOMON_ASSIGN_OR_RETURN(const Step step, TryReceive(into));
    if (step.wanted == 0) return step.bytes;
    GNOMON_RETURN_NOT_OK(Wait(context, step.wanted, give_up));
  }
}

Result<size_t> RedisSocket::Receive(const Context& context, std::span<char> into, double give_up) {
  const auto count = ReceiveSome(context, into, give_up);
  if (!count.ok()) return Lost(count.status());
  any_received_ = true;
  more_ = *count == into.size();
  return count;
}

}  // namespace gnomon::feature::internal
