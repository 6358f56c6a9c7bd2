// Parses any bytes as the JSON of a request and asks for everything that the servers ask for.
// Nothing may crash; a column that comes out is written as JSON that parses again.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "fuzz/fuzz_check.h"
#include "net/json_columns.h"

namespace {

using gnomon::ErrorKind;
using gnomon::Status;
using gnomon::fuzz::Require;
using gnomon::net::JsonDocument;

void RequireUserError(const Status& status) {
  gnomon::fuzz::RequireKind(status, {ErrorKind::kUser, ErrorKind::kNotFound});
}

void CheckTable(const gnomon::Result<std::shared_ptr<arrow::RecordBatch>>& table) {
  RequireUserError(table.status());
  if (!table.ok()) return;
  Require((*table)->ValidateFull().ok());
  std::string text;
  gnomon::net::JsonWriter json(&text);
  json.BeginArray();
  for (const auto& column : (*table)->columns()) {
    for (int64_t row = 0; row < column->length(); ++row)
      Require(gnomon::net::AppendJsonValue(*column, row, &json).ok());
  }
  json.EndArray();
  // The values alone are no rows; that they are JSON shows in the error's kind only.
  RequireUserError(JsonDocument::Parse(text).status());
  Require(JsonDocument::Parse(text).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto document = JsonDocument::Parse(text);
  RequireUserError(document.status());
  if (!document.ok()) return 0;
  CheckTable(document->AsTable());
  const auto members = document->Members();
  RequireUserError(members.status());
  if (!members.ok()) return 0;
  for (const std::string& member : *members) {
    // Of two members of one name the first counts.
    Require(document->Has(member));
    RequireUserError(document->GetString(member).status());
    RequireUserError(document->GetBool(member).status());
    RequireUserError(document->GetStrings(member).status());
    CheckTable(document->GetColumns(member));
    CheckTable(document->GetRows(member));
  }
  return 0;
}
