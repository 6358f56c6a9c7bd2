#include "expr/expression.h"

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include <arrow/array.h>
#include <arrow/json/from_string.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"

namespace gnomon::expr {

namespace {

const std::shared_ptr<arrow::Schema>& TestSchema() {
  static const auto kSchema = arrow::schema(
      {arrow::field("sales", arrow::int64()), arrow::field("dept", arrow::utf8()),
       arrow::field("day", arrow::date32()), arrow::field("odd name", arrow::float64()),
       arrow::field("twice", arrow::int64()), arrow::field("twice", arrow::int64()),
       arrow::field("where", arrow::struct_({}))});
  return kSchema;
}

std::string Repeat(std::string_view part, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += part;
  return out;
}

Status ErrorOf(std::string_view text) {
  const auto parsed = Expression::Parse(text);
  if (!parsed.ok()) return parsed.status();
  return parsed->Bind(*TestSchema()).status();
}

std::shared_ptr<arrow::RecordBatch> Numbers(const std::string& json) {
  const auto type =
      arrow::struct_({arrow::field("a", arrow::int64()), arrow::field("b", arrow::int64())});
  return *arrow::RecordBatch::FromStructArray(*arrow::json::ArrayFromJSONString(type, json));
}

// "1 2 null": the value of a constant expression, or of one over a and b.
std::string ValueOf(std::string_view text) {
  const auto batch = Numbers("[[7, 2]]");
  const auto parsed = Expression::Parse(Concat("cast(", text, " as string)"));
  REQUIRE_MESSAGE(parsed.ok(), parsed.status().ToString());
  const auto result = parsed->Bind(*batch->schema())->Evaluate(*batch);
  REQUIRE_MESSAGE(result.ok(), result.status().ToString());
  return (*result)->IsNull(0) ? "null"
                              : static_cast<const arrow::StringArray&>(**result).GetString(0);
}

}  // namespace

TEST_CASE("an error points at its column with a caret") {
  const Status status = ErrorOf("sales + dpt");
  CHECK(status.message() == "unknown column: dpt\n  sales + dpt\n          ^");
  CHECK(LocationOf(status).column == 9);
  CHECK(LocationOf(status).line == 0);
  CHECK(HintOf(status) == "did you mean 'dept'?");
  CHECK(KindOf(status) == ErrorKind::kUser);
}

TEST_CASE("an error in a text of several lines names the line and shows only it") {
  const Status status = ErrorOf("sales +\n  length('é') + nope(1)\n+ 2");
  CHECK(status.message() ==
        "unknown function: nope\n    length('é') + nope(1)\n                  ^");
  CHECK(LocationOf(status).line == 2);
  CHECK(LocationOf(status).column == 17);
}

TEST_CASE("an error in a long text shows the part around it") {
  const Status status = ErrorOf(Repeat("sales + ", 20) + "nope" + Repeat(" + sales", 20));
  CHECK(LocationOf(status).column == 161);
  const std::vector<std::string> lines = Split(status.message(), '\n');
  REQUIRE(lines.size() == 3);
  CHECK(lines[1].size() <= 102);
  CHECK(lines[1].substr(lines[2].size() - 1, 4) == "nope");
}

TEST_CASE("what is not an expression is refused where it goes wrong") {
  const auto column = [](std::string_view text) {
    const Status status = ErrorOf(text);
    CHECK_MESSAGE(KindOf(status) == ErrorKind::kUser, text);
    return LocationOf(status).column;
  };
  CHECK(column("") == 1);
  CHECK(column("  ") == 3);
  CHECK(column("1 +") == 4);
  CHECK(column("(1 + 2") == 7);
  CHECK(column("1 + 2)") == 6);
  CHECK(column("1 2") == 3);
  CHECK(column("sales = 'x") == 9);
  CHECK(column("\"sales") == 1);
  CHECK(column("\"\"") == 1);
  CHECK(column("1 < 2 < 3") == 7);
  CHECK(column("1 in ()") == 7);
  CHECK(column("1 between 2") == 12);
  CHECK(column("case sales end") == 12);
  CHECK(column("case when true then 1") == 22);
  CHECK(column("sales is 3") == 10);
  CHECK(column("cast(sales as money)") == 15);
  CHECK(column("cast(day as bool)") == 1);
  CHECK(column("date '2024-01-01T10:00:00'") == 6);
  CHECK(column("timestamp '2024-13-01'") == 11);
  CHECK(column("interval '7 dogs'") == 10);
  CHECK(column("9223372036854775808") == 1);
  CHECK(column("1e999") == 1);
  CHECK(column("7d") == 1);
  CHECK(column("sales && true") == 7);
  CHECK(column("a.b") == 2);
  CHECK(column("sales and true") == 1);
  CHECK(column("not dept") == 1);
  CHECK(column("sales + dept") == 7);
  CHECK(column("dept in (1, 2)") == 6);
  CHECK(column("case when true then 1 else dept end") == 1);
  CHECK(column("coalesce()") == 1);
  CHECK(column("lower(dept, dept)") == 1);
  CHECK(column("twice + 1") == 1);
  CHECK(column("where = 1") == 7);
  CHECK(column("date_trunc('dya', day)") == 12);
  CHECK(column("date_trunc(dept, day)") == 12);
  CHECK(column("day > 'soon'") == 5);
  CHECK(column("and") == 1);
}

TEST_CASE("hints say what to write") {
  const auto hint = [](std::string_view text) { return HintOf(ErrorOf(text)); };
  CHECK(hint("7d") == "a duration is written: interval '7d'");
  CHECK(hint("flor(sales)") == "did you mean 'floor'?");
  CHECK(hint("cast(sales as int46)") == "did you mean 'int64'?");
  CHECK(hint("a < b < c") == "write: a < b and b < c");
  CHECK(hint("1 + end") == "a column of that name is written \"end\"");
  CHECK(hint("cast(sales as timestamp)") == "timestamp_seconds(x) counts from 1970");
  CHECK(hint("round(1, 2, 3)") == "write: round(x[, digits])");
  CHECK(hint("day > 'soon'").find("as a time") != std::string::npos);
}

TEST_CASE("depth and length of a text are limited") {
  const auto parses = [](const std::string& text) { return Expression::Parse(text).ok(); };
  CHECK(parses(Repeat("(", 199) + "1" + Repeat(")", 199)));
  CHECK_FALSE(parses(Repeat("(", 200) + "1" + Repeat(")", 200)));
  CHECK_FALSE(parses(Repeat("(", 60000)));
  CHECK_FALSE(parses(Repeat("not ", 10000) + "true"));
  CHECK_FALSE(parses(Repeat("- ", 10000) + "1"));
  CHECK(parses("1" + Repeat(" + 1", 199)));
  CHECK_FALSE(parses("1" + Repeat(" + 1", 200)));
  CHECK_FALSE(parses(Repeat("case when true then ", 3000)));
  CHECK(parses("true" + Repeat(" or true", 8000)));
  CHECK(parses("1 in (0" + Repeat(", 1", 20000) + ")"));
  CHECK_FALSE(parses(Repeat(" ", 64 * 1024) + "1"));
  CHECK_FALSE(parses("'\xff'"));
}

TEST_CASE("operators bind as in SQL") {
  CHECK(ValueOf("1 + 2 * 3") == "7");
  CHECK(ValueOf("(1 + 2) * 3") == "9");
  CHECK(ValueOf("10 - 4 - 3") == "3");
  CHECK(ValueOf("100 // 10 // 5") == "2");
  CHECK(ValueOf("-a + 10") == "3");
  CHECK(ValueOf("-a * -b") == "14");
  CHECK(ValueOf("2 - -3") == "5");
  CHECK(ValueOf("not a = 7 or true") == "true");
  CHECK(ValueOf("true or false and false") == "true");
  CHECK(ValueOf("not true and false") == "false");
  CHECK(ValueOf("a + 1 between 8 and 4 * b and true") == "true");
  CHECK(ValueOf("(a in (7)) = true") == "true");
  CHECK(ValueOf("1 + 1 = b") == "true");
  CHECK(ValueOf("a + b IS NOT NULL AND CASE WHEN TRUE THEN TRUE END") == "true");
}

TEST_CASE("keywords and functions have no case, columns have") {
  const auto schema =
      arrow::schema({arrow::field("Date", arrow::int64()), arrow::field("cast", arrow::int64())});
  CHECK(Expression::Parse("COALESCE(Date, NULL) IS NOT NULL")->Bind(*schema).ok());
  CHECK(Expression::Parse("cast + Date")->Bind(*schema).ok());
  CHECK_FALSE(Expression::Parse("date + 1")->Bind(*schema).ok());
}

TEST_CASE("columns are listed sorted and once") {
  const auto parsed =
      Expression::Parse("b + a * b - coalesce(\"odd name\", c[0]) + cast(z as int64)");
  CHECK(parsed->columns() == std::vector<std::string>{"a", "b", "c", "odd name", "z"});
  CHECK(parsed->text().starts_with("b + a"));
  CHECK(Expression::Parse("1 + 1")->columns().empty());
}

TEST_CASE("a batch may hold its columns in another order and more of them") {
  const auto batch = Numbers("[[7, 2], [1, null]]");
  const auto bound = *Expression::Parse("a - b")->Bind(*batch->schema());
  const auto turned = *batch->SelectColumns({1, 0});
  const auto wider = *turned->AddColumn(0, "c", turned->column(0));
  for (const auto& other : {batch, turned, wider}) {
    CHECK((*bound.Evaluate(*other))
              ->Equals(**arrow::json::ArrayFromJSONString(arrow::int64(), "[5, null]")));
  }
  CHECK(KindOf(bound.Evaluate(**batch->SelectColumns({0})).status()) == ErrorKind::kUser);
  const auto renamed = *batch->ReplaceSchema(
      arrow::schema({arrow::field("a", arrow::int64()), arrow::field("c", arrow::int64())}));
  CHECK_FALSE(bound.Evaluate(*renamed).ok());
}

TEST_CASE("a column whose type is not the bound one is refused") {
  const auto batch = Numbers("[[7, 2]]");
  const auto floats =
      arrow::schema({arrow::field("a", arrow::float64()), arrow::field("b", arrow::int64())});
  const auto bound = *Expression::Parse("a - b")->Bind(*floats);
  CHECK(KindOf(bound.Evaluate(*batch).status()) == ErrorKind::kUser);
}

TEST_CASE("a batch without rows gives an empty array and no error") {
  const auto batch = Numbers("[]");
  for (const char* const text : {"a + b", "1 // 0", "'x'", "null", "a", "cast(a as int32)"}) {
    const auto bound = *Expression::Parse(text)->Bind(*batch->schema());
    const auto result = bound.Evaluate(*batch);
    REQUIRE(result.ok());
    CHECK((*result)->length() == 0);
    CHECK((*result)->type()->Equals(bound.type()));
  }
  CHECK(Expression::Parse("a > 0")->Bind(*batch->schema())->Select(*batch)->empty());
}

TEST_CASE("slices of a batch are read from their own rows") {
  const auto type = arrow::struct_(
      {arrow::field("p", arrow::boolean()), arrow::field("s", arrow::utf8()),
       arrow::field("l", arrow::list(arrow::int32())),
       arrow::field("f", arrow::fixed_size_list(arrow::int64(), 2)),
       arrow::field("d", arrow::decimal128(10, 2)), arrow::field("v", arrow::utf8_view())});
  const auto batch =
      *arrow::RecordBatch::FromStructArray(*arrow::json::ArrayFromJSONString(type, R"([
      [true, "a", [1, 2], [1, 2], "1.25", "x"], [false, "b", [], [3, 4], "2.50", "a view longer than twelve bytes"],
      [null, null, null, null, null, null], [true, "c", [5, null, 7], [5, 6], "-3.75", ""]])"));
  for (const char* const text : {"p", "not p", "concat(s, v)", "l[0] + f[1]", "list_sum(l)",
                                 "coalesce(l, f)", "d * 2", "v"}) {
    CAPTURE(text);
    const auto bound = *Expression::Parse(text)->Bind(*batch->schema());
    const auto whole = *bound.Evaluate(*batch);
    REQUIRE(whole->ValidateFull().ok());
    for (int64_t row = 0; row < batch->num_rows(); ++row) {
      CHECK((*bound.Evaluate(*batch->Slice(row, 1)))->Equals(*whole->Slice(row, 1)));
    }
  }
}

TEST_CASE("a bare column of a type of ours is passed through without a copy") {
  const auto batch = Numbers("[[7, 2]]");
  const auto bound = *Expression::Parse("(b)")->Bind(*batch->schema());
  CHECK((*bound.Evaluate(*batch))->data()->buffers[1] == batch->column_data(1)->buffers[1]);
}

TEST_CASE("hash buckets never change") {
  // Computed by another implementation: FNV-1a 64, splitmix64's finaliser, modulo.
  CHECK(ValueOf("hash_bucket('gnomon', 1000)") == "801");
  CHECK(ValueOf("hash_bucket('', 1000)") == "203");
  CHECK(ValueOf("hash_bucket(42, 1000)") == "204");
  CHECK(ValueOf("hash_bucket(-1, 1000)") == "373");
  CHECK(ValueOf("hash_bucket(1.5, 1000)") == "882");
  CHECK(ValueOf("hash_bucket(-0.0, 1000)") == "883");
  CHECK(ValueOf("hash_bucket(true, 1000)") == "125");
  CHECK(ValueOf("hash_bucket(date '1970-02-12', 1000)") == "204");
}

TEST_CASE("case mapping of letters goes there and back") {
  CHECK(ValueOf("upper('àéîõü ÿ ąćęłńóśźż ő αβγάέήίόύώ абвгдежя ёђї')") ==
        "ÀÉÎÕÜ Ÿ ĄĆĘŁŃÓŚŹŻ Ő ΑΒΓΆΈΉΊΌΎΏ АБВГДЕЖЯ ЁЂЇ");
  CHECK(ValueOf("lower('ÀÉÎÕÜ Ÿ ĄĆĘŁŃÓŚŹŻ Ő ΑΒΓΆΈΉΊΌΎΏ АБВГДЕЖЯ ЁЂЇ')") ==
        "àéîõü ÿ ąćęłńóśźż ő αβγάέήίόύώ абвгдежя ёђї");
  CHECK(ValueOf("upper('日本語 ÷ß')") == "日本語 ÷ß");
}

TEST_CASE("one bound expression serves several threads") {
  const auto batch = Numbers("[[7, 2], [1, null], [3, 4]]");
  const auto bound = *Expression::Parse("case when a > b then concat(a, '-', b) else 'none' end")
                          ->Bind(*batch->schema());
  const auto expected = *bound.Evaluate(*batch);
  std::vector<int> failures(4, 0);
  {
    std::vector<std::jthread> threads;
    for (int& failed : failures) {
      threads.emplace_back([&] {
        for (int i = 0; i < 500; ++i)
          failed += (*bound.Evaluate(*batch))->Equals(*expected) ? 0 : 1;
      });
    }
  }
  CHECK(std::ranges::count(failures, 0) == 4);
}

}  // namespace gnomon::expr
