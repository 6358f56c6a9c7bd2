#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/stubs/logging.h>

#include "base/error.h"
#include "gnomon/runtime.pb.h"
#include "runtime/block.h"
#include "runtime/message.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

void ToMessage(const Task& task, proto::TaskMessage* message);
Task FromMessage(const proto::TaskMessage& message);
void ToMessage(const TaskOutcome& outcome, proto::OutcomeMessage* message);
TaskOutcome FromMessage(const proto::OutcomeMessage& message);
void ToMessage(const Status& status, proto::ErrorMessage* message);
Status FromMessage(const proto::ErrorMessage& message);

/// Parses bytes as a message; kDataLoss names `what`.
template <typename Message>
Result<Message> ParseMessage(std::string_view bytes, std::string_view what) {
  const google::protobuf::LogSilencer silencer;  // the error below says it
  Message message;
  if (bytes.size() > size_t{1} << 30 ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Error(ErrorKind::kDataLoss, "not a message: ", what);
  }
  return message;
}

}  // namespace gnomon::runtime
