#include "model/preprocessor.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/json/from_string.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

namespace gnomon::model {
namespace {

using Fields = std::vector<std::pair<std::string, std::shared_ptr<arrow::DataType>>>;
using Floats = std::vector<float>;

// Columns as JSON lists.
std::shared_ptr<arrow::RecordBatch> Batch(const Fields& fields,
                                          const std::vector<std::string>& columns) {
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  arrow::FieldVector schema;
  for (size_t i = 0; i < fields.size(); ++i) {
    arrays.push_back(arrow::json::ArrayFromJSONString(fields[i].second, columns[i]).ValueOrDie());
    schema.push_back(arrow::field(fields[i].first, fields[i].second));
  }
  const int64_t rows = arrays[0]->length();
  return arrow::RecordBatch::Make(arrow::schema(schema), rows, arrays);
}

ErrorKind KindOfFit(const arrow::RecordBatch& batch, const std::vector<std::string>& columns,
                    const std::vector<int64_t>& rows) {
  const auto fitted = Preprocessor::Fit(batch, columns, rows, 3);
  REQUIRE_FALSE(fitted.ok());
  return KindOf(fitted.status());
}

TEST_CASE("numbers are standardised by the mean and deviation of the training rows only") {
  const auto batch = Batch({{"a", arrow::float64()}}, {"[1, 3, 1000]"});
  const Preprocessor fitted = Preprocessor::Fit(*batch, {"a"}, {0, 1}).ValueOrDie();
  CHECK(fitted.columns()[0].mean == 2);
  CHECK(fitted.columns()[0].scale == 1);
  CHECK(fitted.Transform(*batch).ValueOrDie() == Floats{-1, 1, 998});
}

TEST_CASE(
    "nulls and values that are not finite become the mean, with an indicator when training had "
    "any") {
  auto batch =
      Batch({{"a", arrow::float64()}, {"b", arrow::int32()}}, {"[1, null, 3]", "[5, 5, 7]"});
  const Preprocessor fitted = Preprocessor::Fit(*batch, {"a", "b"}, {0, 1, 2}).ValueOrDie();
  CHECK(fitted.inputs() == 3);
  const double scale_b = fitted.columns()[1].scale;
  CHECK(scale_b == doctest::Approx(std::sqrt(8.0 / 9)));
  const Floats inputs = fitted.Transform(*batch).ValueOrDie();
  CHECK(inputs[0] == -1);
  CHECK(inputs[1] == 0);
  CHECK(inputs[3] == 0);
  CHECK(inputs[4] == 1);

  batch =
      Batch({{"a", arrow::float64()}, {"b", arrow::int32()}}, {"[NaN, Inf, -Inf]", "[null, 7, 7]"});
  const Floats later = fitted.Transform(*batch).ValueOrDie();
  CHECK(later[0] == 0);
  CHECK(later[1] == 1);
  CHECK(later[2] == 0);  // b had no null in training, so no indicator
  CHECK(later[3] == 0);
  CHECK(later[4] == 1);
}

TEST_CASE("a constant column is centred and not scaled") {
  const auto batch = Batch({{"a", arrow::float64()}}, {"[0.1, 0.1, 0.1]"});
  const Preprocessor fitted = Preprocessor::Fit(*batch, {"a"}, {0, 1, 2}).ValueOrDie();
  CHECK(fitted.columns()[0].scale == 1);
  CHECK(fitted.Transform(*batch).ValueOrDie() == Floats{0, 0, 0});
}

TEST_CASE("texts are one-hot encoded; unknown values and nulls are all zeros") {
  const auto batch = Batch({{"s", arrow::utf8()}}, {R"(["b", "a", null, "c"])"});
  const Preprocessor fitted = Preprocessor::Fit(*batch, {"s"}, {0, 1, 2}).ValueOrDie();
  CHECK(fitted.columns()[0].categories == std::vector<std::string>{"a", "b"});
  CHECK(fitted.Transform(*batch).ValueOrDie() == Floats{0, 1, 1, 0, 0, 0, 0, 0});
}

TEST_CASE("bools, times, decimals and dictionaries are numbers or texts like any other") {
  const auto batch =
      Batch({{"flag", arrow::boolean()},
             {"seconds", arrow::timestamp(arrow::TimeUnit::SECOND)},
             {"day", arrow::date32()},
             {"price", arrow::decimal128(9, 2)},
             {"half", arrow::float16()}},
            {"[true, false]", "[10, 20]", "[0, 1]", R"(["1.00", "2.00"])", "[0.5, 1.5]"});
  const Preprocessor fitted =
      Preprocessor::Fit(*batch, {"flag", "seconds", "day", "price", "half"}, {0, 1}).ValueOrDie();
  CHECK(fitted.columns()[1].mean == 15e6);
  CHECK(fitted.columns()[2].scale == 43'200e6);
  CHECK(fitted.columns()[3].mean == 1.5);
  CHECK(fitted.Transform(*batch).ValueOrDie() == Floats{1, -1, -1, -1, -1, -1, 1, 1, 1, 1});

  const auto micros = Batch({{"flag", arrow::boolean()},
                             {"seconds", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
                             {"day", arrow::timestamp(arrow::TimeUnit::NANO)},
                             {"price", arrow::float32()},
                             {"half", arrow::null()}},
                            {"[true]", "[10000000]", "[0]", "[1]", "[null]"});
  CHECK(fitted.Transform(*micros).ValueOrDie() == Floats{1, -1, -1, -1, 0});

  const auto indices = arrow::json::ArrayFromJSONString(arrow::int8(), "[1, 0, null]").ValueOrDie();
  const auto names = arrow::json::ArrayFromJSONString(arrow::utf8(), R"(["x", "y"])").ValueOrDie();
  const auto encoded = arrow::DictionaryArray::FromArrays(
                           arrow::dictionary(arrow::int8(), arrow::utf8()), indices, names)
                           .ValueOrDie();
  const auto texts =
      arrow::RecordBatch::Make(arrow::schema({arrow::field("t", encoded->type())}), 3,
                               std::vector<std::shared_ptr<arrow::Array>>{encoded});
  const Preprocessor of_texts = Preprocessor::Fit(*texts, {"t"}, {0, 1, 2}).ValueOrDie();
  CHECK(of_texts.Transform(*texts).ValueOrDie() == Floats{0, 1, 1, 0, 0, 0});
  const auto plain = Batch({{"t", arrow::large_utf8()}}, {R"(["x", "y"])"});
  CHECK(of_texts.Transform(*plain).ValueOrDie() == Floats{1, 0, 0, 1});
}

TEST_CASE("slices of a batch give the same inputs") {
  const auto batch =
      Batch({{"a", arrow::float64()}, {"s", arrow::utf8()}, {"flag", arrow::boolean()}},
            {"[1, null, 3, 4]", R"(["u", "v", null, "u"])", "[true, false, null, true]"});
  const Preprocessor fitted =
      Preprocessor::Fit(*batch, {"a", "s", "flag"}, {0, 1, 2, 3}).ValueOrDie();
  Floats joined;
  for (int64_t row = 0; row < 4; ++row) {
    const Floats part = fitted.Transform(*batch->Slice(row, 1)).ValueOrDie();
    joined.insert(joined.end(), part.begin(), part.end());
  }
  CHECK(joined == fitted.Transform(*batch).ValueOrDie());
}

TEST_CASE("a value far outside is cut, so that predictions stay finite") {
  const auto batch = Batch({{"a", arrow::float64()}}, {"[1, 3, 1e300, -1e300]"});
  const Preprocessor fitted = Preprocessor::Fit(*batch, {"a"}, {0, 1}).ValueOrDie();
  CHECK(fitted.Transform(*batch).ValueOrDie() == Floats{-1, 1, 1e6, -1e6});
}

TEST_CASE("columns that cannot be inputs are refused by name") {
  const auto batch =
      Batch({{"list", arrow::list(arrow::float64())},
             {"text", arrow::utf8()},
             {"nothing", arrow::float64()},
             {"huge", arrow::float64()},
             {"bytes", arrow::binary()}},
            {"[[1], [2], [3], [4]]", R"(["a", "b", "c", "d"])", "[null, null, NaN, 1]",
             "[1e308, -1e308, 1e308, 1e308]", R"(["a", "b", "c", "d"])"});
  CHECK(KindOfFit(*batch, {"list"}, {0}) == ErrorKind::kUser);
  CHECK(KindOfFit(*batch, {"bytes"}, {0}) == ErrorKind::kUser);
  CHECK(KindOfFit(*batch, {"text"}, {0, 1, 2, 3}) == ErrorKind::kUser);
  CHECK(KindOfFit(*batch, {"nothing"}, {0, 1, 2}) == ErrorKind::kUser);
  CHECK(KindOfFit(*batch, {"huge"}, {0, 1, 2}) == ErrorKind::kUser);
  CHECK(KindOfFit(*batch, {"text", "text"}, {0}) == ErrorKind::kUser);
  CHECK(KindOfFit(*batch, {}, {0}) == ErrorKind::kUser);
  CHECK(KindOfFit(*batch, {"text"}, {}) == ErrorKind::kUser);
  const auto missing = Preprocessor::Fit(*batch, {"nothin"}, {0});
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.status().message() == "input column 'nothin' is missing");
  CHECK(HintOf(missing.status()) == "did you mean 'nothing'?");
}

TEST_CASE("a column which changed its kind since training is refused") {
  const auto numbers = Batch({{"a", arrow::int64()}}, {"[1, 2]"});
  const auto texts = Batch({{"a", arrow::utf8()}}, {R"(["1", "2"])"});
  const Preprocessor fitted = Preprocessor::Fit(*numbers, {"a"}, {0, 1}).ValueOrDie();
  const auto inputs = fitted.Transform(*texts);
  REQUIRE_FALSE(inputs.ok());
  CHECK(inputs.status().message() ==
        "input column 'a' was a number in training; here its type is string");
}

TEST_CASE("a preprocessor read back from JSON is the same to the last bit") {
  const auto batch = Batch({{"a", arrow::float64()}, {"s \"x\"", arrow::utf8()}},
                           {"[0.1, 0.7, null, 1e-300]", R"(["é", "\n", "", "日本"])"});
  const Preprocessor fitted =
      Preprocessor::Fit(*batch, {"a", "s \"x\""}, {0, 1, 2, 3}).ValueOrDie();
  const Preprocessor read = Preprocessor::FromJson(fitted.ToJson()).ValueOrDie();
  CHECK(read.ToJson() == fitted.ToJson());
  CHECK(read.columns()[0].mean == fitted.columns()[0].mean);
  CHECK(read.columns()[0].scale == fitted.columns()[0].scale);
  CHECK(read.Transform(*batch).ValueOrDie() == fitted.Transform(*batch).ValueOrDie());
}

TEST_CASE("damaged JSON is data loss") {
  for (
      const char* json :
      {"", "[]", "{}", R"({"columns": []})", R"({"columns": [1]})",
       R"({"columns": [{"name": "a"}]})",
       R"({"columns": [{"name": "a", "kind": "numeric", "mean": "1", "scale": 1, "missing_indicator": false}]})",
       R"({"columns": [{"name": "a", "kind": "numeric", "mean": 1, "scale": 0, "missing_indicator": false}]})",
       R"({"columns": [{"name": "a", "kind": "categorical", "categories": ["b", "a"]}]})",
       R"({"columns": [{"name": "a", "kind": "categorical", "categories": []}]})",
       R"({"columns": [{"name": "a", "kind": "fancy"}]})"}) {
    CAPTURE(json);
    const auto read = Preprocessor::FromJson(json);
    REQUIRE_FALSE(read.ok());
    CHECK(KindOf(read.status()) == ErrorKind::kDataLoss);
  }
}

}  // namespace
}  // namespace gnomon::model
