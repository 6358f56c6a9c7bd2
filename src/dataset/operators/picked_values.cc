#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/type.h>

#include "dataset/operators/accumulator_internal.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

Status PickedValues::Take(const std::shared_ptr<arrow::Array>& values,
                          std::span<const int64_t> rows, std::span<const int32_t> groups) {
  if (rows.empty()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(auto chunk, table::Gather(arrow::ChunkedArray(values), rows));
  for (size_t i = 0; i < groups.size(); ++i)
    places_[static_cast<size_t>(groups[i])] = length_ + static_cast<int64_t>(i);
  length_ += chunk->length();
  chunks_.push_back(std::move(chunk));
  constexpr int64_t kSlack = 4096;
  constexpr size_t kManyChunks = 256;
  const auto num_groups = static_cast<int64_t>(places_.size());
  if (length_ < 2 * num_groups + kSlack && chunks_.size() < kManyChunks) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(auto kept, Finish());
  for (size_t group = 0; group < places_.size(); ++group) {
    if (places_[group] >= 0) places_[group] = static_cast<int64_t>(group);
  }
  length_ = kept->length();
  chunks_ = {std::move(kept)};
  return Status::OK();
}

Result<std::shared_ptr<arrow::Array>> PickedValues::Finish() const {
  return table::Gather(arrow::ChunkedArray(chunks_, type_), places_);
}

}  // namespace gnomon::dataset::internal
