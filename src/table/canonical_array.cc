#include <cstring>

#include <arrow/array.h>
#include <arrow/array/data.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/bit_util.h>

#include "table/canonical_array_internal.h"

namespace gnomon::table::internal {

namespace {

bool HasDictionary(const arrow::DataType& type) {
  if (type.id() == arrow::Type::DICTIONARY || type.id() == arrow::Type::EXTENSION) return true;
  for (const auto& field : type.fields()) {
    if (HasDictionary(*field->type())) return true;
  }
  return false;
}

// Of an array that a builder made: nobody else knows its buffers.
void ZeroNulls(arrow::ArrayData* data) {
  for (const auto& child : data->child_data) ZeroNulls(child.get());
  if (data->GetNullCount() == 0 || !arrow::is_fixed_width(data->type->id())) return;
  const auto bits =
      static_cast<size_t>(static_cast<const arrow::FixedWidthType&>(*data->type).bit_width());
  const uint8_t* const valid = data->buffers[0]->data();
  uint8_t* const values = data->buffers[1]->mutable_data();
  for (int64_t row = 0; row < data->length; ++row) {
    if (arrow::bit_util::GetBit(valid, row)) continue;
    if (bits == 1) {
      arrow::bit_util::ClearBit(values, row);
    } else {
      std::memset(values + static_cast<size_t>(row) * (bits / 8), 0, bits / 8);
    }
  }
}

}  // namespace

Result<std::shared_ptr<arrow::Array>> CanonicalArray(const std::shared_ptr<arrow::Array>& array) {
  if (HasDictionary(*array->type())) return array;
  GNOMON_ASSIGN_OR_RETURN(const auto builder, arrow::MakeBuilder(array->type()));
  const Status appended =
      builder->AppendArraySlice(arrow::ArraySpan(*array->data()), 0, array->length());
  // A type whose builder takes no slices stays as it came.
  if (appended.IsNotImplemented()) return array;
  GNOMON_RETURN_NOT_OK(appended);
  GNOMON_ASSIGN_OR_RETURN(auto copy, builder->Finish());
  ZeroNulls(copy->data().get());
  return copy;
}

}  // namespace gnomon::table::internal
