#include "base/sha256.h"

#include <doctest/doctest.h>

#include "base/ids.h"

namespace gnomon {
namespace {

TEST_CASE("a digest does not depend on the pieces that its bytes come in") {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes.push_back(static_cast<char>(i * 7));
  Sha256 digest;
  for (const size_t piece : {1, 63, 64, 65, 333}) {
    CAPTURE(piece);
    for (size_t begin = 0; begin < bytes.size(); begin += piece)
      digest.Add(std::string_view(bytes).substr(begin, piece));
    CHECK(digest.Finish() == Sha256Hex(bytes));
  }
}

TEST_CASE("the digest of nothing is the standard's") {
  CHECK(Sha256().Finish() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace gnomon
