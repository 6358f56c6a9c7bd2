#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace gnomon {

/// SHA-256 of bytes that come piece by piece: Sha256Hex (ids.h) of all of them. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void Add(std::string_view bytes);
  /// In lower-case hex, of what was added since the last call.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gnomon
