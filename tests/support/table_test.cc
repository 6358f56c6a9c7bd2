#include "tests/support/table.h"

#include <arrow/table.h>
#include <arrow/type.h>

#include "tests/support/status.h"

namespace gnomon::test {

TEST_CASE("a table is made from rows as arrays or as objects") {
  const std::vector<Column> columns = {{"key", arrow::int64()}, {"name", arrow::utf8()}};
  const auto table = TableOf(columns, R"([[1, "a"], [2, null]])");
  CHECK(table->num_rows() == 2);
  CHECK_TABLE_EQ(TableOf(columns, R"([{"key": 1, "name": "a"}, {"key": 2}])"), table);
  CHECK(TableOf(columns, "[]")->num_rows() == 0);
}

TEST_CASE("chunks do not make tables differ and NaN equals NaN") {
  const auto table = TableOf({{"x", arrow::float64()}}, "[[1], [NaN], [null]]");
  const auto pieces = ValueOf(arrow::ConcatenateTables({table->Slice(0, 1), table->Slice(1)}));
  CHECK_TABLE_EQ(pieces, table);
}

TEST_CASE("a difference names column and row and shows both tables") {
  const auto left =
      TableOf({{"x", arrow::int64()}, {"y", arrow::utf8()}}, R"([[1, "a"], [2, "b"]])");
  const auto right =
      TableOf({{"x", arrow::int64()}, {"y", arrow::utf8()}}, R"([[1, "a"], [2, null]])");
  CHECK(TableDifference(left, right) ==
        "column 'y', row 1: b, expected null\n"
        "actual:\nx: int64, y: string\n1, a\n2, b\n"
        "expected:\nx: int64, y: string\n1, a\n2, null\n");
  CHECK(TableDifference(left, left->Slice(1)).find("numbers of rows") != std::string::npos);
  CHECK(TableDifference(left, ValueOf(right->RemoveColumn(1))).find("schemas") !=
        std::string::npos);
}

TEST_CASE("an error instead of a table is a difference") {
  const Result<std::shared_ptr<arrow::Table>> error = Error(ErrorKind::kUser, "bad join");
  CHECK(TableDifference(error, TableOf({{"x", arrow::int64()}}, "[]")) == "bad join");
}

}  // namespace gnomon::test
