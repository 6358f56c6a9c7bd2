#include <algorithm>
#include <cstring>

#include <arrow/array/data.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "expr/evaluation_internal.h"

namespace gnomon::expr {

int64_t Rows::First() const {
  if (active == nullptr) return count > 0 ? 0 : -1;
  const uint8_t* const found =
      std::find_if(active, active + count, [](uint8_t row) { return row != 0; });
  return found == active + count ? -1 : found - active;
}

Vector NullVector(Type type) {
  Vector null = WithValueType(type.kind, [](auto zero) { return ConstantVector(zero); });
  null.validity = NewZeros<uint8_t>(1);
  return null;
}

Evaluation::Evaluation(const std::vector<InputColumn>& inputs, const arrow::RecordBatch* batch)
    : inputs_(inputs), batch_(batch), columns_(inputs.size()) {}

std::string_view Evaluation::CopyText(std::string_view text) {
  if (text.empty()) return {};
  char* const copy = NewText(text.size());
  std::memcpy(copy, text.data(), text.size());
  return {copy, text.size()};
}

Result<const LoadedColumn*> Evaluation::Column(size_t index) {
  LoadedColumn& column = columns_[index];
  if (!column.loaded) {
    GNOMON_CHECK(batch_ != nullptr, "a constant expression that reads a column");
    GNOMON_ASSIGN_OR_RETURN(const auto array, FindColumn(*batch_, inputs_[index]));
    GNOMON_RETURN_NOT_OK(ReadArray(array, inputs_[index].type, this, &column));
    column.loaded = true;
  }
  return &column;
}

Result<std::shared_ptr<arrow::ArrayData>> FindColumn(const arrow::RecordBatch& batch,
                                                     const InputColumn& input) {
  const arrow::Schema& schema = *batch.schema();
  int position = input.position;
  if (position >= schema.num_fields() || schema.field(position)->name() != input.name) {
    position = schema.GetFieldIndex(input.name);
    if (position < 0) {
      return Error(ErrorKind::kUser,
                   "the batch has no column, or several, of the name: ", input.name);
    }
  }
  std::shared_ptr<arrow::ArrayData> array = batch.column_data(position);
  if (array->type != input.arrow_type && !array->type->Equals(*input.arrow_type)) {
    return Error(ErrorKind::kUser, "column ", Quoted(input.name),
                 " is of another type than the schema says: ", array->type->ToString(),
                 " instead of ", input.arrow_type->ToString());
  }
  return array;
}

}  // namespace gnomon::expr
