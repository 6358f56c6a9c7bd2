#include <algorithm>
#include <cstddef>

#include "expr/utf8_internal.h"

namespace gnomon::expr {

namespace {

constexpr unsigned ByteOf(char letter) { return static_cast<unsigned char>(letter); }

// The mappings of two-byte characters (U+0080 to U+07FF).
constexpr unsigned LowerTwoByte(unsigned code) {
  if (code >= 0xC0 && code <= 0xDE && code != 0xD7) return code + 0x20;  // Latin-1
  const bool even_is_upper = (code >= 0x100 && code <= 0x137 && code != 0x130 && code != 0x131) ||
                             (code >= 0x14A && code <= 0x177) || (code >= 0x460 && code <= 0x481) ||
                             (code >= 0x48A && code <= 0x4BF) || (code >= 0x4D0 && code <= 0x52F);
  if (even_is_upper) return code | 1U;
  const bool odd_is_upper = (code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17E);
  if (odd_is_upper) return code + (code & 1U);
  if (code == 0x178) return 0xFF;
  if (code == 0x386) return 0x3AC;  // Greek
  if (code >= 0x388 && code <= 0x38A) return code + 0x25;
  if (code == 0x38C) return 0x3CC;
  if (code == 0x38E || code == 0x38F) return code + 0x3F;
  if (code >= 0x391 && code <= 0x3AB && code != 0x3A2) return code + 0x20;
  if (code >= 0x400 && code <= 0x40F) return code + 0x50;  // Cyrillic
  if (code >= 0x410 && code <= 0x42F) return code + 0x20;
  return code;
}

constexpr unsigned UpperTwoByte(unsigned code) {
  if (code == 0x3C2) return 0x3A3;  // final sigma
  for (const unsigned distance : {0x20U, 0x01U, 0x25U, 0x26U, 0x3FU, 0x40U, 0x50U}) {
    if (LowerTwoByte(code - distance) == code && code - distance >= 0xC0) return code - distance;
  }
  return code == 0xFF ? 0x178 : code;
}

template <typename Ascii, typename TwoByte>
void MapCase(std::string_view text, char* out, Ascii ascii, TwoByte two_byte) {
  size_t at = 0;
  while (at < text.size()) {
    const unsigned byte = ByteOf(text[at]);
    if (byte < 0x80) {
      out[at] = ascii(text[at]);
      ++at;
    } else if (byte >= 0xC2 && byte <= 0xDF && at + 1 < text.size() &&
               IsContinuation(text[at + 1])) {
      const unsigned code = two_byte(((byte & 0x1F) << 6) | (ByteOf(text[at + 1]) & 0x3F));
      out[at] = static_cast<char>(0xC0 | (code >> 6));
      out[at + 1] = static_cast<char>(0x80 | (code & 0x3F));
      at += 2;
    } else {
      out[at] = text[at];
      ++at;
    }
  }
}

}  // namespace

bool IsValidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const unsigned byte = ByteOf(text[at]);
    if (byte < 0x80) {
      ++at;
      continue;
    }
    size_t more = 0;
    unsigned code = 0;
    unsigned least = 0;
    if (byte >= 0xC2 && byte <= 0xDF) {
      more = 1, code = byte & 0x1F, least = 0x80;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
      more = 2, code = byte & 0x0F, least = 0x800;
    } else if (byte >= 0xF0 && byte <= 0xF4) {
      more = 3, code = byte & 0x07, least = 0x10000;
    } else {
      return false;
    }
    if (text.size() - at <= more) return false;
    for (size_t i = 1; i <= more; ++i) {
      if (!IsContinuation(text[at + i])) return false;
      code = (code << 6) | (ByteOf(text[at + i]) & 0x3F);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    at += more + 1;
  }
  return true;
}

int64_t CountCharacters(std::string_view text) {
  int64_t count = 0;
  for (const char letter : text) count += IsContinuation(letter) ? 0 : 1;
  // A text that begins with stray continuation bytes counts them as one character.
  return count + (!text.empty() && IsContinuation(text[0]) ? 1 : 0);
}

size_t CharacterBytes(std::string_view text, size_t at) {
  size_t end = at + 1;
  while (end < text.size() && IsContinuation(text[end])) ++end;
  return end - at;
}

std::string_view SubCharacters(std::string_view text, int64_t first, int64_t length) {
  size_t begin = 0;
  for (; first > 0 && begin < text.size(); --first) begin += CharacterBytes(text, begin);
  size_t end = begin;
  for (; length > 0 && end < text.size(); --length) end += CharacterBytes(text, end);
  return text.substr(begin, end - begin);
}

void LowerUtf8(std::string_view text, char* out) {
  MapCase(
      text, out, [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; },
      LowerTwoByte);
}

void UpperUtf8(std::string_view text, char* out) {
  MapCase(
      text, out, [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; },
      UpperTwoByte);
}

}  // namespace gnomon::expr
