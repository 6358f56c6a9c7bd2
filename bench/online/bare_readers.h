#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

/// What a bare client does for the same keys: asks, and looks at every byte string that comes back.
class BareReader {
 public:
  virtual ~BareReader() = default;
  /// The number of rows or values that came.
  virtual size_t Read(const std::vector<std::string_view>& keys) = 0;
};

/// Of the table `bench`/`stats` in a store of online_bench's types and places.
std::unique_ptr<BareReader> OpenBareReader(const std::string& type, const std::string& place,
                                           bool feast, const std::string& any_key);

/// Ends the program unless the condition holds.
void Require(bool condition, const char* what);
