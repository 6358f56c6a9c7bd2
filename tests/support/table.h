#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>
#include <doctest/doctest.h>

#include "base/error.h"

namespace gnomon::test {

struct Column {
  std::string name;
  std::shared_ptr<arrow::DataType> type;
  bool nullable = true;
};

/// A table from a JSON literal of rows, each an array or an object:
///   TableOf({{"key", arrow::int64()}, {"name", arrow::utf8()}}, R"([[1, "a"], [2, null]])")
/// Timestamps are integers or text ("2024-01-05 12:30:00"). Ends the test case when the literal is
/// wrong.
std::shared_ptr<arrow::Table> TableOf(const std::vector<Column>& columns, std::string_view rows);
std::shared_ptr<arrow::Table> TableOfSchema(const std::shared_ptr<arrow::Schema>& schema,
                                            std::string_view rows);

/// One row a line under the names and types of the columns, at most 50 rows.
std::string ShowTable(const arrow::Table& table);

/// Empty when names, types and values are equal, whatever the chunks and the metadata; NaN equals
/// NaN. Else what differs, and both tables.
std::string TableDifference(const std::shared_ptr<arrow::Table>& actual,
                            const std::shared_ptr<arrow::Table>& expected);
std::string TableDifference(const Result<std::shared_ptr<arrow::Table>>& actual,
                            const std::shared_ptr<arrow::Table>& expected);

}  // namespace gnomon::test

/// Checks that two tables are equal (TableDifference); `actual` may be a Result.
#define CHECK_TABLE_EQ(actual, expected)                                              \
  do {                                                                                \
    const std::string difference = ::gnomon::test::TableDifference(actual, expected); \
    CHECK_MESSAGE(difference.empty(), difference);                                    \
  } while (false)
