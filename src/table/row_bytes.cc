#include "table/row_bytes.h"

#include <algorithm>

#include <arrow/type.h>

namespace gnomon::table {

int64_t GuessValueBytes(const arrow::DataType& type) {
  const int width = type.byte_width();
  return width > 0 ? width : kGuessedValueBytes;
}

int64_t GuessRowBytes(const arrow::Schema& schema) {
  int64_t bytes = 0;
  for (const auto& field : schema.fields()) bytes += GuessValueBytes(*field->type());
  return std::max<int64_t>(1, bytes);
}

}  // namespace gnomon::table
