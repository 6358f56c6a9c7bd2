#include "feature/engine/label_parts.h"

#include <algorithm>
#include <limits>
#include <memory>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

namespace gnomon::feature {
namespace {

constexpr size_t kChunkRows = size_t{64} * 1024;

template <typename Array, typename Value>
std::shared_ptr<arrow::Array> ArrayOf(std::vector<Value> values) {
  const auto length = static_cast<int64_t>(values.size());
  return std::make_shared<Array>(length, arrow::Buffer::FromVector(std::move(values)));
}

template <typename Array>
auto ValuesOf(const arrow::Array& array) {
  const auto& typed = static_cast<const Array&>(array);
  return std::span(typed.raw_values(), static_cast<size_t>(typed.length()));
}

}  // namespace

Result<LabelParts> LabelParts::Make(const Context& context, std::span<const int32_t> ids,
                                    std::span<const int64_t> times, int32_t num_partitions,
                                    const std::function<KeyPlace(int32_t)>& place_of,
                                    int64_t most_labels, const std::string& spill_folder) {
  std::vector<int64_t> counts(static_cast<size_t>(num_partitions), 0);
  for (const int32_t id : ids) ++counts[static_cast<size_t>(place_of(id).partition)];
  LabelParts parts;
  int64_t total = 0;
  for (const int64_t count : counts) {
    parts.first_part_.push_back(static_cast<int32_t>(total));
    total += (count + most_labels - 1) / most_labels;
    if (total > std::numeric_limits<int32_t>::max())
      return Error(ErrorKind::kExhausted, "too many parts of ", ids.size(), " entity rows");
  }
  parts.first_part_.push_back(static_cast<int32_t>(total));
  auto schema =
      arrow::schema({arrow::field("number", arrow::int64()), arrow::field("id", arrow::int32()),
                     arrow::field("time", arrow::int64())});
  parts.rows_ = std::make_unique<RowPartitions>(
      context, std::move(schema), std::max<int32_t>(1, parts.first_part_.back()), spill_folder);
  GNOMON_RETURN_NOT_OK(parts.Add(ids, times, place_of, most_labels));
  GNOMON_RETURN_NOT_OK(parts.rows_->Finish());
  return parts;
}

Status LabelParts::Add(std::span<const int32_t> ids, std::span<const int64_t> times,
                       const std::function<KeyPlace(int32_t)>& place_of, int64_t most_labels) {
  std::vector<int64_t> seen(first_part_.size() - 1, 0);
  for (size_t begin = 0; begin < ids.size(); begin += kChunkRows) {
    const size_t count = std::min(kChunkRows, ids.size() - begin);
    std::vector<int64_t> numbers(count);
    std::vector<int32_t> places(count);
    std::vector<int32_t> parts(count);
    for (size_t i = 0; i < count; ++i) {
      const KeyPlace place = place_of(ids[begin + i]);
      const auto partition = static_cast<size_t>(place.partition);
      numbers[i] = static_cast<int64_t>(begin + i);
      places[i] = place.id;
      parts[i] = first_part_[partition] + static_cast<int32_t>(seen[partition]++ / most_labels);
    }
    const auto of_chunk = times.subspan(begin, count);
    GNOMON_RETURN_NOT_OK(rows_->Add(
        static_cast<int64_t>(begin),
        {ArrayOf<arrow::Int64Array>(std::move(numbers)),
         ArrayOf<arrow::Int32Array>(std::move(places)),
         ArrayOf<arrow::Int64Array>(std::vector<int64_t>(of_chunk.begin(), of_chunk.end()))},
        parts));
  }
  return Status::OK();
}

Result<LabelParts::Part> LabelParts::Take(int32_t part, MemoryReservation* memory) {
  Part taken;
  GNOMON_ASSIGN_OR_RETURN(taken.rows, rows_->Take(part, memory));
  taken.numbers = ValuesOf<arrow::Int64Array>(*taken.rows->column(0));
  taken.ids = ValuesOf<arrow::Int32Array>(*taken.rows->column(1));
  taken.times = ValuesOf<arrow::Int64Array>(*taken.rows->column(2));
  return taken;
}

}  // namespace gnomon::feature
