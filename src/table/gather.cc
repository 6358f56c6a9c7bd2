#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/compute/api_vector.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>

#include "table/column.h"
#include "table/compute_internal.h"

namespace gnomon::table {

namespace {

/// Finds the chunk of a row in O(1) for chunks of about one size: rows are cut into buckets of a
/// power of two, and each bucket knows the chunks that it can lie in.
class ChunkFinder {
 public:
  explicit ChunkFinder(const arrow::ChunkedArray& column) : length_(column.length()) {
    for (const auto& chunk : column.chunks())
      ends_.push_back((ends_.empty() ? 0 : ends_.back()) + chunk->length());
    const auto mean =
        static_cast<uint64_t>(std::max<int64_t>(1, length_ / std::max(1, column.num_chunks())));
    shift_ = static_cast<int>(std::bit_width(mean)) - 1;
    size_t chunk = 0;
    for (int64_t row = 0; row < length_; row += int64_t{1} << shift_) {
      while (ends_[chunk] <= row) ++chunk;
      first_.push_back(static_cast<uint32_t>(chunk));
    }
    first_.push_back(ends_.empty() ? 0U : static_cast<uint32_t>(ends_.size() - 1));
    for (size_t bucket = 1; bucket < first_.size(); ++bucket)
      is_even_ = is_even_ && first_[bucket] - first_[bucket - 1] <= 1;
  }

  int64_t length() const { return length_; }
  int64_t End(size_t chunk) const { return ends_[chunk]; }
  /// Does no bucket lie in more than two chunks?
  bool is_even() const { return is_even_; }

  /// The chunk of `row`, without a jump. REQUIRES: is_even(), 0 <= row < length().
  size_t FindEven(int64_t row) const {
    const size_t chunk = first_[static_cast<size_t>(row >> shift_)];
    return chunk + (ends_[chunk] <= row ? 1 : 0);
  }

  /// The chunk of `row` and the row inside it. REQUIRES: 0 <= row < length().
  std::pair<size_t, int64_t> Find(int64_t row) const {
    const auto bucket = static_cast<size_t>(row >> shift_);
    size_t chunk = first_[bucket];
    if (ends_[chunk] <= row) {
      const auto begin = ends_.begin();
      chunk = static_cast<size_t>(
          std::upper_bound(begin + static_cast<ptrdiff_t>(chunk), begin + first_[bucket + 1], row) -
          begin);
    }
    return {chunk, chunk == 0 ? row : row - ends_[chunk - 1]};
  }

 private:
  int64_t length_;
  int shift_ = 0;
  bool is_even_ = true;
  std::vector<int64_t> ends_;
  std::vector<uint32_t> first_;
};

/// The validity bitmap of a result that is being gathered; all valid at first.
class Validity {
 public:
  static Result<Validity> Make(int64_t length) {
    Validity validity;
    GNOMON_ASSIGN_OR_RETURN(validity.bits_, arrow::AllocateBitmap(length));
    std::memset(validity.bits_->mutable_data(), 0xff, static_cast<size_t>(validity.bits_->size()));
    return validity;
  }
  void SetNull(int64_t row) {
    arrow::bit_util::ClearBit(bits_->mutable_data(), row);
    ++null_count_;
  }
  /// Of `count` rows (at most 64) from `row`, a multiple of 64: bit i stands for row + i.
  void Set(int64_t row, int64_t count, uint64_t valid) {
    std::memcpy(bits_->mutable_data() + row / 8, &valid, static_cast<size_t>((count + 7) / 8));
    null_count_ += count - std::popcount(valid);
  }
  int64_t null_count() const { return null_count_; }
  /// Null when every row is valid.
  std::shared_ptr<arrow::Buffer> buffer() const { return null_count_ == 0 ? nullptr : bits_; }

 private:
  std::shared_ptr<arrow::Buffer> bits_;
  int64_t null_count_ = 0;
};

struct Chunk {
  const uint8_t* validity = nullptr;  ///< null when no row is null
  int64_t offset = 0;
  const uint8_t* values = nullptr;  ///< values or offsets, of row 0
  const uint8_t* bytes = nullptr;   ///< strings' bytes

  bool IsNull(int64_t row) const {
    return validity != nullptr && !arrow::bit_util::GetBit(validity, offset + row);
  }
};

/// `value_width` 0: values are bits and are not moved to row 0.
std::vector<Chunk> ChunksOf(const arrow::ChunkedArray& column, int64_t value_width) {
  std::vector<Chunk> chunks;
  for (const auto& array : column.chunks()) {
    const arrow::ArrayData& data = *array->data();
    Chunk chunk;
    chunk.offset = data.offset;
    if (array->null_count() > 0) chunk.validity = array->null_bitmap_data();
    if (data.buffers[1] != nullptr)
      chunk.values = data.buffers[1]->data() + data.offset * value_width;
    if (data.buffers.size() > 2 && data.buffers[2] != nullptr)
      chunk.bytes = data.buffers[2]->data();
    chunks.push_back(chunk);
  }
  return chunks;
}

/// Calls take(i, chunk, row in chunk) for each valid row and null(i) for each null one.
template <typename Take, typename Null>
void ForEachRow(const ChunkFinder& finder, const std::vector<Chunk>& chunks,
                std::span<const int64_t> indices, Take&& take, Null&& null) {
  const bool one_chunk = chunks.size() == 1;
  for (size_t i = 0; i < indices.size(); ++i) {
    int64_t row = indices[i];
    const Chunk* chunk = chunks.data();
    if (row >= 0 && !one_chunk) {
      const auto [number, row_in_chunk] = finder.Find(row);
      chunk += number;
      row = row_in_chunk;
    }
    if (row < 0 || chunk->IsNull(row)) {
      null(i);
    } else {
      take(i, *chunk, row);
    }
  }
}

std::shared_ptr<arrow::Array> MakeGathered(const arrow::ChunkedArray& column, size_t length,
                                           const Validity& validity,
                                           std::vector<std::shared_ptr<arrow::Buffer>> buffers) {
  buffers.insert(buffers.begin(), validity.buffer());
  return arrow::MakeArray(arrow::ArrayData::Make(column.type(), static_cast<int64_t>(length),
                                                 std::move(buffers), validity.null_count()));
}

/// Values of chunks without nulls, without a jump that depends on a row: in a join it is chance
/// which labels found one.
template <typename Value>
void GatherEvenly(const ChunkFinder& finder, const std::vector<Chunk>& chunks,
                  std::span<const int64_t> indices, Value* out, Validity* validity) {
  struct Start {
    const uint8_t* values;
    int64_t row;
  };
  std::vector<Start> starts;
  for (size_t i = 0; i < chunks.size(); ++i)
    starts.push_back({chunks[i].values, i == 0 ? 0 : finder.End(i - 1)});
  constexpr size_t kBlock = 64;
  for (size_t block = 0; block < indices.size(); block += kBlock) {
    const size_t count = std::min(kBlock, indices.size() - block);
    uint64_t valid = 0;
    for (size_t i = 0; i < count; ++i) {
      const int64_t index = indices[block + i];
      const int64_t row = std::max<int64_t>(index, 0);
      const Start& start = starts[finder.FindEven(row)];
      Value value;
      std::memcpy(&value, start.values + (row - start.row) * static_cast<int64_t>(sizeof(Value)),
                  sizeof(Value));
      out[block + i] = index >= 0 ? value : Value{};
      valid |= uint64_t{index >= 0} << i;
    }
    validity->Set(static_cast<int64_t>(block), static_cast<int64_t>(count), valid);
  }
}

template <typename Value>
Result<std::shared_ptr<arrow::Array>> GatherValues(const arrow::ChunkedArray& column,
                                                   const ChunkFinder& finder,
                                                   std::span<const int64_t> indices) {
  const auto length = static_cast<int64_t>(indices.size());
  GNOMON_ASSIGN_OR_RETURN(auto validity, Validity::Make(length));
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> values,
                          arrow::AllocateBuffer(length * static_cast<int64_t>(sizeof(Value))));
  auto* out = values->mutable_data_as<Value>();
  const std::vector<Chunk> chunks = ChunksOf(column, sizeof(Value));
  const bool has_nulls =
      std::ranges::any_of(chunks, [](const Chunk& chunk) { return chunk.validity != nullptr; });
  if (finder.is_even() && !has_nulls) {
    GatherEvenly(finder, chunks, indices, out, &validity);
    return MakeGathered(column, indices.size(), validity, {values});
  }
  ForEachRow(
      finder, chunks, indices,
      [&](size_t i, const Chunk& chunk, int64_t row) {
        std::memcpy(out + i, chunk.values + row * static_cast<int64_t>(sizeof(Value)),
                    sizeof(Value));
      },
      [&](size_t i) {
        out[i] = Value{};
        validity.SetNull(static_cast<int64_t>(i));
      });
  return MakeGathered(column, indices.size(), validity, {values});
}

Result<std::shared_ptr<arrow::Array>> GatherWide(const arrow::ChunkedArray& column,
                                                 const ChunkFinder& finder,
                                                 std::span<const int64_t> indices, int64_t width) {
  const auto length = static_cast<int64_t>(indices.size());
  GNOMON_ASSIGN_OR_RETURN(auto validity, Validity::Make(length));
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> values,
                          arrow::AllocateBuffer(length * width));
  uint8_t* out = values->mutable_data();
  const auto bytes = static_cast<size_t>(width);
  ForEachRow(
      finder, ChunksOf(column, width), indices,
      [&](size_t i, const Chunk& chunk, int64_t row) {
        std::memcpy(out + i * bytes, chunk.values + row * width, bytes);
      },
      [&](size_t i) {
        std::memset(out + i * bytes, 0, bytes);
        validity.SetNull(static_cast<int64_t>(i));
      });
  return MakeGathered(column, indices.size(), validity, {values});
}

Result<std::shared_ptr<arrow::Array>> GatherBits(const arrow::ChunkedArray& column,
                                                 const ChunkFinder& finder,
                                                 std::span<const int64_t> indices) {
  const auto length = static_cast<int64_t>(indices.size());
  GNOMON_ASSIGN_OR_RETURN(auto validity, Validity::Make(length));
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> values,
                          arrow::AllocateEmptyBitmap(length));
  uint8_t* out = values->mutable_data();
  ForEachRow(
      finder, ChunksOf(column, 0), indices,
      [&](size_t i, const Chunk& chunk, int64_t row) {
        if (arrow::bit_util::GetBit(chunk.values, chunk.offset + row)) {
          arrow::bit_util::SetBit(out, static_cast<int64_t>(i));
        }
      },
      [&](size_t i) { validity.SetNull(static_cast<int64_t>(i)); });
  return MakeGathered(column, indices.size(), validity, {values});
}

template <typename Offset>
Result<std::shared_ptr<arrow::Array>> GatherStrings(const arrow::ChunkedArray& column,
                                                    const ChunkFinder& finder,
                                                    std::span<const int64_t> indices) {
  const auto length = static_cast<int64_t>(indices.size());
  GNOMON_ASSIGN_OR_RETURN(auto validity, Validity::Make(length));
  GNOMON_ASSIGN_OR_RETURN(
      std::shared_ptr<arrow::Buffer> offset_buffer,
      arrow::AllocateBuffer((length + 1) * static_cast<int64_t>(sizeof(Offset))));
  auto* offsets = offset_buffer->mutable_data_as<Offset>();
  std::vector<const uint8_t*> starts(indices.size());
  int64_t total = 0;
  offsets[0] = 0;
  ForEachRow(
      finder, ChunksOf(column, sizeof(Offset)), indices,
      [&](size_t i, const Chunk& chunk, int64_t row) {
        std::array<Offset, 2> ends;
        std::memcpy(ends.data(), chunk.values + row * static_cast<int64_t>(sizeof(Offset)),
                    sizeof(ends));
        starts[i] = chunk.bytes + ends[0];
        total += ends[1] - ends[0];
        offsets[i + 1] = static_cast<Offset>(total);
      },
      [&](size_t i) {
        validity.SetNull(static_cast<int64_t>(i));
        offsets[i + 1] = static_cast<Offset>(total);
      });
  if (total > std::numeric_limits<Offset>::max()) {
    return Error(ErrorKind::kExhausted,
                 "gathered strings pass 2 GiB; use a large_string column: ", total, " bytes");
  }
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> bytes, arrow::AllocateBuffer(total));
  uint8_t* out = bytes->mutable_data();
  for (size_t i = 0; i < indices.size(); ++i) {
    const auto size = static_cast<size_t>(offsets[i + 1] - offsets[i]);
    if (size > 0) std::memcpy(out + offsets[i], starts[i], size);
  }
  return MakeGathered(column, indices.size(), validity, {offset_buffer, bytes});
}

/// For types without a take kernel: copies row by row.
Result<std::shared_ptr<arrow::Array>> GatherByBuilder(const arrow::ChunkedArray& column,
                                                      const ChunkFinder& finder,
                                                      std::span<const int64_t> indices) {
  GNOMON_ASSIGN_OR_RETURN(auto builder, arrow::MakeBuilder(column.type()));
  for (const int64_t index : indices) {
    if (index < 0) {
      GNOMON_RETURN_NOT_OK(builder->AppendNull());
      continue;
    }
    const auto [chunk, row] = finder.Find(index);
    const arrow::ArraySpan source(*column.chunk(static_cast<int>(chunk))->data());
    GNOMON_RETURN_NOT_OK(builder->AppendArraySlice(source, row, 1));
  }
  return builder->Finish();
}

Result<std::shared_ptr<arrow::Array>> GatherByKernel(const arrow::ChunkedArray& column,
                                                     const ChunkFinder& finder,
                                                     std::span<const int64_t> indices) {
  GNOMON_RETURN_NOT_OK(internal::InitializeCompute());
  arrow::Int64Builder builder;
  GNOMON_RETURN_NOT_OK(builder.Reserve(static_cast<int64_t>(indices.size())));
  for (const int64_t index : indices) {
    if (index < 0) {
      builder.UnsafeAppendNull();
    } else {
      builder.UnsafeAppend(index);
    }
  }
  GNOMON_ASSIGN_OR_RETURN(auto rows, builder.Finish());
  auto merged = SingleChunk(column);
  if (merged.ok()) {
    auto taken =
        arrow::compute::Take(**merged, *rows, arrow::compute::TakeOptions::NoBoundsCheck());
    if (taken.ok() || !taken.status().IsNotImplemented()) return taken;
  } else if (!merged.status().IsNotImplemented()) {
    return merged.status();
  }
  return GatherByBuilder(column, finder, indices);
}

}  // namespace

Result<std::shared_ptr<arrow::Array>> Gather(const arrow::ChunkedArray& column,
                                             std::span<const int64_t> indices) {
  const ChunkFinder finder(column);
  int64_t greatest = -1;
  for (const int64_t index : indices) greatest = std::max(greatest, index);
  if (greatest >= finder.length()) {
    return Error(ErrorKind::kInternal, "row to gather is outside the column: ", greatest, " of ",
                 finder.length());
  }
  const arrow::DataType& type = *column.type();
  if (greatest < 0)
    return arrow::MakeArrayOfNull(column.type(), static_cast<int64_t>(indices.size()));
  switch (type.id()) {
    case arrow::Type::BOOL:
      return GatherBits(column, finder, indices);
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return GatherStrings<int32_t>(column, finder, indices);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return GatherStrings<int64_t>(column, finder, indices);
    default:
      break;
  }
  const bool has_plain_values = arrow::is_primitive(type.id()) || arrow::is_decimal(type.id()) ||
                                type.id() == arrow::Type::FIXED_SIZE_BINARY;
  if (!has_plain_values) return GatherByKernel(column, finder, indices);
  const int64_t width = type.byte_width();
  switch (width) {
    case 1:
      return GatherValues<uint8_t>(column, finder, indices);
    case 2:
      return GatherValues<uint16_t>(column, finder, indices);
    case 4:
      return GatherValues<uint32_t>(column, finder, indices);
    case 8:
      return GatherValues<uint64_t>(column, finder, indices);
    case 16:
      return GatherValues<std::array<uint64_t, 2>>(column, finder, indices);
    default:
      return GatherWide(column, finder, indices, width);
  }
}

}  // namespace gnomon::table
