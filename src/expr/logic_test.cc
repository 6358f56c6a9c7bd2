// Runs tests/logic/expr/*.test. A file is a list of cases for one table or several:
//
//   table x int64 | s string      the columns, then the rows as JSON on the lines up to an empty
//   one
//   [[1, "a"], [null, "b"]]
//
//   expr x + 1                    an expression, then the result's type and values
//   int64 [2, null]
//
//   select x > 0                  a filter, then the rows that it selects
//   rows [0]
//
//   expr 1 // (x - x)             or the error's message, and its row if it has one
//   error division by zero: 1 // (x - x) (row 0)

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/json/from_string.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "expr/expression.h"

namespace gnomon::expr {

namespace {

std::shared_ptr<arrow::DataType> TypeNamed(const std::string& name) {
  static const std::map<std::string, std::shared_ptr<arrow::DataType>> kTypes = {
      {"null", arrow::null()},
      {"bool", arrow::boolean()},
      {"int32", arrow::int32()},
      {"int64", arrow::int64()},
      {"uint64", arrow::uint64()},
      {"float32", arrow::float32()},
      {"float64", arrow::float64()},
      {"string", arrow::utf8()},
      {"large_string", arrow::large_utf8()},
      {"dictionary", arrow::dictionary(arrow::int8(), arrow::utf8())},
      {"timestamp", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
      {"timestamp[ms]", arrow::timestamp(arrow::TimeUnit::MILLI)},
      {"timestamp[ns]", arrow::timestamp(arrow::TimeUnit::NANO)},
      {"date", arrow::date32()},
      {"duration", arrow::duration(arrow::TimeUnit::MICRO)},
      {"list<int64>", arrow::list(arrow::int64())},
      {"list<float32>", arrow::list(arrow::float32())},
      {"list<float64>", arrow::list(arrow::float64())},
      {"list<string>", arrow::list(arrow::utf8())},
      {"struct", arrow::struct_({arrow::field("a", arrow::int64())})},
  };
  const auto found = kTypes.find(name);
  REQUIRE_MESSAGE(found != kTypes.end(), name);
  return found->second;
}

std::shared_ptr<arrow::Array> ArrayOf(const std::shared_ptr<arrow::DataType>& type,
                                      const std::string& json) {
  // Dates are written as texts.
  if (type->id() == arrow::Type::DATE32) {
    const auto texts = arrow::json::ArrayFromJSONString(arrow::utf8(), json);
    REQUIRE_MESSAGE(texts.ok(), texts.status().ToString());
    const auto column = arrow::schema({arrow::field("d", arrow::utf8())});
    const auto dates =
        Expression::Parse("cast(d as date)")
            ->Bind(*column)
            ->Evaluate(*arrow::RecordBatch::Make(column, (*texts)->length(), {*texts}));
    REQUIRE_MESSAGE(dates.ok(), dates.status().ToString());
    return *dates;
  }
  const auto array = arrow::json::ArrayFromJSONString(type, json);
  REQUIRE_MESSAGE(array.ok(), array.status().ToString());
  return *array;
}

std::shared_ptr<arrow::RecordBatch> BatchOf(const std::string& columns, const std::string& json) {
  arrow::FieldVector fields;
  arrow::FieldVector written;  // dates as texts
  for (const std::string& column : Split(columns, '|')) {
    const std::vector<std::string> words = Split(Trim(column), ' ');
    REQUIRE(words.size() == 2);
    fields.push_back(arrow::field(words[0], TypeNamed(words[1])));
    written.push_back(
        arrow::field(words[0], words[1] == "date" ? arrow::utf8() : TypeNamed(words[1])));
  }
  const auto rows = ArrayOf(arrow::struct_(written), json);
  auto batch = *arrow::RecordBatch::FromStructArray(rows);
  for (int i = 0; i < batch->num_columns(); ++i) {
    const auto& field = fields[static_cast<size_t>(i)];
    if (field->type()->id() != arrow::Type::DATE32) continue;
    const auto text = Expression::Parse(Concat("cast(\"", field->name(), "\" as date)"));
    batch = *batch->SetColumn(i, field, *text->Bind(*batch->schema())->Evaluate(*batch));
  }
  return batch;
}

std::string Describe(const Status& error) {
  const int64_t row = LocationOf(error).row;
  return row < 0 ? error.message() : Concat(error.message(), " (row ", row, ')');
}

std::string Evaluated(const std::string& text, const arrow::RecordBatch& batch,
                      const std::string& expected) {
  const auto parsed = Expression::Parse(text);
  if (!parsed.ok()) return "error " + Describe(parsed.status());
  const auto bound = parsed->Bind(*batch.schema());
  if (!bound.ok()) return "error " + Describe(bound.status());
  const auto result = bound->Evaluate(batch);
  if (!result.ok()) return "error " + Describe(result.status());
  CHECK((*result)->ValidateFull().ok());
  CHECK((*result)->type()->Equals(bound->type()));
  const size_t space = expected.find(' ');
  const std::string type = expected.substr(0, space);
  if (type == "error") return "a result: " + (*result)->ToString();
  const auto wanted = ArrayOf(TypeNamed(type), expected.substr(space + 1));
  const bool same = (*result)->type()->Equals(wanted->type()) && (*result)->Equals(*wanted);
  return same ? expected : Concat((*result)->type()->ToString(), ' ', (*result)->ToString());
}

std::string Selected(const std::string& text, const arrow::RecordBatch& batch) {
  const auto bound = Expression::Parse(text)->Bind(*batch.schema());
  REQUIRE(bound.ok());
  const auto rows = bound->Select(batch);
  if (!rows.ok()) return "error " + Describe(rows.status());
  std::vector<std::string> numbers;
  for (const int64_t row : *rows) numbers.push_back(std::to_string(row));
  return Concat("rows [", Join(numbers, ", "), ']');
}

int RunFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::shared_ptr<arrow::RecordBatch> batch;
  std::string line;
  int number = 0;
  int cases = 0;
  const auto next = [&] {
    ++number;
    return static_cast<bool>(std::getline(file, line));
  };
  while (next()) {
    if (line.empty() || line.starts_with('#')) continue;
    CAPTURE(path.string());
    CAPTURE(number);
    const size_t space = line.find(' ');
    const std::string word = line.substr(0, space);
    const std::string rest = line.substr(space + 1);
    if (word == "table") {
      std::string json;
      while (next() && !line.empty()) json += line;
      batch = BatchOf(rest, json);
      continue;
    }
    REQUIRE(next());
    if (word == "expr") {
      CHECK_MESSAGE(Evaluated(rest, *batch, line) == line, rest);
    } else {
      REQUIRE(word == "select");
      CHECK_MESSAGE(Selected(rest, *batch) == line, rest);
    }
    ++cases;
  }
  return cases;
}

}  // namespace

TEST_CASE("expressions give what the logic files say") {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/logic/expr")) {
    if (entry.path().extension() != ".test") continue;
    ++files;
    CHECK(RunFile(entry.path()) > 10);
  }
  CHECK(files >= 6);
}

}  // namespace gnomon::expr
