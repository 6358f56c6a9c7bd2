#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

/// The byte stream under a connection: a TCP socket, with TLS or without. Without Asio's headers.
namespace gnomon::net {

enum class IoResult { kOk, kEnd, kError };

/// Who is told when an operation of a Stream ends. Always called from the stream's loop, never from
/// within the call that began the operation.
class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  virtual void OnHandshake(IoResult result) = 0;
  virtual void OnRead(IoResult result, size_t num_bytes) = 0;
  virtual void OnWrite(IoResult result) = 0;
  virtual void OnShutdown() = 0;
};

/// All calls on the loop's thread. Each operation keeps its owner alive until it ends; at most one
/// read and one of {write, handshake, shutdown} at a time. Buffers live until the operation ends.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Plain sockets succeed at once.
  virtual void Handshake(std::shared_ptr<StreamOwner> owner) = 0;
  virtual void Read(std::span<char> buffer, std::shared_ptr<StreamOwner> owner) = 0;
  /// Reads below TLS, to throw the bytes away after Shutdown.
  virtual void ReadRaw(std::span<char> buffer, std::shared_ptr<StreamOwner> owner) = 0;
  /// Writes all of `first` and then all of `second`.
  virtual void Write(std::string_view first, std::string_view second,
                     std::shared_ptr<StreamOwner> owner) = 0;
  /// Ends our direction: close_notify with TLS, then FIN.
  virtual void Shutdown(std::shared_ptr<StreamOwner> owner) = 0;
  /// FIN without close_notify, for when a read is pending.
  virtual void ShutdownRaw() = 0;
  /// Pending operations end with kError.
  virtual void Close() = 0;
};

}  // namespace gnomon::net
