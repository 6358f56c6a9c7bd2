#pragma once

#include <functional>
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

/// Waits until the socket may be written (POLLOUT) or read (POLLIN), or says why it waits no
/// longer: the frame is given up with that error, in its middle.
using FrameWait = std::function<Status(short events)>;

/// Returns when the whole frame is sent. kUnavailable when the other side is gone. Without `wait`
/// it blocks.
Status SendFrame(int socket, std::string_view payload, std::span<const FileDescriptor> files = {},
                 const FrameWait& wait = {});

/// Returns when a frame has come; absent when the other side closed between two frames.
/// kUnavailable when it went away inside one, kDataLoss for what is no frame. Without `wait` it
/// blocks.
Result<std::optional<Frame>> ReceiveFrame(int socket, const FrameWait& wait = {});

}  // namespace gnomon::runtime
