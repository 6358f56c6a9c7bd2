#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/error.h"
#include "feature/online/redis_tls_internal.h"

namespace gnomon::feature::internal {

/// A byte stream to one server: TCP or a unix socket, with TLS on top where asked for. Waits end
/// with the context, and with kUnavailable at `give_up` (of MonotonicSeconds). Errors name the
/// place. Not thread-safe.
class RedisSocket {
 public:
  /// `host` with a leading '/' is the path of a unix socket; `tls` may be null.
  static Result<std::unique_ptr<RedisSocket>> Connect(const Context& context,
                                                      const std::string& host, int port,
                                                      RedisTls* tls, double give_up);
  ~RedisSocket();
  RedisSocket(const RedisSocket&) = delete;
  RedisSocket& operator=(const RedisSocket&) = delete;

  Status SendAll(const Context& context, std::string_view bytes, double give_up);
  /// At least one byte, at most as many as fit.
  Result<size_t> Receive(const Context& context, std::span<char> into, double give_up);

  const std::string& place() const { return place_; }

 private:
  /// What came of one attempt: bytes, or what poll has to wait for first.
  struct Step {
    size_t bytes = 0;
    short wanted = 0;
  };
  explicit RedisSocket(std::string place) : place_(std::move(place)) {}
  Status Open(const Context& context, const std::string& host, int port, double give_up);
  Status OpenAddress(const Context& context, int family, std::span<const char> address,
                     double give_up);
  Status ShakeHands(const Context& context, const std::string& host, RedisTls* tls, double give_up);
  Status Wait(const Context& context, short events, double give_up) const;
  Result<size_t> ReceiveSome(const Context& context, std::span<char> into, double give_up);
  Result<Step> TrySend(std::string_view bytes);
  Result<Step> TryReceive(std::span<char> into);
  Result<Step> AfterTls(int result) const;
  Status Broken(int error) const;
  Status Closed() const;
  Status Lost(const Status& status) const;

  const std::string place_;
  int descriptor_ = -1;
  TlsSession session_;
  bool any_received_ = false;
  bool more_ = false;  ///< the last attempt filled its buffer
};

}  // namespace gnomon::feature::internal
