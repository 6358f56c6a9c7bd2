#include "net/json.h"

#include <cmath>
#include <limits>
#include <random>

#include <doctest/doctest.h>
#include <simdjson.h>

#include "net/http_parser_internal.h"

namespace gnomon::net {
namespace {

std::string Written(const std::function<void(JsonWriter&)>& write,
                    NonFinite non_finite = NonFinite::kNull) {
  std::string out;
  JsonWriter writer(&out, non_finite);
  write(writer);
  return out;
}

}  // namespace

TEST_CASE("commas and colons come by themselves") {
  CHECK(Written([](JsonWriter& json) {
          json.BeginObject().Key("a").BeginArray().Int(1).Int(-2).BeginObject().EndObject();
          json.BeginArray().EndArray().EndArray().Key("b").Bool(true).Key("c").Null();
          json.Key("d").Raw("[1]").Key("e").UInt(18446744073709551615U).EndObject();
        }) == R"({"a":[1,-2,{},[]],"b":true,"c":null,"d":[1],"e":18446744073709551615})");
}

TEST_CASE("a writer appends to what is there") {
  std::string out = "x=";
  JsonWriter(&out).BeginArray().EndArray();
  CHECK(out == "x=[]");
}

TEST_CASE("text is escaped") {
  std::string out;
  AppendJsonString(&out, std::string_view("\"\\/\b\f\n\r\t\x01\x1f\0 \x7f", 13));
  CHECK(out == R"("\"\\/\u0008\u000c\n\r\t\u0001\u001f\u0000 )"
               "\x7f\"");
}

TEST_CASE("UTF-8 passes and other bytes become the replacement character") {
  const auto quoted = [](std::string_view text) {
    std::string out;
    AppendJsonString(&out, text);
    return out;
  };
  CHECK(quoted("\u00e9 \u20ac \U0001F600") == "\"\u00e9 \u20ac \U0001F600\"");
  for (const std::string_view bad : {"\xff", "\xc0", "\xc3", "\x80"}) {
    CHECK(quoted(bad) == "\"\uFFFD\"");
  }
  CHECK(quoted("\xc0\xaf") == "\"\uFFFD\uFFFD\"");            // overlong
  CHECK(quoted("\xed\xa0\x80") == "\"\uFFFD\uFFFD\uFFFD\"");  // a surrogate
  CHECK(quoted("a\xe2\x82") == "\"a\uFFFD\uFFFD\"");          // cut off
}

TEST_CASE("numbers read back to the same value") {
  const auto real = [](double value) {
    return Written([&](JsonWriter& json) { json.Double(value); });
  };
  CHECK(real(1) == "1.0");
  CHECK(real(-0.0) == "-0.0");
  CHECK(real(0.1) == "0.1");
  CHECK(real(1e22) == "1e+22");
  CHECK(real(1e300) == "1e+300");
  CHECK(real(5e-324) == "5e-324");
  CHECK(Written([](JsonWriter& json) { json.Float(0.1F); }) == "0.1");
  CHECK(Written([](JsonWriter& json) { json.Float(16777216.0F); }) == "16777216.0");
  CHECK(Written([](JsonWriter& json) { json.Int(std::numeric_limits<int64_t>::min()); }) ==
        "-9223372036854775808");
}

TEST_CASE("the caller decides how NaN and the infinities are written") {
  const auto all = [](JsonWriter& json) {
    json.BeginArray().Double(std::nan("")).Float(std::numeric_limits<float>::infinity());
    json.Double(-std::numeric_limits<double>::infinity()).EndArray();
  };
  CHECK(Written(all) == "[null,null,null]");
  CHECK(Written(all, NonFinite::kString) == R"(["NaN","Infinity","-Infinity"])");
  CHECK(Written(all, NonFinite::kLiteral) == "[NaN,Infinity,-Infinity]");
}

TEST_CASE("a parser reads back random text and numbers") {
  const uint64_t seed = 20240611;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  simdjson::dom::parser parser;
  for (int round = 0; round < 500; ++round) {
    std::string text(random() % 40, '\0');
    for (char& letter : text) letter = static_cast<char>(random() & 0x7F);
    const auto number = std::bit_cast<double>(random());
    std::string noise(random() % 40, '\0');
    for (char& letter : noise) letter = static_cast<char>(random());
    std::string out;
    JsonWriter json(&out);
    json.BeginObject().Key("text").String(text).Key("number").Double(number).Key("noise");
    json.String(noise).EndObject();
    CAPTURE(out);
    simdjson::dom::element document;
    REQUIRE(parser.parse(out).get(document) == simdjson::SUCCESS);
    CHECK(document["text"].get_string().value() == text);
    if (std::isfinite(number)) CHECK(document["number"].get_double().value() == number);
  }
}

TEST_CASE("a request's body is parsed in place") {
  for (const size_t size : {size_t{1}, size_t{200}, size_t{3} << 20}) {
    const std::string body = "[\"" + std::string(size, 'a') + "\"]";
    RequestParser request(4096, 16 << 20);
    std::string text =
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\n\r\n" + body;
    CHECK(request.Put(text) == text.size());
    REQUIRE(request.state() == ParseState::kComplete);
    const std::string_view view = request.body();
    simdjson::ondemand::parser parser;
    auto document = parser.iterate(
        simdjson::padded_string_view(view.data(), view.size(), view.size() + kBodyPadding));
    CHECK(document.at(0).get_string().value().size() == size);
  }
  static_assert(kBodyPadding >= simdjson::SIMDJSON_PADDING);
}

}  // namespace gnomon::net
