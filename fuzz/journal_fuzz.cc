// Reads any bytes as a job's journal. Nothing may crash; opening it for writing agrees with reading
// it, and what was cut off stays cut off.

#include "runtime/journal.h"

#include <cstddef>
#include <cstdint>

#include "fuzz/fuzz_check.h"
#include "fuzz/fuzz_file.h"

namespace {

using gnomon::ErrorKind;
using gnomon::fuzz::Require;
using gnomon::runtime::Journal;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const gnomon::fuzz::MemoryFile file(data, size);
  const auto contents = Journal::Read(file.path());
  gnomon::fuzz::RequireKind(contents.status(), {ErrorKind::kDataLoss, ErrorKind::kUnsupported});
  const std::string job = contents.ok() ? contents->job : "job";
  const std::string fingerprint = contents.ok() ? contents->fingerprint : "plan";
  const auto journal = Journal::Open(file.path(), job, fingerprint);
  gnomon::fuzz::RequireKind(journal.status(), {ErrorKind::kDataLoss, ErrorKind::kUnsupported});
  Require(journal.ok() == contents.ok());
  if (!journal.ok()) return 0;
  Require((*journal)->contents().prepared == contents->prepared);
  Require((*journal)->contents().committed == contents->committed);
  const auto again = Journal::Read(file.path());
  Require(again.ok() && again->prepared == contents->prepared);
  return 0;
}
