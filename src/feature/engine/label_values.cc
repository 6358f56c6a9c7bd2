#include "feature/engine/label_values.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "table/column.h"

namespace gnomon::feature {
namespace {

std::shared_ptr<arrow::Schema> WithNumber(const arrow::Schema& schema) {
  arrow::FieldVector fields = schema.fields();
  fields.insert(fields.begin(), arrow::field("number", arrow::int64()));
  return arrow::schema(std::move(fields));
}

int32_t NumBlocks(int64_t num_labels, int64_t block_rows) {
  return static_cast<int32_t>(std::max<int64_t>(1, (num_labels + block_rows - 1) / block_rows));
}

class WholeValues : public LabelValues {
 public:
  WholeValues(ViewArrays columns, int64_t block_rows)
      : columns_(std::move(columns)), block_rows_(block_rows) {}

  Result<ViewArrays> Take(int64_t block, MemoryReservation* /*memory*/) override {
    ViewArrays slices;
    for (const auto& column : columns_)
      slices.push_back(column->Slice(block * block_rows_, block_rows_));
    return slices;
  }

 private:
  const ViewArrays columns_;
  const int64_t block_rows_;
};

}  // namespace

std::unique_ptr<LabelValues> MakeWholeValues(ViewArrays columns, int64_t block_rows) {
  return std::make_unique<WholeValues>(std::move(columns), block_rows);
}

LabelBlocks::LabelBlocks(const Context& context, const arrow::Schema& schema, int64_t num_labels,
                         int64_t block_rows, const std::string& spill_folder)
    : block_rows_(block_rows),
      rows_(context, WithNumber(schema), NumBlocks(num_labels, block_rows), spill_folder) {}

Status LabelBlocks::Add(std::span<const int64_t> numbers, ViewArrays columns) {
  std::vector<int32_t> blocks;
  blocks.reserve(numbers.size());
  for (const int64_t number : numbers) blocks.push_back(static_cast<int32_t>(number / block_rows_));
  arrow::ArrayVector arrays = std::move(columns);
  arrays.insert(arrays.begin(),
                std::make_shared<arrow::Int64Array>(static_cast<int64_t>(numbers.size()),
                                                    arrow::Buffer::FromVector(std::vector<int64_t>(
                                                        numbers.begin(), numbers.end()))));
  return rows_.Add(added_++, std::move(arrays), blocks);
}

Result<ViewArrays> LabelBlocks::Take(int64_t block, MemoryReservation* memory) {
  MemoryReservation unordered(memory->budget());
  GNOMON_ASSIGN_OR_RETURN(const auto batch, rows_.Take(static_cast<int32_t>(block), &unordered));
  GNOMON_RETURN_NOT_OK(memory->Grow(unordered.bytes()));
  const auto& numbers = static_cast<const arrow::Int64Array&>(*batch->column(0));
  std::vector<int64_t> places(static_cast<size_t>(batch->num_rows()));
  for (int64_t i = 0; i < batch->num_rows(); ++i)
    places[static_cast<size_t>(numbers.Value(i) - block * block_rows_)] = i;
  ViewArrays columns;
  for (int i = 1; i < batch->num_columns(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto column,
                            table::Gather(arrow::ChunkedArray(batch->column(i)), places));
    columns.push_back(std::move(column));
  }
  return columns;
}

}  // namespace gnomon::feature
