#include <cstring>
#include <limits>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>

#include "expr/evaluation_internal.h"

namespace gnomon::expr {

namespace {

using BufferPtr = std::shared_ptr<arrow::Buffer>;

// Packs bytes (0 or 1) of rows to bits. `byte_of(i)` is the byte of row i.
template <typename ByteOf>
Result<BufferPtr> PackBits(int64_t num_rows, ByteOf byte_of) {
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> bits,
                          arrow::AllocateEmptyBitmap(num_rows));
  uint8_t* const out = bits->mutable_data();
  for (int64_t i = 0; i < num_rows; ++i) {
    out[i >> 3] = static_cast<uint8_t>(out[i >> 3] | (byte_of(i) << (i & 7)));
  }
  return bits;
}

template <typename From, typename To>
Result<BufferPtr> WriteValues(const Vector& vector, int64_t num_rows) {
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> buffer,
                          arrow::AllocateBuffer(num_rows * static_cast<int64_t>(sizeof(To))));
  auto* const out = reinterpret_cast<To*>(buffer->mutable_data());
  const From* const values = vector.data<From>();
  if (vector.constant) {
    for (int64_t i = 0; i < num_rows; ++i) out[i] = static_cast<To>(values[0]);
  } else {
    for (int64_t i = 0; i < num_rows; ++i) out[i] = static_cast<To>(values[i]);
  }
  return buffer;
}

struct Parts {
  std::vector<BufferPtr> buffers;
  std::vector<std::shared_ptr<arrow::ArrayData>> children;
};

// int32 offsets of rows of `length_of(i)`; nulls are empty.
template <typename LengthOf>
Result<BufferPtr> WriteOffsets(const Vector& vector, int64_t num_rows, std::string_view what,
                               LengthOf length_of) {
  GNOMON_ASSIGN_OR_RETURN(
      std::shared_ptr<arrow::Buffer> buffer,
      arrow::AllocateBuffer((num_rows + 1) * static_cast<int64_t>(sizeof(int32_t))));
  auto* const offsets = reinterpret_cast<int32_t*>(buffer->mutable_data());
  int64_t total = 0;
  offsets[0] = 0;
  for (int64_t i = 0; i < num_rows; ++i) {
    total += vector.IsValid(i) ? length_of(i) : 0;
    if (total > std::numeric_limits<int32_t>::max()) {
      return MakeError(ErrorKind::kExhausted, std::string(what), {}, "use smaller batches");
    }
    offsets[i + 1] = static_cast<int32_t>(total);
  }
  return buffer;
}

Result<Parts> WriteTexts(const Vector& vector, int64_t num_rows) {
  GNOMON_ASSIGN_OR_RETURN(
      BufferPtr offsets,
      WriteOffsets(vector, num_rows, "more than 2 GiB of text in one batch", [&](int64_t i) {
        return static_cast<int64_t>(vector.At<std::string_view>(i).size());
      }));
  const auto* const ends = reinterpret_cast<const int32_t*>(offsets->data());
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> bytes,
                          arrow::AllocateBuffer(ends[num_rows]));
  for (int64_t i = 0; i < num_rows; ++i) {
    const auto size = static_cast<size_t>(ends[i + 1] - ends[i]);
    if (size > 0) {
      std::memcpy(bytes->mutable_data() + ends[i], vector.At<std::string_view>(i).data(), size);
    }
  }
  return Parts{{nullptr, std::move(offsets), std::move(bytes)}, {}};
}

Result<Parts> WriteLists(const Vector& vector, Kind element, int64_t num_rows) {
  GNOMON_ASSIGN_OR_RETURN(
      BufferPtr offsets, WriteOffsets(vector, num_rows, "more than 2^31 list elements in one batch",
                                      [&](int64_t i) { return vector.At<ListSlice>(i).length; }));
  const auto* const ends = reinterpret_cast<const int32_t*>(offsets->data());
  const int64_t total = ends[num_rows];
  auto validity = NewZeros<uint8_t>(total);
  Vector elements;
  elements.validity = validity;
  elements.values = WithValueType(element, [&](auto zero) -> std::shared_ptr<const void> {
    using T = decltype(zero);
    auto values = NewZeros<T>(total);
    for (int64_t i = 0; i < num_rows; ++i) {
      if (!vector.IsValid(i)) continue;
      const ListSlice& slice = vector.At<ListSlice>(i);
      for (int64_t k = 0; k < slice.length; ++k) {
        validity[ends[i] + k] = slice.elements->IsValid(slice.begin + k) ? 1 : 0;
        values[ends[i] + k] = slice.elements->At<T>(slice.begin + k);
      }
    }
    return values;
  });
  GNOMON_ASSIGN_OR_RETURN(const auto child,
                          WriteArray(elements, {element}, total, ArrowTypeOf({element})));
  return Parts{{nullptr, std::move(offsets)}, {child->data()}};
}

Result<Parts> WriteParts(const Vector& vector, Type type, int64_t num_rows,
                         arrow::Type::type arrow_id) {
  BufferPtr values;
  switch (type.kind) {
    case Kind::kText:
      return WriteTexts(vector, num_rows);
    case Kind::kList:
      return WriteLists(vector, type.element, num_rows);
    case Kind::kBool: {
      GNOMON_ASSIGN_OR_RETURN(values,
                              PackBits(num_rows, [&](int64_t i) { return vector.At<uint8_t>(i); }));
      break;
    }
    case Kind::kFloat: {
      const bool narrow = arrow_id == arrow::Type::FLOAT;
      GNOMON_ASSIGN_OR_RETURN(values, narrow ? WriteValues<double, float>(vector, num_rows)
                                             : WriteValues<double, double>(vector, num_rows));
      break;
    }
    default: {
      const bool narrow = arrow_id == arrow::Type::INT32 || arrow_id == arrow::Type::DATE32;
      GNOMON_ASSIGN_OR_RETURN(values, narrow ? WriteValues<int64_t, int32_t>(vector, num_rows)
                                             : WriteValues<int64_t, int64_t>(vector, num_rows));
      break;
    }
  }
  return Parts{{nullptr, std::move(values)}, {}};
}

}  // namespace

Result<std::shared_ptr<arrow::Array>> WriteArray(
    const Vector& vector, Type type, int64_t num_rows,
    const std::shared_ptr<arrow::DataType>& arrow_type) {
  if (type.kind == Kind::kNull) return std::make_shared<arrow::NullArray>(num_rows);
  GNOMON_ASSIGN_OR_RETURN(Parts parts, WriteParts(vector, type, num_rows, arrow_type->id()));
  int64_t num_nulls = 0;
  if (vector.validity != nullptr) {
    for (int64_t i = 0; i < num_rows; ++i) num_nulls += vector.IsValid(i) ? 0 : 1;
  }
  if (num_nulls > 0) {
    GNOMON_ASSIGN_OR_RETURN(parts.buffers[0], PackBits(num_rows, [&](int64_t i) {
                              return static_cast<uint8_t>(vector.IsValid(i) ? 1 : 0);
                            }));
  }
  return arrow::MakeArray(arrow::ArrayData::Make(arrow_type, num_rows, std::move(parts.buffers),
                                                 std::move(parts.children), num_nulls));
}

}  // namespace gnomon::expr
