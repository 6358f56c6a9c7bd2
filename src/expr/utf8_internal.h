#pragma once

#include <cstdint>
#include <string_view>

/// UTF-8 text by characters (code points). Invalid bytes are tolerated everywhere: what does not
/// continue a character begins one.
namespace gnomon::expr {

constexpr bool IsContinuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

bool IsValidUtf8(std::string_view text);

int64_t CountCharacters(std::string_view text);

/// `length` characters from character `first` (from 0), fewer at the end.
std::string_view SubCharacters(std::string_view text, int64_t first, int64_t length);

/// Bytes of the character that begins at `at`. REQUIRES: at < text.size().
size_t CharacterBytes(std::string_view text, size_t at);

/// Simple case mapping of ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic letters that keep
/// their length in bytes; other characters stay. `out` has text.size() bytes.
void LowerUtf8(std::string_view text, char* out);
void UpperUtf8(std::string_view text, char* out);

}  // namespace gnomon::expr
