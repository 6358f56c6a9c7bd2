// Parses any bytes as a plan of the dataset module. Nothing may crash; a plan that parses is
// serialised to bytes that parse again to the same bytes.

#include "dataset/plan.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/fuzz_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using gnomon::ErrorKind;
  using gnomon::fuzz::Require;
  const auto plan =
      gnomon::dataset::ParsePlan(std::string_view(reinterpret_cast<const char*>(data), size));
  gnomon::fuzz::RequireKind(plan.status(), {ErrorKind::kDataLoss, ErrorKind::kUnsupported,
                                            ErrorKind::kUser, ErrorKind::kNotFound});
  if (!plan.ok()) return 0;
  const auto bytes = gnomon::dataset::SerializePlan(*plan);
  Require(bytes.ok());
  const auto again = gnomon::dataset::ParsePlan(*bytes);
  Require(again.ok());
  const auto bytes_again = gnomon::dataset::SerializePlan(*again);
  Require(bytes_again.ok() && *bytes_again == *bytes);
  return 0;
}
