#include "feature/definition/types.h"

#include <arrow/type.h>
#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon::feature {

using test::ValueOf;

TEST_CASE("every feature type reads back from its name, its number and its Arrow type") {
  for (int base = ValueType::kBytes; base <= ValueType::kUnixTimestamp; ++base) {
    for (const bool list : {false, true}) {
      const ValueType type{static_cast<ValueType::Base>(base), list};
      CAPTURE(type.ToString());
      CHECK(ValueOf(ValueType::Parse(type.ToString())) == type);
      CHECK(ValueOf(ValueType::FromFeastNumber(type.FeastNumber())) == type);
      CHECK(ValueOf(ValueType::FromArrow(*type.ToArrow())) == type);
      CHECK(type.FeastNumber() == base + (list ? 10 : 0));
    }
  }
}

TEST_CASE("Feast's field types and value types are both read, whatever their case") {
  const auto parse = [](std::string_view text) {
    return ValueOf(ValueType::Parse(text)).ToString();
  };
  CHECK(parse("int64") == "Int64");
  CHECK(parse("FLOAT") == "Float32");
  CHECK(parse("Double") == "Float64");
  CHECK(parse("UNIX_TIMESTAMP") == "UnixTimestamp");
  CHECK(parse("DOUBLE_LIST") == "Array(Float64)");
  CHECK(parse("UNIX_TIMESTAMP_LIST") == "Array(UnixTimestamp)");
  CHECK(parse("Array( Int32 )") == "Array(Int32)");
  CHECK(parse("Set(String)") == "Array(String)");
}

TEST_CASE("an unknown type names the nearest one") {
  CHECK_ERROR(ValueType::Parse("Int46"), ErrorKind::kUser, "did you mean 'Int64'?");
  CHECK_ERROR(ValueType::Parse("Array(Strnig)"), ErrorKind::kUser, "did you mean 'String'?");
  CHECK_ERROR(ValueType::Parse(""), ErrorKind::kUser, "unknown type ''");
}

TEST_CASE("a Feast type that nothing here holds is unsupported, not unknown") {
  for (const auto* text : {"Map", "Json", "Struct({a: Int64})", "UUID", "Decimal",
                           "Array(Array(Int64))", "PdfBytes", "UUID_LIST", "ZonedTimestamp"}) {
    CAPTURE(text);
    CHECK_ERROR(ValueType::Parse(text), ErrorKind::kUnsupported, "is not supported");
  }
  CHECK_ERROR(ValueType::FromFeastNumber(20), ErrorKind::kUnsupported, "Map");
  CHECK_ERROR(ValueType::FromFeastNumber(0), ErrorKind::kUnsupported, "0");
}

TEST_CASE("Feast's numbers of sets are read as lists") {
  CHECK(ValueOf(ValueType::FromFeastNumber(25)) == ValueType{ValueType::kInt64, true});
}

TEST_CASE("source columns of other Arrow types give the nearest feature type") {
  const auto from = [](const std::shared_ptr<arrow::DataType>& type) {
    return ValueOf(ValueType::FromArrow(*type)).ToString();
  };
  CHECK(from(arrow::int8()) == "Int32");
  CHECK(from(arrow::uint16()) == "Int32");
  CHECK(from(arrow::uint32()) == "Int64");
  CHECK(from(arrow::float16()) == "Float32");
  CHECK(from(arrow::date32()) == "UnixTimestamp");
  CHECK(from(arrow::timestamp(arrow::TimeUnit::NANO)) == "UnixTimestamp");
  CHECK(from(arrow::dictionary(arrow::int32(), arrow::utf8())) == "String");
  CHECK(from(arrow::large_list(arrow::large_utf8())) == "Array(String)");
  CHECK_ERROR(ValueType::FromArrow(*arrow::decimal128(10, 2)), ErrorKind::kUser,
              "decimal128(10, 2)");
  CHECK_ERROR(ValueType::FromArrow(*arrow::uint64()), ErrorKind::kUser, "uint64");
  CHECK_ERROR(ValueType::FromArrow(*arrow::list(arrow::list(arrow::int64()))), ErrorKind::kUser,
              "list");
}

}  // namespace gnomon::feature
