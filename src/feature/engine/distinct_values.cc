#include "feature/engine/distinct_values.h"

#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/type.h>

#include "table/column.h"

namespace gnomon::feature {
namespace {

constexpr int32_t kParts = 64;

/// The values whose hash lies in one of kParts parts of a part.
Result<arrow::ArrayVector> SubPart(const arrow::ArrayVector& pieces, const table::KeyIndex& index,
                                   int32_t number) {
  arrow::ArrayVector values;
  for (const auto& piece : pieces) {
    std::vector<int32_t> parts(static_cast<size_t>(piece->length()));
    GNOMON_RETURN_NOT_OK(index.Partition({piece}, kParts * kParts, parts));
    std::vector<int64_t> places;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i] == number) places.push_back(static_cast<int64_t>(i));
    }
    if (places.empty()) continue;
    GNOMON_ASSIGN_OR_RETURN(auto some, table::Gather(arrow::ChunkedArray(piece), places));
    values.push_back(std::move(some));
  }
  return values;
}

}  // namespace

DistinctValues::DistinctValues(const Context& context, std::shared_ptr<arrow::DataType> type,
                               table::KeyIndex index, MemoryBudget* budget)
    : context_(context),
      type_(std::move(type)),
      index_(std::make_unique<table::KeyIndex>(std::move(index))),
      memory_(budget) {}

Result<DistinctValues> DistinctValues::Make(const Context& context,
                                            const std::shared_ptr<arrow::DataType>& type,
                                            MemoryBudget* budget) {
  GNOMON_ASSIGN_OR_RETURN(auto index, table::KeyIndex::Make({type}));
  return DistinctValues(context, type, std::move(index), budget);
}

Status DistinctValues::Add(const std::shared_ptr<arrow::Array>& values) {
  ids_.resize(static_cast<size_t>(values->length()));
  if (rest_ != nullptr) return PutAside(values);
  const Status inserted = index_->Insert({values}, ids_, &memory_);
  if (inserted.ok() || KindOf(inserted) != ErrorKind::kExhausted) return inserted;
  rest_ = std::make_unique<RowPartitions>(context_, arrow::schema({arrow::field("value", type_)}),
                                          kParts, std::string());
  return PutAside(values);
}

Status DistinctValues::PutAside(const std::shared_ptr<arrow::Array>& values) {
  GNOMON_RETURN_NOT_OK(index_->Find({values}, ids_));
  std::vector<int32_t> parts(ids_.size());
  GNOMON_RETURN_NOT_OK(index_->Partition({values}, kParts, parts));
  for (size_t i = 0; i < parts.size(); ++i) {
    if (ids_[i] != table::KeyIndex::kAbsent) parts[i] = -1;
  }
  return rest_->Add(batches_++, {values}, parts);
}

Result<int64_t> DistinctValues::CountPieces(const arrow::ArrayVector& pieces) {
  GNOMON_ASSIGN_OR_RETURN(table::KeyIndex index, table::KeyIndex::Make({type_}));
  MemoryReservation memory(memory_.budget());
  for (const auto& piece : pieces) {
    GNOMON_RETURN_NOT_OK(context_.Check());
    ids_.resize(static_cast<size_t>(piece->length()));
    GNOMON_RETURN_NOT_OK(index.Insert({piece}, ids_, &memory));
  }
  return index.size();
}

Result<int64_t> DistinctValues::CountPart(int32_t part) {
  const arrow::ArrayVector pieces = rest_->Pieces(part, 0);
  auto count = CountPieces(pieces);
  if (count.ok() || KindOf(count.status()) != ErrorKind::kExhausted) return count;
  GNOMON_ASSIGN_OR_RETURN(const auto hashes, table::KeyIndex::Make({type_}));
  int64_t total = 0;
  for (int32_t i = 0; i < kParts; ++i) {
    GNOMON_ASSIGN_OR_RETURN(const auto some, SubPart(pieces, hashes, part * kParts + i));
    GNOMON_ASSIGN_OR_RETURN(const int64_t of_them, CountPieces(some));
    total += of_them;
  }
  return total;
}

Result<int64_t> DistinctValues::Count() {
  int64_t count = index_->size();
  if (rest_ == nullptr) return count;
  index_.reset();
  memory_.Clear();
  GNOMON_RETURN_NOT_OK(rest_->Finish());
  for (int32_t part = 0; part < kParts; ++part) {
    GNOMON_ASSIGN_OR_RETURN(const int64_t of_part, CountPart(part));
    count += of_part;
  }
  return count;
}

}  // namespace gnomon::feature
