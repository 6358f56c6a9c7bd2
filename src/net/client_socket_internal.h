#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/error.h"
#include "net/client.h"

namespace gnomon::net {

/// A blocking connection of the client, TCP or TLS. Every call honours the Context's deadline and
/// stop token. Not thread-safe.
class ClientSocket {
 public:
  virtual ~ClientSocket() = default;

  /// Connects to the first address of the host that answers; for https makes the handshake and
  /// verifies the name.
  static Result<std::unique_ptr<ClientSocket>> Connect(const Context& context, const Url& url,
                                                       const HttpClientOptions& options);

  virtual Status WriteAll(const Context& context, std::string_view bytes) = 0;
  /// At least one byte, or 0 at the peer's end.
  virtual Result<size_t> ReadSome(const Context& context, std::span<char> buffer) = 0;
  /// False when the peer has closed it, or sent something unasked.
  virtual bool IsIdleAndOpen() = 0;
};

}  // namespace gnomon::net
