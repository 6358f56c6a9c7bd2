#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "runtime/file_descriptor.h"

/// Frames on a unix socket between a driver and its worker: bytes, and open files beside them
/// (docs/formats/worker_protocol.md).
namespace gnomon::runtime {

struct Frame {
  std::string payload;
  std::vector<FileDescriptor> files;
};

/// Blocks until the whole frame is sent. kUnavailable when the other side is gone.
Status SendFrame(int socket, std::string_view payload, std::span<const FileDescriptor> files = {});

/// Blocks until a frame has come; absent when the other side closed between two frames.
/// kUnavailable when it went away inside one, kDataLoss for what is no frame.
Result<std::optional<Frame>> ReceiveFrame(int socket);

}  // namespace gnomon::runtime
