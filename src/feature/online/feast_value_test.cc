#include "feature/online/feast_value.h"

#include <cmath>
#include <limits>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/compare.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feast/types/value.pb.h"
#include "feature/online/feast_layout_internal.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using ::feast::types::Value;
using test::ValueOf;

std::shared_ptr<arrow::Array> ColumnOf(const std::shared_ptr<arrow::DataType>& type,
                                       std::string_view values) {
  const auto table = test::TableOfSchema(arrow::schema({{"x", type}}), values);
  return ValueOf(table->CombineChunksToBatch())->column(0);
}

std::string BytesOf(const std::shared_ptr<arrow::DataType>& type, std::string_view value) {
  std::string bytes;
  const auto column = ColumnOf(type, Concat("[[", value, "]]"));
  test::RequireOk(AppendFeastValue(*column, ValueOf(FeastTypeOf(*type)), 0, &bytes));
  return bytes;
}

/// The bytes read as the type, as a one-row column: by a builder, and the same by RowColumns.
Result<std::shared_ptr<arrow::Array>> ReadAs(const std::shared_ptr<arrow::DataType>& type,
                                             std::string_view bytes) {
  GNOMON_ASSIGN_OR_RETURN(const ValueType feast, FeastTypeOf(*type));
  GNOMON_ASSIGN_OR_RETURN(const auto builder, arrow::MakeBuilder(type));
  auto columns = ValueOf(table::RowColumns::Make({type}));
  test::RequireOk(columns.Start(1));
  const auto state = ReadFeastValue(bytes, feast, builder.get());
  const auto other = ReadFeastValue(bytes, feast, 0, &columns);
  CHECK(other.status() == state.status());
  GNOMON_RETURN_NOT_OK(state.status());
  CHECK(*other == *state);
  columns.EndRow();
  GNOMON_ASSIGN_OR_RETURN(auto column, builder->Finish());
  CHECK(ValueOf(columns.Finish())[0]->Equals(*column,
                                             arrow::EqualOptions::Defaults().nans_equal(true)));
  return column;
}

TEST_CASE("values have the bytes of Feast's message, and read back") {
  using namespace arrow;
  const auto time = timestamp(TimeUnit::MICRO, "UTC");
  struct Case {
    std::shared_ptr<DataType> type;
    std::string value;
    std::function<void(Value*)> set;
  };
  const std::vector<Case> cases = {
      {boolean(), "true", [](Value* v) { v->set_bool_val(true); }},
      {boolean(), "false", [](Value* v) { v->set_bool_val(false); }},
      {int32(), "-2", [](Value* v) { v->set_int32_val(-2); }},
      {int32(), "0", [](Value* v) { v->set_int32_val(0); }},
      {int64(), "9007199254740993", [](Value* v) { v->set_int64_val(9007199254740993); }},
      {float32(), "0.5", [](Value* v) { v->set_float_val(0.5F); }},
      {float64(), "-1e300", [](Value* v) { v->set_double_val(-1e300); }},
      {utf8(), "\"é\"", [](Value* v) { v->set_string_val("é"); }},
      {utf8(), "\"\"", [](Value* v) { v->set_string_val(""); }},
      {binary(), "\"raw\"", [](Value* v) { v->set_bytes_val("raw"); }},
      {time, "1700000000000000", [](Value* v) { v->set_unix_timestamp_val(1700000000); }},
      {time, "-1000000", [](Value* v) { v->set_unix_timestamp_val(-1); }},
      {list(boolean()), "[true, false]",
       [](Value* v) {
         v->mutable_bool_list_val()->add_val(true);
         v->mutable_bool_list_val()->add_val(false);
       }},
      {list(int32()), "[1, -3]",
       [](Value* v) {
         v->mutable_int32_list_val()->add_val(1);
         v->mutable_int32_list_val()->add_val(-3);
       }},
      {list(int64()), "[]", [](Value* v) { v->mutable_int64_list_val(); }},
      {list(float32()), "[0.25]", [](Value* v) { v->mutable_float_list_val()->add_val(0.25F); }},
      {list(float64()), "[0.1]", [](Value* v) { v->mutable_double_list_val()->add_val(0.1); }},
      {list(utf8()), R"(["", "b"])",
       [](Value* v) {
         v->mutable_string_list_val()->add_val("");
         v->mutable_string_list_val()->add_val("b");
       }},
      {list(binary()), R"(["x"])", [](Value* v) { v->mutable_bytes_list_val()->add_val("x"); }},
      {list(time), "[5000000, null]",
       [](Value* v) {
         v->mutable_unix_timestamp_list_val()->add_val(5);
         v->mutable_unix_timestamp_list_val()->add_val(std::numeric_limits<int64_t>::min());
       }},
  };
  for (const Case& each : cases) {
    CAPTURE(each.type->ToString());
    CAPTURE(each.value);
    Value message;
    each.set(&message);
    CHECK(BytesOf(each.type, each.value) == message.SerializeAsString());
    const auto read = ValueOf(ReadAs(each.type, message.SerializeAsString()));
    CHECK(read->Equals(*ColumnOf(each.type, Concat("[[", each.value, "]]"))));
    CHECK(BytesOf(each.type, "null").empty());
    CHECK(ValueOf(ReadAs(each.type, ""))->IsNull(0));
  }
}

TEST_CASE("sets and unpacked lists are lists, an explicit null is a null") {
  CHECK(ValueOf(ReadAs(arrow::list(arrow::int64()), std::string("\xca\x01\x02\x0a\x00", 5)))
            ->length() == 1);  // int64_set_val, an empty packed list
  CHECK(ValueOf(ReadAs(arrow::list(arrow::int64()), "\x72\x04\x08\x01\x08\x02"))
            ->Equals(*ColumnOf(arrow::list(arrow::int64()), "[[[1, 2]]]")));
  Value null;
  null.set_null_val(::feast::types::NULL_);
  CHECK(ValueOf(ReadAs(arrow::int64(), null.SerializeAsString()))->IsNull(0));
}

TEST_CASE("a value of another type is told from its own, damaged bytes are data loss") {
  Value text;
  text.set_string_val("x");
  const auto builder = ValueOf(arrow::MakeBuilder(arrow::int64()));
  CHECK(ValueOf(ReadFeastValue(text.SerializeAsString(), {ValueType::kInt64}, builder.get())) ==
        FeastValueState::kOtherType);
  for (const std::string& damaged :
       {std::string("\x20"), std::string("\x20\xff"), std::string("\x21\x01\x02"),
        std::string("\x22\x01\x61"), std::string("\x00\x01", 2), std::string("\x27\x01")}) {
    CAPTURE(damaged.size());
    CHECK_ERROR(ReadAs(arrow::int64(), damaged), ErrorKind::kDataLoss, "no feast value");
  }
  CHECK_ERROR(ReadAs(arrow::utf8(), "\x12\x01\xff"), ErrorKind::kDataLoss, "no feast value");
  CHECK_ERROR(ReadAs(arrow::list(arrow::float64()), "\x7a\x03\x0a\x01\x00"), ErrorKind::kDataLoss,
              "no feast value");
}

TEST_CASE("types that no Value holds are named") {
  CHECK_ERROR(FeastTypeOf(*arrow::decimal128(9, 2)), ErrorKind::kUnsupported, "decimal128(9, 2)");
  CHECK_ERROR(FeastTypeOf(*arrow::uint64()), ErrorKind::kUnsupported, "uint64");
  CHECK_ERROR(FeastTypeOf(*arrow::timestamp(arrow::TimeUnit::NANO, "UTC")), ErrorKind::kUnsupported,
              "timestamp");
}

TEST_CASE("value_text is what Python's str() gives") {
  CHECK(PythonText(2.5) == "2.5");
  CHECK(PythonText(3) == "3.0");
  CHECK(PythonText(-0.0) == "-0.0");
  CHECK(PythonText(0.1) == "0.1");
  CHECK(PythonText(double{0.1F}) == "0.10000000149011612");
  CHECK(PythonText(1e16) == "1e+16");
  CHECK(PythonText(1e15) == "1000000000000000.0");
  CHECK(PythonText(123456789012345680) == "1.2345678901234568e+17");
  CHECK(PythonText(0.0001) == "0.0001");
  CHECK(PythonText(0.00001) == "1e-05");
  CHECK(PythonText(5e-324) == "5e-324");
  CHECK(PythonText(1e100) == "1e+100");
  CHECK(PythonText(std::nan("")) == "nan");
  CHECK(PythonText(-INFINITY) == "-inf");
}

TEST_CASE("names, keys and times have Feast's bytes") {
  using namespace internal;
  CHECK(FeastFieldName("fv", "v") == "\x91\x2e\x42\xf5");
  CHECK(Murmur3("") == 0);
  CHECK(Murmur3("hello") == 0x248bfa47);
  CHECK(Murmur3("hello, world") == 0x149bbb7f);
  CHECK(Murmur3("The quick brown fox jumps over the lazy dog") == 0x2e4ff723);
  CHECK(TimestampBytes(0).empty());
  CHECK(TimestampBytes(1'500'000) == std::string("\x08\x01\x10\x80\xca\xb5\xee\x01", 8));
  for (const int64_t micros : {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{1'767'272'400'123'456},
                               int64_t{-62'135'596'800'000'000}})
    CHECK(ParseTimestampBytes(TimestampBytes(micros)) == micros);
  CHECK(!ParseTimestampBytes("\x08").has_value());
  CHECK(!ParseTimestampBytes("\x1a\x01x").has_value());
  CHECK(FloorSeconds(-1) == -1);
  CHECK(FloorSeconds(1'999'999) == 1);
}

}  // namespace
}  // namespace gnomon::feature
