#include "table/row_columns.h"

#include <cstring>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/bit_util.h>

namespace gnomon::table {

namespace {

/// Bytes of a bitmap or of values, so that the next ones are aligned as Arrow wants them.
int64_t Aligned(int64_t bytes) { return arrow::bit_util::RoundUpToMultipleOf64(bytes); }

int64_t BytesOf(int64_t width, int64_t num_rows) {
  return width == 0 ? arrow::bit_util::BytesForBits(num_rows) : width * num_rows;
}

/// The sizes that a compiler copies without a call.
void CopyValue(uint8_t* to, const char* from, int64_t width) {
  switch (width) {
    case 1:
      *to = static_cast<uint8_t>(*from);
      return;
    case 4:
      std::memcpy(to, from, 4);
      return;
    case 8:
      std::memcpy(to, from, 8);
      return;
    default:
      std::memcpy(to, from, static_cast<size_t>(width));
  }
}

}  // namespace

Result<RowColumns> RowColumns::Make(const std::vector<std::shared_ptr<arrow::DataType>>& types) {
  RowColumns columns;
  columns.columns_.reserve(types.size());
  for (const auto& type : types) {
    Column column;
    column.type = type;
    if (arrow::is_fixed_width(type->id())) {
      column.width = type->bit_width() / 8;
    } else {
      GNOMON_ASSIGN_OR_RETURN(column.builder, arrow::MakeBuilder(type));
    }
    columns.columns_.push_back(std::move(column));
  }
  return columns;
}

Status RowColumns::Start(int64_t num_rows) {
  num_rows_ = num_rows;
  row_ = 0;
  const int64_t bitmap = Aligned(arrow::bit_util::BytesForBits(num_rows));
  int64_t bitmaps = 0;
  int64_t bytes = 0;
  for (const Column& column : columns_) {
    if (column.builder != nullptr) {
      column.builder->Reset();
      GNOMON_RETURN_NOT_OK(column.builder->Reserve(num_rows));
      continue;
    }
    bitmaps += bitmap;
    bytes += Aligned(BytesOf(column.width, num_rows));
  }
  GNOMON_ASSIGN_OR_RETURN(block_, arrow::AllocateBuffer(bitmaps + bytes));
  uint8_t* validity = block_->mutable_data();
  uint8_t* values = validity + bitmaps;
  std::memset(validity, 0xff, static_cast<size_t>(bitmaps));
  for (Column& column : columns_) {
    column.null_count = 0;
    if (column.builder != nullptr) continue;
    const int64_t size = BytesOf(column.width, num_rows);
    column.validity = std::exchange(validity, validity + bitmap);
    column.values = std::exchange(values, values + Aligned(size));
    if (column.width == 0) std::memset(column.values, 0, static_cast<size_t>(size));
  }
  return Status::OK();
}

void RowColumns::SetFixed(size_t column, const char* value) {
  const Column& to = columns_[column];
  if (to.width > 0) {
    CopyValue(to.values + row_ * to.width, value, to.width);
  } else if (*value != 0) {
    arrow::bit_util::SetBit(to.values, row_);
  }
}

Status RowColumns::SetNull(size_t column) {
  Column& to = columns_[column];
  if (to.builder != nullptr) return to.builder->AppendNull();
  arrow::bit_util::ClearBit(to.validity, row_);
  std::memset(to.values + row_ * to.width, 0, static_cast<size_t>(to.width));
  ++to.null_count;
  return Status::OK();
}

Status RowColumns::AppendNullRow() {
  for (size_t column = 0; column < columns_.size(); ++column) GNOMON_RETURN_NOT_OK(SetNull(column));
  EndRow();
  return Status::OK();
}

std::shared_ptr<arrow::Array> RowColumns::FinishFixed(const Column& column) const {
  const auto slice = [&](const uint8_t* begin, int64_t size) {
    return std::make_shared<arrow::Buffer>(block_, begin - block_->data(), size);
  };
  auto validity = column.null_count == 0
                      ? nullptr
                      : slice(column.validity, arrow::bit_util::BytesForBits(num_rows_));
  return arrow::MakeArray(arrow::ArrayData::Make(
      column.type, num_rows_,
      {std::move(validity), slice(column.values, BytesOf(column.width, num_rows_))},
      column.null_count));
}

Result<std::vector<std::shared_ptr<arrow::Array>>> RowColumns::Finish() {
  GNOMON_CHECK(row_ == num_rows_, row_, " of ", num_rows_, " rows");
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  arrays.reserve(columns_.size());
  for (const Column& column : columns_) {
    if (column.builder == nullptr) {
      arrays.push_back(FinishFixed(column));
    } else {
      GNOMON_ASSIGN_OR_RETURN(arrays.emplace_back(), column.builder->Finish());
    }
  }
  block_.reset();
  return arrays;
}

}  // namespace gnomon::table
