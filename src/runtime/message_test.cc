#include "runtime/message.h"

#include <random>

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;  // NOLINT

Task SomeTask() {
  return {.job = "job",
          .stage = "scan",
          .function = "dataset.scan",
          .fragment = std::string("\0\xff plan", 7),
          .argument = "\x80",
          .partition = 3,
          .num_partitions = 8,
          .attempt = 2,
          .num_outputs = 5,
          .inputs = {{{.node = 1, .id = 2, .rows = 3, .bytes = 4, .spilled = true}}, {}},
          .resources = {.cpus = 1.5, .gpus = 1, .memory_bytes = 77, .custom = {{"disk", 2}}}};
}

TEST_CASE("a task survives the way through bytes") {
  CHECK(ValueOf(DecodeTask(EncodeTask(SomeTask()))) == SomeTask());
}

TEST_CASE("an outcome survives the way through bytes") {
  const TaskOutcome outcome{.task = 9,
                            .status = {},
                            .lost = false,
                            .output = {.blocks = SomeTask().inputs[0],
                                       .commit_token = "\xff",
                                       .report = std::string("\0\xfe", 2),
                                       .seconds = 1.25}};
  const TaskOutcome decoded = ValueOf(DecodeOutcome(EncodeOutcome(outcome)));
  CHECK(decoded.task == 9);
  CHECK(decoded.status.ok());
  CHECK(decoded.output.blocks == outcome.output.blocks);
  CHECK(decoded.output.commit_token == "\xff");
  CHECK(decoded.output.report == outcome.output.report);
  CHECK(decoded.output.seconds == 1.25);
}

TEST_CASE("an error of every kind survives the way through bytes, with place, hint and retryable") {
  for (int kind = 0; kind <= static_cast<int>(ErrorKind::kInternal); ++kind) {
    CAPTURE(kind);
    const auto error_kind = static_cast<ErrorKind>(kind);
    for (const bool retryable : {false, true}) {
      const Status status =
          MakeError(error_kind, "what \xff is wrong")
              .WithDetail(std::make_shared<ErrorDetail>(
                  error_kind, retryable,
                  Location{.file = "a.csv", .line = 1, .column = 2, .row = 3}, "do this"));
      Status decoded;
      RequireOk(DecodeStatus(EncodeStatus(status), &decoded));
      CHECK(KindOf(decoded) == error_kind);
      CHECK(IsRetryable(decoded) == retryable);
      CHECK(decoded.code() == status.code());
      CHECK(decoded.message() == status.message());
      CHECK(LocationOf(decoded).ToString() == "a.csv:1:2, row 3");
      CHECK(HintOf(decoded) == "do this");
    }
  }
}

TEST_CASE("bytes that are no message are data loss, whatever they are") {
  std::mt19937 random(20240611);
  for (int round = 0; round < 2000; ++round) {
    CAPTURE(round);
    Task task = SomeTask();
    task.resources.custom.clear();
    std::string bytes = EncodeTask(task);
    bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.resize(random() % (bytes.size() + 1));
    const auto decoded = DecodeTask(bytes);
    if (!decoded.ok()) CHECK(KindOf(decoded.status()) == ErrorKind::kDataLoss);
  }
  CHECK_ERROR(DecodeOutcome("\xff\xff"), ErrorKind::kDataLoss, "not a message");
}

}  // namespace
}  // namespace gnomon::runtime
