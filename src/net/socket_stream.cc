#include <array>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>

#include "net/socket_stream_internal.h"

namespace gnomon::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using TlsSocket = asio::ssl::stream<tcp::socket>;
using Owner = std::shared_ptr<StreamOwner>;

IoResult ResultOf(const error_code& ec) {
  if (!ec) return IoResult::kOk;
  return ec == asio::error::eof || ec == asio::ssl::error::stream_truncated ? IoResult::kEnd
                                                                            : IoResult::kError;
}

template <typename Socket>
void ReadSome(Socket& socket, std::span<char> buffer, Owner owner) {
  socket.async_read_some(asio::buffer(buffer.data(), buffer.size()),
                         [owner = std::move(owner)](const error_code& ec, size_t num_bytes) {
                           owner->OnRead(ResultOf(ec), num_bytes);
                         });
}

template <typename Socket>
void WriteAll(Socket& socket, std::string_view first, std::string_view second, Owner owner) {
  auto done = [owner = std::move(owner)](const error_code& ec, size_t) {
    owner->OnWrite(ResultOf(ec));
  };
  const asio::const_buffer head(first.data(), first.size());
  if (second.empty()) {
    asio::async_write(socket, head, std::move(done));
  } else {
    const std::array<asio::const_buffer, 2> both{head,
                                                 asio::const_buffer(second.data(), second.size())};
    asio::async_write(socket, both, std::move(done));
  }
}

void CloseSocket(tcp::socket& socket) {
  error_code ignored;
  socket.close(ignored);
}

void ShutdownSend(tcp::socket& socket) {
  error_code ignored;
  socket.shutdown(tcp::socket::shutdown_send, ignored);
}

class PlainStream : public Stream {
 public:
  explicit PlainStream(tcp::socket socket) : socket_(std::move(socket)) {}

  void Handshake(Owner owner) override {
    asio::post(socket_.get_executor(),
               [owner = std::move(owner)] { owner->OnHandshake(IoResult::kOk); });
  }
  void Read(std::span<char> buffer, Owner owner) override {
    ReadSome(socket_, buffer, std::move(owner));
  }
  void ReadRaw(std::span<char> buffer, Owner owner) override {
    ReadSome(socket_, buffer, std::move(owner));
  }
  void Write(std::string_view first, std::string_view second, Owner owner) override {
    WriteAll(socket_, first, second, std::move(owner));
  }
  void Shutdown(Owner owner) override {
    ShutdownSend(socket_);
    asio::post(socket_.get_executor(), [owner = std::move(owner)] { owner->OnShutdown(); });
  }
  void ShutdownRaw() override { ShutdownSend(socket_); }
  void Close() override { CloseSocket(socket_); }

 private:
  tcp::socket socket_;
};

class TlsServerContext : public TlsContext {
 public:
  TlsServerContext() : context_(asio::ssl::context::tls_server) {}
  // Asio's streams want it mutable, though they only copy from it (SSL_new, which is thread-safe).
  asio::ssl::context& context() const { return context_; }

 private:
  mutable asio::ssl::context context_;
};

class TlsStream : public Stream {
 public:
  TlsStream(tcp::socket socket, std::shared_ptr<const TlsContext> tls)
      : tls_(std::move(tls)),
        socket_(std::move(socket), static_cast<const TlsServerContext&>(*tls_).context()) {}

  void Handshake(Owner owner) override {
    socket_.async_handshake(
        asio::ssl::stream_base::server,
        [owner = std::move(owner)](const error_code& ec) { owner->OnHandshake(ResultOf(ec)); });
  }
  void Read(std::span<char> buffer, Owner owner) override {
    ReadSome(socket_, buffer, std::move(owner));
  }
  void ReadRaw(std::span<char> buffer, Owner owner) override {
    ReadSome(socket_.next_layer(), buffer, std::move(owner));
  }
  void Write(std::string_view first, std::string_view second, Owner owner) override {
    WriteAll(socket_, first, second, std::move(owner));
  }
  void Shutdown(Owner owner) override {
    socket_.async_shutdown([this, owner = std::move(owner)](const error_code&) {
      ShutdownSend(socket_.next_layer());
      owner->OnShutdown();
    });
  }
  void ShutdownRaw() override { ShutdownSend(socket_.next_layer()); }
  void Close() override { CloseSocket(socket_.next_layer()); }

 private:
  std::shared_ptr<const TlsContext> tls_;
  TlsSocket socket_;
};

Status FileError(const std::string& file, const error_code& ec) {
  return Error(ErrorKind::kUser, "cannot use the TLS file ", file, ": ", ec.message());
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::Load(const std::string& cert_file,
                                                           const std::string& key_file) {
  auto tls = std::make_shared<TlsServerContext>();
  asio::ssl::context& context = tls->context();
  error_code ec;
  context.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                          asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                          asio::ssl::context::no_tlsv1_1,
                      ec);
  if (ec) return Error(ErrorKind::kInternal, "cannot set TLS options: ", ec.message());
  context.use_certificate_chain_file(cert_file, ec);
  if (ec) return FileError(cert_file, ec);
  context.use_private_key_file(key_file, asio::ssl::context::pem, ec);
  if (ec) return FileError(key_file, ec);
  return std::shared_ptr<const TlsContext>(std::move(tls));
}

std::unique_ptr<Stream> MakeSocketStream(tcp::socket socket,
                                         std::shared_ptr<const TlsContext> tls) {
  if (tls == nullptr) return std::make_unique<PlainStream>(std::move(socket));
  return std::make_unique<TlsStream>(std::move(socket), std::move(tls));
}

}  // namespace gnomon::net
