#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "base/text.h"
#include "feature/online/window_folding.h"
#include "feature/store/feature_store_internal.h"

namespace gnomon::feature {

Result<int64_t> ValueCountBytes() {
  constexpr const char* kVariable = "GNOMON_ONLINE_STORE_VALUE_COUNTS_MB";
  constexpr int64_t kMegabyte = int64_t{1} << 20;
  const char* variable = std::getenv(kVariable);
  if (variable == nullptr) return kValueCountBytes;
  const std::string_view text = variable;
  int64_t megabytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), megabytes);
  if (error != std::errc() || end != text.data() + text.size() || megabytes < 1 ||
      megabytes > std::numeric_limits<int32_t>::max() / kMegabyte) {
    return Error(ErrorKind::kUser, kVariable,
                 " is no whole number of megabytes from 1 to 2047: ", Quoted(text));
  }
  return megabytes * kMegabyte;
}

}  // namespace gnomon::feature
