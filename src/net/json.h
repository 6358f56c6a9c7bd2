#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gnomon::net {

/// How JSON, which has no word for them, writes NaN and the infinities.
enum class NonFinite {
  kNull,     ///< null
  kString,   ///< "NaN", "Infinity", "-Infinity", as protobuf's JSON
  kLiteral,  ///< NaN, Infinity, -Infinity, as Python's json: not JSON
};

/// Appends compact JSON to a string; commas come by themselves. Not thread-safe.
///
/// The caller keeps the nesting right (Key before each value of an object, every Begin ended);
/// nothing checks it.
///
///   JsonWriter json(&out);
///   json.BeginObject().Key("rows").Int(2).Key("names").BeginArray().String("a").EndArray().EndObject();
class JsonWriter {
 public:
  /// `out` is borrowed; what it holds stays in front.
  explicit JsonWriter(std::string* out, NonFinite non_finite = NonFinite::kNull)
      : out_(out), non_finite_(non_finite) {}

  JsonWriter& BeginObject();
  JsonWriter& EndObject();
  JsonWriter& BeginArray();
  JsonWriter& EndArray();
  JsonWriter& Key(std::string_view key);

  /// Bytes that are not UTF-8 become U+FFFD.
  JsonWriter& String(std::string_view value);
  JsonWriter& Int(int64_t value);
  JsonWriter& UInt(uint64_t value);
  /// The shortest text that reads back to the same value, always with a fraction or an exponent
  /// ("1.0").
  JsonWriter& Double(double value);
  /// The same for a float32: 0.1f is "0.1".
  JsonWriter& Float(float value);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();
  /// A value that is JSON already.
  JsonWriter& Raw(std::string_view json);

 private:
  void BeforeValue() {
    if (comma_) out_->push_back(',');
    comma_ = true;
  }
  template <typename Number>
  void AppendReal(Number value);

  std::string* out_;
  NonFinite non_finite_;
  bool comma_ = false;
};

/// Appends `text` quoted and escaped, without a writer.
void AppendJsonString(std::string* out, std::string_view text);

}  // namespace gnomon::net
