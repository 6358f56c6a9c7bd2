// The request parser on any bytes: in one piece and in two it must come to the same request.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "net/http_parser_internal.h"
#include "net/router.h"

namespace {

std::string Summary(const gnomon::net::RequestParser& parser) {
  std::string text(parser.method());
  text.append(" ").append(parser.path()).append("?").append(parser.query());
  for (const auto& field : parser.fields()) {
    text.append("|").append(field.name).append("=").append(field.value);
  }
  return text.append("|").append(parser.body());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using gnomon::net::ParseState;
  if (size < 2) return 0;
  // A copy without padding, so that a read past the end is seen.
  const std::string input(reinterpret_cast<const char*>(data + 1), size - 1);
  // Above any input: a head that just exceeds its limit may pass when it comes in one piece.
  constexpr size_t kLimit = size_t{1} << 20;
  gnomon::net::RequestParser whole(kLimit, kLimit);
  whole.Put(input);
  if (whole.state() != ParseState::kComplete) return 0;
  gnomon::net::RequestParser parts(kLimit, kLimit);
  const size_t used = parts.Put(std::string_view(input).substr(0, data[0] % size));
  parts.Put(std::string_view(input).substr(used));
  if (parts.state() != ParseState::kComplete || Summary(parts) != Summary(whole)) std::abort();

  static const gnomon::net::Router router = [] {
    gnomon::net::Router made;
    made.Get("/health", nullptr).Post("/v1/models/{model}:predict", nullptr);
    return made;
  }();
  gnomon::net::RouteMatch match;
  router.Find(whole.method(), whole.raw_path(), &match);
  return 0;
}
