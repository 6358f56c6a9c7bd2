// Decodes any bytes as each message between a driver and its workers. Nothing may crash; what
// decodes is encoded to bytes of the same message (as many: a map has no order).

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/fuzz_check.h"
#include "runtime/message.h"

namespace {

using gnomon::Status;
using gnomon::fuzz::Require;

void RequireDamage(const Status& status) {
  gnomon::fuzz::RequireKind(status, {gnomon::ErrorKind::kDataLoss});
}

void CheckTask(std::string_view bytes) {
  const auto task = gnomon::runtime::DecodeTask(bytes);
  RequireDamage(task.status());
  if (!task.ok()) return;
  const std::string encoded = gnomon::runtime::EncodeTask(*task);
  const auto again = gnomon::runtime::DecodeTask(encoded);
  Require(again.ok() && gnomon::runtime::EncodeTask(*again).size() == encoded.size());
}

void CheckOutcome(std::string_view bytes) {
  const auto outcome = gnomon::runtime::DecodeOutcome(bytes);
  RequireDamage(outcome.status());
  if (!outcome.ok()) return;
  const std::string encoded = gnomon::runtime::EncodeOutcome(*outcome);
  const auto again = gnomon::runtime::DecodeOutcome(encoded);
  Require(again.ok() && gnomon::runtime::EncodeOutcome(*again).size() == encoded.size());
}

void CheckStatus(std::string_view bytes) {
  Status status;
  const Status decoded = gnomon::runtime::DecodeStatus(bytes, &status);
  RequireDamage(decoded);
  if (!decoded.ok()) return;
  Status again;
  Require(gnomon::runtime::DecodeStatus(gnomon::runtime::EncodeStatus(status), &again).ok());
  Require(again.ok() == status.ok() && again.message() == status.message());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  CheckTask(bytes);
  CheckOutcome(bytes);
  CheckStatus(bytes);
  return 0;
}
