#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/text.h"
#include "expr/diagnostic_internal.h"
#include "expr/utf8_internal.h"

namespace gnomon::expr {

namespace {

constexpr int64_t kWidth = 100;  // characters of the text that an error shows
constexpr int64_t kBefore = 60;  // of these at most so many before the caret
constexpr size_t kExcerpt = 80;  // bytes

std::string Printable(std::string_view text) {
  std::string out(text);
  for (char& letter : out) {
    const auto byte = static_cast<unsigned char>(letter);
    if (byte < 0x20 || byte == 0x7f) letter = ' ';
  }
  return out;
}

}  // namespace

Status ErrorAt(std::string_view text, int offset, std::string_view message, std::string hint) {
  const size_t place = std::min(static_cast<size_t>(std::max(offset, 0)), text.size());
  const size_t previous = text.substr(0, place).rfind('\n');
  const size_t begin = previous == std::string_view::npos ? 0 : previous + 1;
  const size_t end = std::min(text.find('\n', place), text.size());
  const std::string_view line = text.substr(begin, end - begin);
  const int64_t column = CountCharacters(line.substr(0, place - begin));
  const int64_t first = std::max<int64_t>(0, column - kBefore);
  const std::string_view shown = SubCharacters(line, first, kWidth);

  Location location;
  location.column = static_cast<int>(column) + 1;
  if (text.find('\n') != std::string_view::npos) {
    location.line = static_cast<int>(std::ranges::count(text.substr(0, place), '\n')) + 1;
  }
  const std::string indent(static_cast<size_t>(column - first), ' ');
  return MakeError(ErrorKind::kUser, Concat(message, "\n  ", Printable(shown), "\n  ", indent, '^'),
                   std::move(location), std::move(hint));
}

std::string Excerpt(std::string_view text, int begin, int end) {
  const auto length = static_cast<size_t>(end - begin);
  std::string_view part = text.substr(static_cast<size_t>(begin), length);
  if (part.size() <= kExcerpt) return Printable(part);
  size_t cut = kExcerpt;
  while (cut > 0 && IsContinuation(part[cut])) --cut;
  return Printable(part.substr(0, cut)) + "...";
}

}  // namespace gnomon::expr
