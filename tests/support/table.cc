#include "tests/support/table.h"

#include <algorithm>
#include <cstdint>
#include <sstream>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/compare.h>
#include <arrow/json/from_string.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "tests/support/status.h"

namespace gnomon::test {

namespace {

constexpr int64_t kMaxShownRows = 50;

std::string Difference(const arrow::Table& actual, const arrow::Table& expected) {
  if (!actual.schema()->Equals(*expected.schema(), /*check_metadata=*/false))
    return "the schemas differ";
  if (actual.num_rows() != expected.num_rows()) {
    return Concat("the numbers of rows differ: ", actual.num_rows(), ", expected ",
                  expected.num_rows());
  }
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
  for (int i = 0; i < actual.num_columns(); ++i) {
    if (actual.column(i)->Equals(*expected.column(i), options)) continue;
    for (int64_t row = 0; row < actual.num_rows(); ++row) {
      const auto left = ValueOf(actual.column(i)->GetScalar(row));
      const auto right = ValueOf(expected.column(i)->GetScalar(row));
      if (!left->Equals(*right, options)) {
        return Concat("column '", actual.field(i)->name(), "', row ", row, ": ", left->ToString(),
                      ", expected ", right->ToString());
      }
    }
    return Concat("column '", actual.field(i)->name(), "' differs");
  }
  return {};
}

}  // namespace

std::shared_ptr<arrow::Table> TableOf(const std::vector<Column>& columns, std::string_view rows) {
  std::vector<std::shared_ptr<arrow::Field>> fields;
  for (const Column& column : columns) {
    fields.push_back(arrow::field(column.name, column.type, column.nullable));
  }
  return TableOfSchema(arrow::schema(std::move(fields)), rows);
}

std::shared_ptr<arrow::Table> TableOfSchema(const std::shared_ptr<arrow::Schema>& schema,
                                            std::string_view rows) {
  const auto type = arrow::struct_(schema->fields());
  const auto array = ValueOf(arrow::json::ArrayFromJSONString(type, rows));
  if (array->null_count() > 0) FAIL("a row is null: " << std::string(rows));
  const auto& structs = dynamic_cast<const arrow::StructArray&>(*array);
  auto table = arrow::Table::Make(schema, structs.fields(), structs.length());
  RequireOk(table->ValidateFull());
  return table;
}

std::string ShowTable(const arrow::Table& table) {
  std::ostringstream out;
  for (int i = 0; i < table.num_columns(); ++i) {
    out << (i > 0 ? ", " : "") << table.field(i)->name() << ": "
        << table.field(i)->type()->ToString();
  }
  out << '\n';
  for (int64_t row = 0; row < std::min(table.num_rows(), kMaxShownRows); ++row) {
    for (int i = 0; i < table.num_columns(); ++i) {
      out << (i > 0 ? ", " : "") << ValueOf(table.column(i)->GetScalar(row))->ToString();
    }
    out << '\n';
  }
  if (table.num_rows() > kMaxShownRows) {
    out << "... " << table.num_rows() - kMaxShownRows << " rows more\n";
  }
  return out.str();
}

std::string TableDifference(const std::shared_ptr<arrow::Table>& actual,
                            const std::shared_ptr<arrow::Table>& expected) {
  if (actual == nullptr || expected == nullptr) return "a table is null";
  const std::string difference = Difference(*actual, *expected);
  if (difference.empty()) return {};
  return Concat(difference, "\nactual:\n", ShowTable(*actual), "expected:\n", ShowTable(*expected));
}

std::string TableDifference(const Result<std::shared_ptr<arrow::Table>>& actual,
                            const std::shared_ptr<arrow::Table>& expected) {
  if (!actual.ok()) return FormatError(actual.status());
  return TableDifference(*actual, expected);
}

}  // namespace gnomon::test
