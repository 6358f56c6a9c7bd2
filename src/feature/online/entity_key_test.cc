#include "feature/online/entity_key.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

std::string Hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    hex += kDigits[value >> 4];
    hex += kDigits[value & 15];
  }
  return hex;
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

template <typename Builder, typename Value>
std::shared_ptr<arrow::Array> One(Builder builder, const Value& value) {
  test::RequireOk(builder.Append(value));
  return ValueOf(builder.Finish());
}

/// A column of the type's Arrow type with the golden value.
std::shared_ptr<arrow::Array> ColumnOf(ValueType type, const nlohmann::json& value) {
  switch (type.base) {
    case ValueType::kInt32:
      return One(arrow::Int32Builder(), value.get<int32_t>());
    case ValueType::kInt64:
      return One(arrow::Int64Builder(), value.get<int64_t>());
    case ValueType::kString:
      return One(arrow::StringBuilder(), value.get<std::string>());
    case ValueType::kBytes:
      return One(arrow::BinaryBuilder(), FromHex(value.get<std::string>()));
    default:
      return One(arrow::TimestampBuilder(type.ToArrow(), arrow::default_memory_pool()),
                 value.get<int64_t>() * 1'000'000);
  }
}

std::shared_ptr<arrow::Array> Column(const std::shared_ptr<arrow::DataType>& type,
                                     std::string_view values) {
  return ValueOf(test::TableOf({{"c", type}}, values)->CombineChunksToBatch())->column(0);
}

EntityKeyEncoder IdEncoder(ValueType::Base type = ValueType::kInt64) {
  return ValueOf(EntityKeyEncoder::Make({"id"}, {{type}}));
}

std::string EncodeOne(const EntityKeyEncoder& encoder, const std::shared_ptr<arrow::Array>& column,
                      int64_t row = 0) {
  std::string key;
  CHECK(ValueOf(encoder.Encode({column}, row, &key)));
  return key;
}

TEST_CASE("entity keys have the bytes that Feast writes") {
  const auto golden = nlohmann::json::parse(ValueOf(ReadFile("tests/golden/entity_key.json")));
  REQUIRE(golden["cases"].size() == 7);
  for (const auto& golden_case : golden["cases"]) {
    std::vector<std::string> names;
    std::vector<ValueType> types;
    std::vector<std::shared_ptr<arrow::Array>> columns;
    for (const auto& key : golden_case["keys"]) {
      names.push_back(key["name"]);
      types.push_back(ValueOf(ValueType::Parse(key["type"].get<std::string>())));
      columns.push_back(ColumnOf(types.back(), key["value"]));
    }
    for (const int version : {2, 3}) {
      CAPTURE(golden_case["name"].get<std::string>());
      CAPTURE(version);
      const auto encoder = ValueOf(EntityKeyEncoder::Make(names, types, version));
      std::string bytes = "before";
      CHECK(ValueOf(encoder.Encode(columns, 0, &bytes)));
      CHECK(Hex(bytes.substr(6)) == golden_case[version == 2 ? "v2" : "v3"].get<std::string>());
    }
  }
}

TEST_CASE("the width, the encoding and the offset of a column do not change the key") {
  const std::string expected = EncodeOne(IdEncoder(), Column(arrow::int64(), "[[7]]"));
  for (const auto& type : {arrow::int8(), arrow::int16(), arrow::int32(), arrow::uint8(),
                           arrow::uint16(), arrow::uint32(), arrow::uint64()}) {
    CHECK(EncodeOne(IdEncoder(), Column(type, "[[7]]")) == expected);
  }
  CHECK(EncodeOne(IdEncoder(), Column(arrow::int64(), "[[1], [2], [7]]")->Slice(1), 1) == expected);

  const EntityKeyEncoder text = IdEncoder(ValueType::kString);
  const std::string named = EncodeOne(text, Column(arrow::utf8(), R"([["x"]])"));
  CHECK(EncodeOne(text, Column(arrow::large_utf8(), R"([["x"]])")) == named);
  const auto dictionary = ValueOf(arrow::DictionaryArray::FromArrays(
      arrow::dictionary(arrow::int8(), arrow::utf8()), Column(arrow::int8(), "[[1], [0]]"),
      Column(arrow::utf8(), R"([["y"], ["x"]])")));
  CHECK(EncodeOne(text, dictionary) == named);

  const EntityKeyEncoder time = IdEncoder(ValueType::kUnixTimestamp);
  const std::string day = EncodeOne(time, Column(arrow::date32(), "[[1]]"));
  for (const auto unit : {arrow::TimeUnit::SECOND, arrow::TimeUnit::MILLI, arrow::TimeUnit::MICRO,
                          arrow::TimeUnit::NANO}) {
    CHECK(EncodeOne(time, Column(arrow::timestamp(unit), R"([["1970-01-02 00:00:00"]])")) == day);
  }
}

TEST_CASE("a null in any key gives no key and leaves the buffer alone") {
  const auto encoder =
      ValueOf(EntityKeyEncoder::Make({"b", "a"}, {{ValueType::kInt64}, {ValueType::kString}}));
  const auto numbers = Column(arrow::int64(), "[[1], [null], [1]]");
  const auto names = Column(arrow::utf8(), R"([["x"], ["x"], [null]])");
  std::string out = "kept";
  CHECK_FALSE(ValueOf(encoder.Encode({numbers, names}, 1, &out)));
  CHECK_FALSE(ValueOf(encoder.Encode({numbers, names}, 2, &out)));
  CHECK_FALSE(ValueOf(encoder.Encode({Column(arrow::null(), "[[null]]"), names}, 0, &out)));
  CHECK(out == "kept");
  CHECK(ValueOf(encoder.Encode({numbers, names}, 0, &out)));
}

TEST_CASE("a value that does not fit the declared type is an error that names key and row") {
  std::string out;
  CHECK_ERROR(
      IdEncoder(ValueType::kInt32).Encode({Column(arrow::int64(), "[[1], [2147483648]]")}, 1, &out),
      ErrorKind::kUser, "'id' is Int32: the value is out of range in row 1");
  CHECK_ERROR(IdEncoder().Encode({Column(arrow::uint64(), "[[18446744073709551615]]")}, 0, &out),
              ErrorKind::kUser, "out of range");
  CHECK_ERROR(IdEncoder().Encode({Column(arrow::utf8(), R"([["1"]])")}, 0, &out), ErrorKind::kUser,
              "'id' is Int64, its column cannot hold that: string");
  CHECK_ERROR(IdEncoder(ValueType::kUnixTimestamp)
                  .Encode({Column(arrow::timestamp(arrow::TimeUnit::MILLI), "[[1500]]")}, 0, &out),
              ErrorKind::kUser, "fraction of a second");
  CHECK(out.empty());
}

TEST_CASE("a key is described by its names and values, bytes that are none in hex") {
  const auto describe = [](ValueType::Base type, const std::shared_ptr<arrow::DataType>& arrow,
                           std::string_view value) {
    std::string key;
    CHECK(ValueOf(IdEncoder(type).Encode({Column(arrow, value)}, 0, &key)));
    return DescribeEntityKey(key);
  };
  CHECK(describe(ValueType::kInt64, arrow::int64(), "[[-7]]") == "id = -7");
  CHECK(describe(ValueType::kInt32, arrow::int64(), "[[-2147483648]]") == "id = -2147483648");
  CHECK(describe(ValueType::kString, arrow::utf8(), R"([["Bonn"]])") == "id = 'Bonn'");
  CHECK(describe(ValueType::kUnixTimestamp, arrow::timestamp(arrow::TimeUnit::SECOND), "[[0]]") ==
        "id = 1970-01-01T00:00:00Z");
  const auto encoder =
      ValueOf(EntityKeyEncoder::Make({"b", "a"}, {{ValueType::kInt64}, {ValueType::kString}}));
  std::string key;
  CHECK(ValueOf(encoder.Encode(
      {Column(arrow::int64(), "[[1]]"), Column(arrow::utf8(), R"([["x"]])")}, 0, &key)));
  CHECK(DescribeEntityKey(key) == "a = 'x', b = 1");
  for (size_t length = 0; length < key.size(); ++length) {
    const std::string part = DescribeEntityKey(std::string_view(key).substr(0, length));
    CHECK(part == Concat("entity key 0x", Hex(key.substr(0, length))));
  }
}

TEST_CASE("an encoder is not made for unknown versions, odd types and names that stand twice") {
  CHECK_ERROR(EntityKeyEncoder::Make({"id"}, {{ValueType::kInt64}}, 1), ErrorKind::kUnsupported,
              "version");
  CHECK_ERROR(EntityKeyEncoder::Make({"id"}, {{ValueType::kDouble}}), ErrorKind::kUser, "Float64");
  CHECK_ERROR(EntityKeyEncoder::Make({"id", "id"}, {{ValueType::kInt64}, {ValueType::kInt64}}),
              ErrorKind::kUser, "twice");
}

}  // namespace
}  // namespace gnomon::feature
