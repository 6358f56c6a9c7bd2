#include "table/column.h"

#include <limits>

#include <arrow/compare.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/util/checked_cast.h>
#include <doctest/doctest.h>

#include "table/random_column.h"
#include "tests/support/table.h"

namespace gnomon::table {

using gnomon::test::TableOf;
using test::InRandomChunks;
using test::Random;
using test::RandomArray;
using test::ValueOf;

namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

std::shared_ptr<arrow::Array> ArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                      std::string_view json) {
  return ValueOf(arrow::json::ArrayFromJSONString(type, json));
}

/// Row by row through scalars.
void CheckGather(const arrow::ChunkedArray& column, const std::vector<int64_t>& indices) {
  const auto gathered = ValueOf(Gather(column, indices));
  CHECK_OK(gathered->ValidateFull());
  REQUIRE(gathered->length() == static_cast<int64_t>(indices.size()));
  CHECK(gathered->type()->Equals(*column.type()));
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
  for (size_t i = 0; i < indices.size(); ++i) {
    const auto actual = ValueOf(gathered->GetScalar(static_cast<int64_t>(i)));
    INFO(column.type()->ToString(), ": index ", indices[i], ": ", actual->ToString());
    if (indices[i] < 0) {
      CHECK((!actual->is_valid || arrow::is_union(column.type()->id())));
    } else {
      CHECK(actual->Equals(*ValueOf(column.GetScalar(indices[i])), options));
    }
  }
}

std::vector<int64_t> RandomIndices(int64_t length, Random* random) {
  std::vector<int64_t> indices;
  for (int64_t i = random->Int(0, 50); i > 0; --i)
    indices.push_back(random->Int(length > 0 ? -2 : -1, length - 1));
  if (random->Chance(0.3)) std::ranges::sort(indices);
  return indices;
}

std::vector<std::shared_ptr<arrow::Array>> OneArrayOfEachType() {
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  Random random(1);
  for (const auto& type : std::vector<std::shared_ptr<arrow::DataType>>{
           arrow::null(),
           arrow::boolean(),
           arrow::int8(),
           arrow::uint16(),
           arrow::int32(),
           arrow::uint64(),
           arrow::float32(),
           arrow::float64(),
           arrow::date32(),
           arrow::date64(),
           arrow::time32(arrow::TimeUnit::SECOND),
           arrow::timestamp(arrow::TimeUnit::NANO, "Europe/Rome"),
           arrow::duration(arrow::TimeUnit::MILLI),
           arrow::month_interval(),
           arrow::fixed_size_binary(3),
           arrow::fixed_size_binary(16),
           arrow::utf8(),
           arrow::binary(),
           arrow::large_utf8(),
           arrow::large_binary(),
           arrow::decimal128(8, 2),
           arrow::list(arrow::int32()),
           arrow::large_list(arrow::utf8()),
           arrow::struct_({arrow::field("a", arrow::int8())})}) {
    arrays.push_back(RandomArray(type, 30, &random));
  }
  arrays.push_back(ArrayOf(arrow::float64(), "[NaN, 1.5, -0.0, Inf, null]"));
  arrays.push_back(ArrayOf(arrow::float16(), "[1.5, null, 2]"));
  arrays.push_back(ArrayOf(arrow::decimal256(50, 1), R"(["1.5", null, "-7.0"])"));
  arrays.push_back(ArrayOf(arrow::day_time_interval(), "[[1, 2], null, [3, 4]]"));
  arrays.push_back(ArrayOf(arrow::month_day_nano_interval(), "[[1, 2, 3], null, [3, 4, 5]]"));
  arrays.push_back(ArrayOf(arrow::utf8_view(), R"(["a", null, "longer than twelve bytes"])"));
  arrays.push_back(ArrayOf(arrow::fixed_size_list(arrow::int8(), 2), "[[1, 2], null, [3, null]]"));
  arrays.push_back(ArrayOf(arrow::map(arrow::utf8(), arrow::int8()), R"([[["a", 1]], null, []])"));
  arrays.push_back(ArrayOf(arrow::list_view(arrow::int8()), "[[1, 2], null, []]"));
  arrays.push_back(ValueOf(arrow::json::DictArrayFromJSONString(
      arrow::dictionary(arrow::int8(), arrow::utf8()), "[0, 1, null, 1]", R"(["x", "y"])")));
  const arrow::FieldVector fields = {arrow::field("i", arrow::int8()),
                                     arrow::field("s", arrow::utf8())};
  arrays.push_back(ArrayOf(arrow::dense_union(fields), R"([[0, 1], [1, "a"], [0, null]])"));
  arrays.push_back(ArrayOf(arrow::sparse_union(fields), R"([[0, 1], [1, "a"], [0, null]])"));
  arrays.push_back(ValueOf(arrow::RunEndEncodedArray::Make(
      7, ArrayOf(arrow::int32(), "[2, 6, 7]"), ArrayOf(arrow::utf8(), R"(["a", null, "c"])"))));
  return arrays;
}

}  // namespace

TEST_CASE("gathered rows equal those of a naive loop, for every type") {
  for (const auto& array : OneArrayOfEachType()) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      CAPTURE(seed);
      Random random(seed);
      const auto column =
          seed == 0 ? std::make_shared<arrow::ChunkedArray>(array) : InRandomChunks(array, &random);
      CheckGather(*column, RandomIndices(column->length(), &random));
    }
  }
}

TEST_CASE("gathering works over chunks of very different lengths") {
  Random random(7);
  arrow::ArrayVector chunks;
  for (const int64_t length : {0, 1000, 1, 1, 0, 2, 1, 500, 0}) {
    chunks.push_back(RandomArray(arrow::int64(), length, &random));
  }
  const arrow::ChunkedArray column(chunks);
  std::vector<int64_t> indices;
  for (int64_t row = 0; row < column.length(); ++row) indices.push_back(row);
  CheckGather(column, indices);
}

TEST_CASE("gathering from chunks without nulls puts the nulls where no row is wanted") {
  for (const auto& type : {arrow::int8(), arrow::int16(), arrow::int32(), arrow::float64(),
                           arrow::decimal128(20, 0)}) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
      CAPTURE(seed);
      Random random(seed);
      arrow::ArrayVector chunks;
      int8_t number = 0;
      const int64_t least = random.Int(0, 90);
      for (int64_t i = random.Int(1, 6); i > 0; --i) {
        arrow::Int8Builder numbers;
        for (int64_t k = random.Int(least, 100); k > 0; --k)
          REQUIRE(numbers.Append(static_cast<int8_t>(++number % 100)).ok());
        const auto array = ValueOf(CastLossless(ValueOf(numbers.Finish()), type));
        chunks.push_back(array->Slice(random.Int(0, array->length() / 9)));
      }
      const arrow::ChunkedArray column(chunks);
      std::vector<int64_t> indices;
      for (int64_t i = random.Int(0, 200); i > 0; --i)
        indices.push_back(random.Chance(0.5) ? -1 : random.Int(-1, column.length() - 1));
      CheckGather(column, indices);
    }
  }
}

TEST_CASE(
    "gathering from an empty column gives nulls for negative indices and an error for others") {
  for (const auto& type : {arrow::int64(), arrow::utf8(), arrow::list(arrow::int8())}) {
    const arrow::ChunkedArray empty(arrow::ArrayVector{}, type);
    CHECK(ValueOf(Gather(empty, std::vector<int64_t>{-1, -1}))->null_count() == 2);
    CHECK(ValueOf(Gather(empty, {}))->length() == 0);
    CHECK_ERROR(Gather(empty, std::vector<int64_t>{0}), ErrorKind::kInternal, "0 of 0");
  }
}

TEST_CASE("times of every unit become microseconds") {
  const auto micros = [](const std::shared_ptr<arrow::DataType>& type, std::string_view json) {
    return ValueOf(TimesAsMicros(*ArrayOf(type, json)));
  };
  using Micros = std::vector<int64_t>;
  CHECK(micros(arrow::date32(), "[1, null, -1]") == Micros{86'400'000'000, 0, -86'400'000'000});
  CHECK(micros(arrow::date64(), "[86400000]") == Micros{86'400'000'000});
  CHECK(micros(arrow::timestamp(arrow::TimeUnit::SECOND), "[2, -2]") ==
        Micros{2'000'000, -2'000'000});
  CHECK(micros(arrow::timestamp(arrow::TimeUnit::MILLI, "UTC"), "[2]") == Micros{2'000});
  CHECK(micros(arrow::timestamp(arrow::TimeUnit::MICRO, "Asia/Tokyo"), "[2]") == Micros{2});
  CHECK(micros(arrow::timestamp(arrow::TimeUnit::NANO), "[1999, -1, -1000]") == Micros{1, -1, -1});
  CHECK(micros(arrow::timestamp(arrow::TimeUnit::NANO), "[]").empty());
}

TEST_CASE("a time that microseconds cannot hold names its row") {
  const auto seconds = ArrayOf(arrow::timestamp(arrow::TimeUnit::SECOND), "[0, 9223372036854]");
  CHECK_OK(TimesAsMicros(*seconds));
  const auto late = ArrayOf(arrow::timestamp(arrow::TimeUnit::SECOND), "[0, 9223372036855]");
  CHECK_ERROR(TimesAsMicros(*late), ErrorKind::kUser, "row 1");
  CHECK_ERROR(TimesAsMicros(*ArrayOf(arrow::int64(), "[1]")), ErrorKind::kUser, "int64");
}

TEST_CASE("slices of times keep their rows") {
  const auto times = ArrayOf(arrow::date32(), "[1, 2, null, 4]")->Slice(1, 3);
  CHECK(ValueOf(RawTimes(*times)) == std::vector<int64_t>{2, 0, 4});
}

TEST_CASE("microseconds become units rounded down or up and saturate") {
  const auto seconds = arrow::timestamp(arrow::TimeUnit::SECOND);
  const auto nanos = arrow::timestamp(arrow::TimeUnit::NANO);
  CHECK(MicrosToUnitFloor(-1, *seconds) == -1);
  CHECK(MicrosToUnitCeil(-1, *seconds) == 0);
  CHECK(MicrosToUnitFloor(1, *seconds) == 0);
  CHECK(MicrosToUnitCeil(1, *seconds) == 1);
  CHECK(MicrosToUnitCeil(1'000'000, *seconds) == 1);
  CHECK(MicrosToUnitFloor(-1, *arrow::date32()) == -1);
  CHECK(MicrosToUnitFloor(7, *arrow::timestamp(arrow::TimeUnit::MICRO)) == 7);
  CHECK(MicrosToUnitFloor(7, *nanos) == 7'000);
  CHECK(MicrosToUnitFloor(kMax, *nanos) == kMax);
  CHECK(MicrosToUnitCeil(kMin, *nanos) == kMin);
  CHECK(MicrosToUnitFloor(kMin, *seconds) == kMin / 1'000'000 - 1);
  CHECK(UnitNanos(*arrow::date32()) == 86'400'000'000'000);
}

TEST_CASE("one batch holds the rows of all chunks") {
  const auto table =
      TableOf({{"a", arrow::int64()}, {"b", arrow::utf8()}}, R"([[1, "x"], [2, null]])");
  const auto twice = ValueOf(arrow::ConcatenateTables({table, table}));
  const auto batch = ValueOf(SingleBatch(*twice));
  CHECK_TABLE_EQ(arrow::Table::FromRecordBatches({batch}), twice);
  const auto no_columns = arrow::Table::Make(arrow::schema({}), arrow::ChunkedArrayVector{}, 3);
  CHECK(ValueOf(SingleBatch(*no_columns))->num_rows() == 3);
}

TEST_CASE("lossless casts keep every value") {
  struct Case {
    std::shared_ptr<arrow::DataType> from;
    std::string_view values;
    std::shared_ptr<arrow::DataType> to;
    std::string_view expected;
  };
  const auto seconds = arrow::timestamp(arrow::TimeUnit::SECOND);
  const auto micros = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  const std::vector<Case> cases = {
      {arrow::int8(), "[-128, null, 127]", arrow::int64(), "[-128, null, 127]"},
      {arrow::int64(), "[1, -1]", arrow::int8(), "[1, -1]"},
      {arrow::uint64(), "[9223372036854775807]", arrow::int64(), "[9223372036854775807]"},
      {arrow::int64(), "[9007199254740992, null]", arrow::float64(), "[9007199254740992, null]"},
      {arrow::float32(), "[1.5, NaN, -Inf]", arrow::float64(), "[1.5, NaN, -Inf]"},
      {arrow::float64(), "[1.5]", arrow::float32(), "[1.5]"},
      {arrow::float64(), "[3, null, -9223372036854775808]", arrow::int64(),
       "[3, null, -9223372036854775808]"},
      {arrow::null(), "[null]", arrow::utf8(), "[null]"},
      {arrow::utf8(), R"(["a", null])", arrow::large_utf8(), R"(["a", null])"},
      {arrow::large_utf8(), R"(["a", null])", arrow::utf8(), R"(["a", null])"},
      {arrow::utf8(), R"(["a"])", arrow::binary(), R"(["a"])"},
      {seconds, "[5, null]", micros, "[5000000, null]"},
      {micros, "[5000000]", seconds, "[5]"},
      {arrow::date32(), "[-1]", micros, "[-86400000000]"},
      {micros, "[86400000000]", arrow::date32(), "[1]"},
      {arrow::list(arrow::int32()), "[[1, null], null]", arrow::list(arrow::int64()),
       "[[1, null], null]"},
      {arrow::decimal128(5, 2), R"(["1.25"])", arrow::decimal128(9, 4), R"(["1.2500"])"},
      {arrow::duration(arrow::TimeUnit::SECOND), "[1]", arrow::duration(arrow::TimeUnit::NANO),
       "[1000000000]"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.from->ToString());
    CAPTURE(c.to->ToString());
    const auto cast = ValueOf(CastLossless(ArrayOf(c.from, c.values), c.to));
    CHECK_OK(cast->ValidateFull());
    CHECK(
        cast->Equals(*ArrayOf(c.to, c.expected), arrow::EqualOptions::Defaults().nans_equal(true)));
  }
}

TEST_CASE("a lossless cast refuses what it would change and names the row") {
  const auto check = [](const std::shared_ptr<arrow::DataType>& from, std::string_view values,
                        const std::shared_ptr<arrow::DataType>& to, std::string_view part) {
    CHECK_ERROR(CastLossless(ArrayOf(from, values), to), ErrorKind::kUser, part);
  };
  check(arrow::int64(), "[null, 9007199254740993]", arrow::float64(), "9007199254740993 in row 1");
  check(arrow::int64(), "[1, 128]", arrow::int8(), "row 1");
  check(arrow::int8(), "[-1]", arrow::uint64(), "row 0");
  check(arrow::uint64(), "[18446744073709551615]", arrow::float64(), "row 0");
  check(arrow::float64(), "[1, 1.5]", arrow::int64(), "row 1");
  check(arrow::float64(), "[-0.0]", arrow::int64(), "row 0");
  check(arrow::float64(), "[9223372036854775808]", arrow::int64(), "row 0");
  check(arrow::float64(), "[0.1]", arrow::float32(), "row 0");
  check(arrow::timestamp(arrow::TimeUnit::MICRO), "[1000000, 1]",
        arrow::timestamp(arrow::TimeUnit::SECOND), "row 1");
  check(arrow::timestamp(arrow::TimeUnit::SECOND), "[9223372036854775807]",
        arrow::timestamp(arrow::TimeUnit::NANO), "row 0");
  check(arrow::decimal128(5, 2), R"(["1.25"])", arrow::decimal128(5, 1), "row 0");
  check(arrow::utf8(), R"(["1"])", arrow::int64(), "string to int64");
  check(arrow::boolean(), "[true]", arrow::int64(), "bool to int64");
}

TEST_CASE("dictionaries are decoded and encoded without loss") {
  const auto type = arrow::dictionary(arrow::int8(), arrow::utf8());
  const auto encoded =
      ValueOf(arrow::json::DictArrayFromJSONString(type, "[1, null, 0, 1]", R"(["x", "y"])"));
  const auto plain = ArrayOf(arrow::large_utf8(), R"(["y", null, "x", "y"])");
  CHECK(ValueOf(CastLossless(encoded, arrow::large_utf8()))->Equals(*plain));
  const auto again = ValueOf(CastLossless(plain, type));
  CHECK(again->type()->Equals(*type));
  CHECK(ValueOf(CastLossless(again, arrow::large_utf8()))->Equals(*plain));
}

TEST_CASE("a fingerprint depends on values alone") {
  Random random(3);
  arrow::FieldVector fields;
  arrow::ChunkedArrayVector whole;
  arrow::ChunkedArrayVector cut;
  for (const auto& array : OneArrayOfEachType()) {
    if (array->length() != 30) continue;
    fields.push_back(arrow::field("c" + std::to_string(fields.size()), array->type()));
    whole.push_back(std::make_shared<arrow::ChunkedArray>(array));
    cut.push_back(InRandomChunks(array, &random));
  }
  const auto schema = arrow::schema(fields);
  const auto fingerprint = ValueOf(Fingerprint(*arrow::Table::Make(schema, whole)));
  CHECK(fingerprint.size() == 64);
  CHECK(ValueOf(Fingerprint(*arrow::Table::Make(schema, cut))) == fingerprint);
  CHECK(ValueOf(Fingerprint(*arrow::Table::Make(schema, whole)->Slice(0, 29))) != fingerprint);
}

TEST_CASE("a fingerprint tells apart what looks alike") {
  const auto of = [](const std::vector<gnomon::test::Column>& columns, std::string_view rows) {
    return ValueOf(Fingerprint(*TableOf(columns, rows)));
  };
  CHECK(of({{"a", arrow::utf8()}}, R"([["x"], [""]])") !=
        of({{"a", arrow::utf8()}}, R"([["x"], [null]])"));
  CHECK(of({{"a", arrow::utf8()}}, R"([["ab"], ["c"]])") !=
        of({{"a", arrow::utf8()}}, R"([["a"], ["bc"]])"));
  CHECK(of({{"a", arrow::int64()}}, "[[1]]") != of({{"b", arrow::int64()}}, "[[1]]"));
  CHECK(of({{"a", arrow::int64()}}, "[[1]]") != of({{"a", arrow::int32()}}, "[[1]]"));
  CHECK(of({{"a", arrow::int64()}, {"b", arrow::int64()}}, "[[1, 2]]") !=
        of({{"a", arrow::int64()}, {"b", arrow::int64()}}, "[[2, 1]]"));
}

TEST_CASE("bytes under a null do not change a fingerprint") {
  const auto values = ArrayOf(arrow::int64(), "[1, 2]");
  const auto other = ArrayOf(arrow::int64(), "[1, 3]");
  const auto with_null = [](const std::shared_ptr<arrow::Array>& array) {
    const auto data = array->data()->Copy();
    data->buffers[0] = ValueOf(arrow::AllocateEmptyBitmap(2));
    data->buffers[0]->mutable_data()[0] = 1;
    data->null_count = 1;
    return arrow::Table::Make(arrow::schema({arrow::field("a", arrow::int64())}),
                              {arrow::MakeArray(data)});
  };
  CHECK(ValueOf(Fingerprint(*with_null(values))) == ValueOf(Fingerprint(*with_null(other))));
}

}  // namespace gnomon::table
