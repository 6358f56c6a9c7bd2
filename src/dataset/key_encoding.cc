#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/checked_cast.h>

#include "dataset/key_encoding_internal.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

using arrow::internal::checked_cast;

constexpr char kNullFirst = 0;
constexpr char kValue = 1;
constexpr char kNullLast = 2;
constexpr int64_t kNanosPerSecond = 1'000'000'000;

template <typename Word>
void AppendBigEndian(Word word, std::string* out) {
  char bytes[sizeof(Word)];
  for (size_t i = 0; i < sizeof(Word); ++i) {
    bytes[i] = static_cast<char>(static_cast<uint8_t>(word >> (8 * (sizeof(Word) - 1 - i))));
  }
  out->append(bytes, sizeof(Word));
}

uint64_t FlipSign(int64_t value) { return static_cast<uint64_t>(value) ^ (uint64_t{1} << 63); }

/// Appends the encoding of values that are not null. Borrows the array.
class ValueEncoder {
 public:
  virtual ~ValueEncoder() = default;
  virtual void Append(int64_t row, std::string* out) const = 0;
  /// Is the value null although the array's own validity does not say so?
  virtual bool IsNullInside(int64_t /*row*/) const { return false; }
};
using ValueEncoderPtr = std::unique_ptr<const ValueEncoder>;

template <typename ArrayType>
class IntegerEncoder : public ValueEncoder {
 public:
  explicit IntegerEncoder(const arrow::Array& array)
      : array_(checked_cast<const ArrayType&>(array)) {}
  void Append(int64_t row, std::string* out) const override {
    const auto value = array_.Value(row);
    const bool negative = std::is_signed_v<decltype(value)> && static_cast<int64_t>(value) < 0;
    out->push_back(negative ? 0 : 1);
    AppendBigEndian(static_cast<uint64_t>(value), out);
  }

 private:
  const ArrayType& array_;
};

template <typename ArrayType>
class RealEncoder : public ValueEncoder {
 public:
  explicit RealEncoder(const arrow::Array& array) : array_(checked_cast<const ArrayType&>(array)) {}
  void Append(int64_t row, std::string* out) const override {
    double value = array_.Value(row);
    if (value == 0) value = 0;  // no -0.0
    uint64_t bits = std::bit_cast<uint64_t>(value);
    if (std::isnan(value)) {
      bits = std::numeric_limits<uint64_t>::max();
    } else if ((bits >> 63) != 0) {
      bits = ~bits;
    } else {
      bits |= uint64_t{1} << 63;
    }
    AppendBigEndian(bits, out);
  }

 private:
  const ArrayType& array_;
};

template <typename ArrayType>
class InstantEncoder : public ValueEncoder {
 public:
  explicit InstantEncoder(const arrow::Array& array)
      : array_(checked_cast<const ArrayType&>(array)), unit_(table::UnitNanos(*array.type())) {}
  void Append(int64_t row, std::string* out) const override {
    const int64_t value = array_.Value(row);
    int64_t seconds = 0;
    int64_t nanos = 0;
    if (unit_ >= kNanosPerSecond) {
      seconds = value * (unit_ / kNanosPerSecond);
    } else {
      const int64_t per_second = kNanosPerSecond / unit_;
      seconds = value / per_second - (value % per_second < 0 ? 1 : 0);
      nanos = (value - seconds * per_second) * unit_;
    }
    AppendBigEndian(FlipSign(seconds), out);
    AppendBigEndian(static_cast<uint32_t>(nanos), out);
  }

 private:
  const ArrayType& array_;
  const int64_t unit_;
};

/// Times of day and durations, in their own unit.
template <typename ArrayType>
class CountEncoder : public ValueEncoder {
 public:
  explicit CountEncoder(const arrow::Array& array)
      : array_(checked_cast<const ArrayType&>(array)) {}
  void Append(int64_t row, std::string* out) const override {
    AppendBigEndian(FlipSign(array_.Value(row)), out);
  }

 private:
  const ArrayType& array_;
};

class BooleanEncoder : public ValueEncoder {
 public:
  explicit BooleanEncoder(const arrow::Array& array)
      : array_(checked_cast<const arrow::BooleanArray&>(array)) {}
  void Append(int64_t row, std::string* out) const override {
    out->push_back(array_.Value(row) ? 1 : 0);
  }

 private:
  const arrow::BooleanArray& array_;
};

template <typename ArrayType>
class TextEncoder : public ValueEncoder {
 public:
  explicit TextEncoder(const arrow::Array& array) : array_(checked_cast<const ArrayType&>(array)) {}
  void Append(int64_t row, std::string* out) const override {
    std::string_view text = array_.GetView(row);
    while (!text.empty()) {
      const size_t zero = text.find('\0');
      out->append(text.substr(0, zero));
      if (zero == std::string_view::npos) break;
      out->append("\0\xff", 2);
      text.remove_prefix(zero + 1);
    }
    out->append("\0\0", 2);
  }

 private:
  const ArrayType& array_;
};

/// Little-endian two's complement of any width.
class DecimalEncoder : public ValueEncoder {
 public:
  explicit DecimalEncoder(const arrow::Array& array)
      : array_(checked_cast<const arrow::FixedSizeBinaryArray&>(array)) {}
  void Append(int64_t row, std::string* out) const override {
    const std::string_view bytes = array_.GetView(row);
    const size_t begin = out->size();
    out->append(bytes.rbegin(), bytes.rend());
    (*out)[begin] = static_cast<char>((*out)[begin] ^ '\x80');
  }

 private:
  const arrow::FixedSizeBinaryArray& array_;
};

ValueEncoderPtr MakeValueEncoder(const arrow::Array& array);

void AppendColumn(const arrow::Array& array, const ValueEncoder* encoder, int64_t row,
                  KeyOrder order, std::string* out) {
  if (encoder == nullptr || array.IsNull(row) || encoder->IsNullInside(row)) {
    out->push_back(order.nulls_first ? kNullFirst : kNullLast);
    return;
  }
  out->push_back(kValue);
  const size_t begin = out->size();
  encoder->Append(row, out);
  if (!order.descending) return;
  for (size_t i = begin; i < out->size(); ++i) (*out)[i] = static_cast<char>(~(*out)[i]);
}

class DictionaryEncoder : public ValueEncoder {
 public:
  explicit DictionaryEncoder(const arrow::Array& array)
      : array_(checked_cast<const arrow::DictionaryArray&>(array)),
        dictionary_(array_.dictionary()),
        values_(MakeValueEncoder(*dictionary_)) {}
  void Append(int64_t row, std::string* out) const override {
    values_->Append(array_.GetValueIndex(row), out);
  }
  bool IsNullInside(int64_t row) const override {
    return values_ == nullptr || dictionary_->IsNull(array_.GetValueIndex(row));
  }

 private:
  const arrow::DictionaryArray& array_;
  std::shared_ptr<arrow::Array> dictionary_;
  ValueEncoderPtr values_;
};

template <typename ArrayType>
class ListEncoder : public ValueEncoder {
 public:
  explicit ListEncoder(const arrow::Array& array)
      : array_(checked_cast<const ArrayType&>(array)),
        elements_(array_.values()),
        encoder_(MakeValueEncoder(*elements_)) {}
  void Append(int64_t row, std::string* out) const override {
    const int64_t begin = array_.value_offset(row);
    for (int64_t i = 0; i < static_cast<int64_t>(array_.value_length(row)); ++i) {
      out->push_back(1);
      AppendColumn(*elements_, encoder_.get(), begin + i, {}, out);
    }
    out->push_back(0);
  }

 private:
  const ArrayType& array_;
  std::shared_ptr<arrow::Array> elements_;
  ValueEncoderPtr encoder_;
};

class StructEncoder : public ValueEncoder {
 public:
  explicit StructEncoder(const arrow::Array& array) {
    const auto& type = checked_cast<const arrow::StructArray&>(array);
    for (int i = 0; i < type.num_fields(); ++i) {
      fields_.push_back(type.field(i));
      encoders_.push_back(MakeValueEncoder(*fields_.back()));
    }
  }
  void Append(int64_t row, std::string* out) const override {
    for (size_t i = 0; i < fields_.size(); ++i) {
      AppendColumn(*fields_[i], encoders_[i].get(), row, {}, out);
    }
  }

 private:
  std::vector<std::shared_ptr<arrow::Array>> fields_;
  std::vector<ValueEncoderPtr> encoders_;
};

template <typename Encoder>
ValueEncoderPtr Make(const arrow::Array& array) {
  return std::make_unique<const Encoder>(array);
}

/// Null for Arrow's null type.
ValueEncoderPtr MakeValueEncoder(const arrow::Array& array) {
  using arrow::Type;
  switch (array.type_id()) {
    case Type::NA:
      return nullptr;
    case Type::BOOL:
      return Make<BooleanEncoder>(array);
    case Type::INT8:
      return Make<IntegerEncoder<arrow::Int8Array>>(array);
    case Type::INT16:
      return Make<IntegerEncoder<arrow::Int16Array>>(array);
    case Type::INT32:
      return Make<IntegerEncoder<arrow::Int32Array>>(array);
    case Type::INT64:
      return Make<IntegerEncoder<arrow::Int64Array>>(array);
    case Type::UINT8:
      return Make<IntegerEncoder<arrow::UInt8Array>>(array);
    case Type::UINT16:
      return Make<IntegerEncoder<arrow::UInt16Array>>(array);
    case Type::UINT32:
      return Make<IntegerEncoder<arrow::UInt32Array>>(array);
    case Type::UINT64:
      return Make<IntegerEncoder<arrow::UInt64Array>>(array);
    case Type::FLOAT:
      return Make<RealEncoder<arrow::FloatArray>>(array);
    case Type::DOUBLE:
      return Make<RealEncoder<arrow::DoubleArray>>(array);
    case Type::DATE32:
      return Make<InstantEncoder<arrow::Date32Array>>(array);
    case Type::DATE64:
      return Make<InstantEncoder<arrow::Date64Array>>(array);
    case Type::TIMESTAMP:
      return Make<InstantEncoder<arrow::TimestampArray>>(array);
    case Type::TIME32:
      return Make<CountEncoder<arrow::Time32Array>>(array);
    case Type::TIME64:
      return Make<CountEncoder<arrow::Time64Array>>(array);
    case Type::DURATION:
      return Make<CountEncoder<arrow::DurationArray>>(array);
    case Type::STRING:
    case Type::BINARY:
      return Make<TextEncoder<arrow::BinaryArray>>(array);
    case Type::LARGE_STRING:
    case Type::LARGE_BINARY:
      return Make<TextEncoder<arrow::LargeBinaryArray>>(array);
    case Type::STRING_VIEW:
    case Type::BINARY_VIEW:
      return Make<TextEncoder<arrow::BinaryViewArray>>(array);
    case Type::FIXED_SIZE_BINARY:
      return Make<TextEncoder<arrow::FixedSizeBinaryArray>>(array);
    case Type::DECIMAL128:
    case Type::DECIMAL256:
      return Make<DecimalEncoder>(array);
    case Type::DICTIONARY:
      return Make<DictionaryEncoder>(array);
    case Type::LIST:
      return Make<ListEncoder<arrow::ListArray>>(array);
    case Type::LARGE_LIST:
      return Make<ListEncoder<arrow::LargeListArray>>(array);
    case Type::FIXED_SIZE_LIST:
      return Make<ListEncoder<arrow::FixedSizeListArray>>(array);
    case Type::STRUCT:
      return Make<StructEncoder>(array);
    default:
      GNOMON_CHECK(false, "no key type: ", array.type()->ToString());
  }
}

bool IsText(const arrow::DataType& type) {
  return arrow::is_base_binary_like(type.id()) || arrow::is_binary_view_like(type.id()) ||
         type.id() == arrow::Type::FIXED_SIZE_BINARY;
}

const arrow::DataType& Decoded(const arrow::DataType& type) {
  if (type.id() != arrow::Type::DICTIONARY) return type;
  return *checked_cast<const arrow::DictionaryType&>(type).value_type();
}

}  // namespace

Status CheckKeyType(const arrow::DataType& type, KeyUse use) {
  using arrow::Type;
  const Type::type id = type.id();
  const bool real = id == Type::FLOAT || id == Type::DOUBLE;
  if (id == Type::NA || id == Type::BOOL || arrow::is_integer(id) || table::IsTime(type) ||
      IsText(type) || arrow::is_time(id) || id == Type::DURATION || id == Type::DECIMAL128 ||
      id == Type::DECIMAL256 || (real && use == KeyUse::kOrder)) {
    return Status::OK();
  }
  if (id == Type::DICTIONARY) return CheckKeyType(Decoded(type), use);
  if (id == Type::LIST || id == Type::LARGE_LIST || id == Type::FIXED_SIZE_LIST)
    return CheckKeyType(*type.field(0)->type(), use);
  if (id == Type::STRUCT) {
    for (const auto& field : type.fields()) GNOMON_RETURN_NOT_OK(CheckKeyType(*field->type(), use));
    return Status::OK();
  }
  return Error(ErrorKind::kUser, "a column of this type cannot be a key: ", type.ToString());
}

Status CheckComparable(const arrow::DataType& left, const arrow::DataType& right) {
  const arrow::DataType& a = Decoded(left);
  const arrow::DataType& b = Decoded(right);
  const bool comparable = a.Equals(b) || (arrow::is_integer(a.id()) && arrow::is_integer(b.id())) ||
                          (table::IsTime(a) && table::IsTime(b)) || (IsText(a) && IsText(b)) ||
                          a.id() == arrow::Type::NA || b.id() == arrow::Type::NA;
  if (comparable) return Status::OK();
  return Error(ErrorKind::kUser, "keys of these types cannot be compared: ", left.ToString(),
               " and ", right.ToString());
}

KeyEncoder::KeyEncoder(std::vector<int> columns, std::vector<KeyOrder> orders)
    : columns_(std::move(columns)), orders_(std::move(orders)) {
  orders_.resize(columns_.size());
}

Result<EncodedKeys> KeyEncoder::Encode(const arrow::RecordBatch& batch) const {
  std::vector<const arrow::Array*> arrays;
  std::vector<ValueEncoderPtr> encoders;
  for (const int column : columns_) {
    arrays.push_back(batch.column(column).get());
    encoders.push_back(MakeValueEncoder(*arrays.back()));
  }
  EncodedKeys keys;
  const auto rows = static_cast<size_t>(batch.num_rows());
  keys.offsets_.reserve(rows + 1);
  keys.has_null_.assign(rows, 0);
  keys.bytes_.reserve(rows * columns_.size() * 12);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < columns_.size(); ++i) {
      const size_t begin = keys.bytes_.size();
      AppendColumn(*arrays[i], encoders[i].get(), static_cast<int64_t>(row), orders_[i],
                   &keys.bytes_);
      if (keys.bytes_[begin] != kValue) keys.has_null_[row] = 1;
    }
    keys.offsets_.push_back(keys.bytes_.size());
  }
  return keys;
}

}  // namespace gnomon::dataset::internal
