#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "runtime/block.h"
#include "runtime/stage.h"

/// The messages between driver and workers as bytes (src/proto/gnomon/runtime.proto).
namespace gnomon::runtime {

/// A task's handle at its backend.
using TaskId = int64_t;

/// How a task ended.
struct TaskOutcome {
  TaskId task = 0;
  Status status;
  /// Not the function's fault: its node or worker died, or an input could not be fetched.
  bool lost = false;
  TaskOutput output;  ///< when status is OK
};

std::string EncodeTask(const Task& task);
/// The decoders return kDataLoss for bytes that are no such message.
Result<Task> DecodeTask(std::string_view bytes);

std::string EncodeOutcome(const TaskOutcome& outcome);
Result<TaskOutcome> DecodeOutcome(std::string_view bytes);

/// Kind, retryable, message, location and hint survive.
std::string EncodeStatus(const Status& status);
/// Puts the status of the bytes into `*status`.
Status DecodeStatus(std::string_view bytes, Status* status);

}  // namespace gnomon::runtime
