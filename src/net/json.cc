#include "net/json.h"

#include <array>
#include <charconv>
#include <cmath>

namespace gnomon::net {
namespace {

constexpr std::array<bool, 256> MakePlainBytes() {
  std::array<bool, 256> plain{};
  for (size_t byte = 0x20; byte < 0x80; ++byte) plain[byte] = byte != '"' && byte != '\\';
  return plain;
}
constexpr std::array<bool, 256> kPlain = MakePlainBytes();

uint8_t ByteAt(std::string_view text, size_t index) { return static_cast<uint8_t>(text[index]); }

// The length of the UTF-8 sequence at `index`, 0 when it is not a valid one (overlong forms,
// surrogates and code points above U+10FFFF are not).
size_t Utf8Length(std::string_view text, size_t index) {
  const uint8_t first = ByteAt(text, index);
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  if (text.size() - index < length) return 0;
  if (ByteAt(text, index + 1) < low || ByteAt(text, index + 1) > high) return 0;
  for (size_t next = 2; next < length; ++next) {
    if ((ByteAt(text, index + next) & 0xC0) != 0x80) return 0;
  }
  return length;
}

void AppendEscape(std::string* out, char byte) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (byte) {
    case '"':
      out->append("\\\"");
      return;
    case '\\':
      out->append("\\\\");
      return;
    case '\n':
      out->append("\\n");
      return;
    case '\r':
      out->append("\\r");
      return;
    case '\t':
      out->append("\\t");
      return;
    default: {
      const auto value = static_cast<uint8_t>(byte);
      out->append("\\u00");
      out->push_back(kHex[value >> 4]);
      out->push_back(kHex[value & 15]);
    }
  }
}

}  // namespace

void AppendJsonString(std::string* out, std::string_view text) {
  out->push_back('"');
  size_t start = 0;  // of the run not yet copied
  size_t index = 0;
  while (index < text.size()) {
    if (kPlain[ByteAt(text, index)]) {
      ++index;
      continue;
    }
    if (ByteAt(text, index) >= 0x80) {
      if (const size_t length = Utf8Length(text, index); length > 0) {
        index += length;
        continue;
      }
      out->append(text.substr(start, index - start));
      out->append("\xEF\xBF\xBD");
    } else {
      out->append(text.substr(start, index - start));
      AppendEscape(out, text[index]);
    }
    start = ++index;
  }
  out->append(text.substr(start));
  out->push_back('"');
}

JsonWriter& JsonWriter::BeginObject() {
  BeforeValue();
  out_->push_back('{');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndObject() {
  out_->push_back('}');
  comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::BeginArray() {
  BeforeValue();
  out_->push_back('[');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::EndArray() {
  out_->push_back(']');
  comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Key(std::string_view key) {
  BeforeValue();
  AppendJsonString(out_, key);
  out_->push_back(':');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::String(std::string_view value) {
  BeforeValue();
  AppendJsonString(out_, value);
  return *this;
}

JsonWriter& JsonWriter::Int(int64_t value) {
  BeforeValue();
  std::array<char, 24> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out_->append(text.data(), end);
  return *this;
}

JsonWriter& JsonWriter::UInt(uint64_t value) {
  BeforeValue();
  std::array<char, 24> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out_->append(text.data(), end);
  return *this;
}

template <typename Number>
void JsonWriter::AppendReal(Number value) {
  BeforeValue();
  if (!std::isfinite(value)) {
    if (non_finite_ == NonFinite::kNull) {
      out_->append("null");
      return;
    }
    const std::string_view quote = non_finite_ == NonFinite::kString ? "\"" : "";
    out_->append(quote);
    out_->append(std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
    out_->append(quote);
    return;
  }
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  const std::string_view written(text.data(), static_cast<size_t>(end - text.data()));
  out_->append(written);
  if (written.find_first_of(".e") == std::string_view::npos) out_->append(".0");
}

JsonWriter& JsonWriter::Double(double value) {
  AppendReal(value);
  return *this;
}

JsonWriter& JsonWriter::Float(float value) {
  AppendReal(value);
  return *this;
}

JsonWriter& JsonWriter::Bool(bool value) {
  BeforeValue();
  out_->append(value ? "true" : "false");
  return *this;
}

JsonWriter& JsonWriter::Null() {
  BeforeValue();
  out_->append("null");
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  BeforeValue();
  out_->append(json);
  return *this;
}

}  // namespace gnomon::net
