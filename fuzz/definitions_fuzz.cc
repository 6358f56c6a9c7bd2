// Reads any bytes as a features file and as a feature_store.yaml. Nothing may crash; an error has a
// kind that a user can act on; what is valid stays valid and unchanged when it is completed again.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/config.h"
#include "feature/definition/definition.h"
#include "feature/definition/repository.h"
#include "fuzz/fuzz_check.h"

namespace {

using gnomon::ErrorKind;
using gnomon::Status;
using gnomon::fuzz::Require;

void RequireUserError(const Status& status) {
  gnomon::fuzz::RequireKind(status, {ErrorKind::kUser, ErrorKind::kUnsupported});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const gnomon::Environment no_variables = [](const std::string&) { return std::nullopt; };
  const auto root = gnomon::ParseConfig(text, "fuzz.yaml", no_variables);
  if (!root.ok()) {
    Require(!root.status().message().empty());
    return 0;
  }
  RequireUserError(gnomon::feature::ParseRepositoryConfig(*root, "/nowhere").status());
  const auto parsed = gnomon::feature::ParseDefinitions(*root);
  RequireUserError(parsed.status());
  if (!parsed.ok()) return 0;
  const auto complete = gnomon::feature::Complete(*parsed);
  const Status valid = gnomon::feature::Validate(complete);
  RequireUserError(valid);
  if (!valid.ok()) return 0;
  const auto again = gnomon::feature::Complete(complete);
  Require(again.feature_views == complete.feature_views && again.entities == complete.entities);
  for (const auto& view : complete.feature_views) {
    Require(gnomon::feature::JoinKeys(complete, view).ok());
  }
  return 0;
}
