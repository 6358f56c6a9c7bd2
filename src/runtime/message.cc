#include "runtime/message.h"

#include <array>
#include <memory>
#include <utility>

#include "runtime/message_internal.h"

namespace gnomon::runtime {

namespace {

constexpr std::array<ErrorKind, 12> kKinds = {ErrorKind::kUser,        ErrorKind::kNotFound,
                                              ErrorKind::kConflict,    ErrorKind::kUnauthenticated,
                                              ErrorKind::kDenied,      ErrorKind::kExhausted,
                                              ErrorKind::kUnavailable, ErrorKind::kDeadline,
                                              ErrorKind::kCancelled,   ErrorKind::kDataLoss,
                                              ErrorKind::kUnsupported, ErrorKind::kInternal};

// The kind of a name; kInternal for one that a newer build made up.
ErrorKind KindOfName(const std::string& name) {
  for (const ErrorKind kind : kKinds) {
    if (name == NameOf(kind)) return kind;
  }
  return ErrorKind::kInternal;
}

void ToMessage(std::span<const BlockDescriptor> blocks, proto::Blocks* message) {
  for (const BlockDescriptor& block : blocks) {
    proto::Block* out = message->add_blocks();
    out->set_node(block.node);
    out->set_id(block.id);
    out->set_rows(block.rows);
    out->set_bytes(block.bytes);
    out->set_spilled(block.spilled);
  }
}

std::vector<BlockDescriptor> FromMessage(const proto::Blocks& message) {
  std::vector<BlockDescriptor> blocks;
  blocks.reserve(static_cast<size_t>(message.blocks_size()));
  for (const proto::Block& block : message.blocks()) {
    blocks.push_back({.node = block.node(),
                      .id = block.id(),
                      .rows = block.rows(),
                      .bytes = block.bytes(),
                      .spilled = block.spilled()});
  }
  return blocks;
}

}  // namespace

void ToMessage(const Task& task, proto::TaskMessage* message) {
  message->set_job(task.job);
  message->set_stage(task.stage);
  message->set_function(task.function);
  message->set_fragment(task.fragment);
  message->set_argument(task.argument);
  message->set_partition(task.partition);
  message->set_num_partitions(task.num_partitions);
  message->set_attempt(task.attempt);
  message->set_num_outputs(task.num_outputs);
  for (const auto& edge : task.inputs) ToMessage(edge, message->add_inputs());
  proto::ResourceSet* resources = message->mutable_resources();
  resources->set_cpus(task.resources.cpus);
  resources->set_gpus(task.resources.gpus);
  resources->set_memory_bytes(task.resources.memory_bytes);
  for (const auto& [name, amount] : task.resources.custom) {
    (*resources->mutable_custom())[name] = amount;
  }
}

Task FromMessage(const proto::TaskMessage& message) {
  Task task{.job = message.job(),
            .stage = message.stage(),
            .function = message.function(),
            .fragment = message.fragment(),
            .argument = message.argument(),
            .partition = message.partition(),
            .num_partitions = message.num_partitions(),
            .attempt = message.attempt(),
            .num_outputs = message.num_outputs(),
            .inputs = {},
            .resources = {.cpus = message.resources().cpus(),
                          .gpus = message.resources().gpus(),
                          .memory_bytes = message.resources().memory_bytes(),
                          .custom = {}}};
  for (const auto& edge : message.inputs()) task.inputs.push_back(FromMessage(edge));
  for (const auto& [name, amount] : message.resources().custom()) {
    task.resources.custom[name] = amount;
  }
  return task;
}

void ToMessage(const Status& status, proto::ErrorMessage* message) {
  if (status.ok()) return;
  message->set_kind(NameOf(KindOf(status)));
  message->set_retryable(IsRetryable(status));
  message->set_message(status.message());
  const Location location = LocationOf(status);
  message->set_file(location.file);
  message->set_line(location.line);
  message->set_column(location.column);
  message->set_row(location.row);
  message->set_hint(HintOf(status));
}

Status FromMessage(const proto::ErrorMessage& message) {
  if (message.kind().empty()) return Status::OK();
  const ErrorKind kind = KindOfName(message.kind());
  Location location{.file = message.file(),
                    .line = message.line(),
                    .column = message.column(),
                    .row = message.row()};
  return MakeError(kind, message.message())
      .WithDetail(std::make_shared<ErrorDetail>(kind, message.retryable(), std::move(location),
                                                message.hint()));
}

void ToMessage(const TaskOutcome& outcome, proto::OutcomeMessage* message) {
  message->set_task(outcome.task);
  ToMessage(outcome.status, message->mutable_error());
  message->set_lost(outcome.lost);
  ToMessage(outcome.output.blocks, message->mutable_outputs());
  message->set_commit_token(outcome.output.commit_token);
  message->set_report(outcome.output.report);
  message->set_seconds(outcome.output.seconds);
}

TaskOutcome FromMessage(const proto::OutcomeMessage& message) {
  return {.task = message.task(),
          .status = FromMessage(message.error()),
          .lost = message.lost(),
          .output = {.blocks = FromMessage(message.outputs()),
                     .commit_token = message.commit_token(),
                     .report = message.report(),
                     .seconds = message.seconds()}};
}

std::string EncodeTask(const Task& task) {
  proto::TaskMessage message;
  ToMessage(task, &message);
  return message.SerializeAsString();
}

Result<Task> DecodeTask(std::string_view bytes) {
  GNOMON_ASSIGN_OR_RETURN(auto message, ParseMessage<proto::TaskMessage>(bytes, "task"));
  return FromMessage(message);
}

std::string EncodeOutcome(const TaskOutcome& outcome) {
  proto::OutcomeMessage message;
  ToMessage(outcome, &message);
  return message.SerializeAsString();
}

Result<TaskOutcome> DecodeOutcome(std::string_view bytes) {
  GNOMON_ASSIGN_OR_RETURN(auto message, ParseMessage<proto::OutcomeMessage>(bytes, "outcome"));
  return FromMessage(message);
}

std::string EncodeStatus(const Status& status) {
  proto::ErrorMessage message;
  ToMessage(status, &message);
  return message.SerializeAsString();
}

Status DecodeStatus(std::string_view bytes, Status* status) {
  GNOMON_ASSIGN_OR_RETURN(auto message, ParseMessage<proto::ErrorMessage>(bytes, "error"));
  *status = FromMessage(message);
  return Status::OK();
}

}  // namespace gnomon::runtime
