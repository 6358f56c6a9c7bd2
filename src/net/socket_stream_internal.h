#pragma once

#include <memory>

#include <boost/asio/ip/tcp.hpp>

#include "base/error.h"
#include "net/stream_internal.h"

namespace gnomon::net {

/// Certificate and key of a TLS server. Immutable; shared by all connections.
class TlsContext {
 public:
  /// kUser, naming the file, when one cannot be read or they do not belong together.
  static Result<std::shared_ptr<const TlsContext>> Load(const std::string& cert_file,
                                                        const std::string& key_file);
  virtual ~TlsContext() = default;
};

/// `tls` may be null: a plain socket. It is kept alive by the stream.
std::unique_ptr<Stream> MakeSocketStream(boost::asio::ip::tcp::socket socket,
                                         std::shared_ptr<const TlsContext> tls);

}  // namespace gnomon::net
