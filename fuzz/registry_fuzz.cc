// Reads any bytes as the two files of a registry: two bytes with the length of the side file's
// payload (little-endian), the payload, the registry. The side file's header is made right, so that
// the search gets past its digest. Nothing may crash; a registry that opens tells everything that
// it holds.

#include "feature/registry/registry.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/files.h"
#include "base/ids.h"
#include "fuzz/fuzz_check.h"

namespace {

using gnomon::ErrorKind;
using gnomon::fuzz::Require;

constexpr std::string_view kHeader("GNOMONRG\x01\x00\x00\x00", 12);

void RequireDamage(const gnomon::Status& status) {
  gnomon::fuzz::RequireKind(status,
                            {ErrorKind::kDataLoss, ErrorKind::kUnsupported, ErrorKind::kUser});
}

// Without a sync, which would take most of the time.
void Write(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  Require(file.good());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gnomon::TemporaryFolder kFolder = *gnomon::TemporaryFolder::Make("gnomon-fuzz");
  static const std::string kPath = kFolder.path() + "/registry.db";
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t split = std::min<size_t>(bytes.size(), data[0] + size_t{256} * data[1]);
  const std::string payload(bytes.substr(0, split));
  const std::string side = std::string(kHeader) + gnomon::Sha256Hex(payload) + payload;
  Write(kPath, bytes.substr(split));
  Write(kPath + ".gnomon", side);

  const gnomon::Context context;
  const auto registry = gnomon::feature::Registry::Open(context, kPath, "drivers");
  RequireDamage(registry.status());
  if (!registry.ok()) return 0;
  const auto definitions = (*registry)->definitions();
  Require(definitions != nullptr);
  for (const auto& view : definitions->feature_views) (void)(*registry)->StateOf(view.name);
  (void)(*registry)->Jobs();
  (void)(*registry)->SavedDatasets();
  (void)(*registry)->Plan(*definitions);
  RequireDamage((*registry)->DumpJson().status());
  return 0;
}
