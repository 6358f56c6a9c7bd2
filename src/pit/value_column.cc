#include <cstring>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>

#include "pit/value_column_internal.h"

namespace gnomon::pit {

namespace {

template <typename T>
double Canonical(T value) {
  return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN()
                           : static_cast<double>(value) + 0.0;
}

template <typename T>
int64_t KeyOf(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    return KeyOfReal(static_cast<double>(value));
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return static_cast<int64_t>(value ^ kHighestBit);
  } else {
    return static_cast<int64_t>(value);
  }
}

template <typename T>
void AppendKeysOf(const arrow::Array& values, std::span<const uint32_t> rows,
                  std::vector<int64_t>* keys) {
  const T* raw = values.data()->GetValues<T>(1);
  keys->reserve(keys->size() + rows.size());
  for (const uint32_t row : rows) keys->push_back(KeyOf(raw[row]));
}

void AppendBooleans(const arrow::Array& values, std::span<const uint32_t> rows,
                    std::vector<int64_t>* keys) {
  const auto& booleans = static_cast<const arrow::BooleanArray&>(values);
  for (const uint32_t row : rows) keys->push_back(booleans.Value(row) ? 1 : 0);
}

template <typename Array>
void AppendViews(const arrow::Array& values, std::span<const uint32_t> rows,
                 std::vector<std::string_view>* strings) {
  const auto& binaries = static_cast<const Array&>(values);
  for (const uint32_t row : rows) strings->push_back(binaries.GetView(row));
}

template <typename T>
Result<std::shared_ptr<arrow::Array>> CanonicalCopy(const std::shared_ptr<arrow::Array>& values) {
  const T* raw = values->data()->GetValues<T>(1);
  const auto changes = [](T value) {
    const T canonical = static_cast<T>(Canonical(value));
    return std::memcmp(&canonical, &value, sizeof(T)) != 0;
  };
  if (std::none_of(raw, raw + values->length(), changes)) return values;
  const std::shared_ptr<arrow::ArrayData> data = values->data()->Copy();
  const int64_t size = data->offset + data->length;
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> buffer,
                          arrow::AllocateBuffer(size * static_cast<int64_t>(sizeof(T))));
  T* out = buffer->mutable_data_as<T>();
  std::fill_n(out, data->offset, T{});
  std::transform(raw, raw + data->length, out + data->offset,
                 [](T value) { return static_cast<T>(Canonical(value)); });
  data->buffers[1] = std::move(buffer);
  return arrow::MakeArray(data);
}

}  // namespace

KeyKind KeyKindOf(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::BOOL:
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
    case arrow::Type::TIME32:
    case arrow::Type::TIME64:
    case arrow::Type::TIMESTAMP:
    case arrow::Type::DURATION:
      return KeyKind::kSigned;
    case arrow::Type::UINT64:
      return KeyKind::kUnsigned;
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
      return KeyKind::kReal;
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return KeyKind::kString;
    default:
      return KeyKind::kNone;
  }
}

bool IsNumeric(const arrow::DataType& type) {
  return type.id() == arrow::Type::BOOL || arrow::is_integer(type.id()) ||
         type.id() == arrow::Type::FLOAT || type.id() == arrow::Type::DOUBLE;
}

ValueColumn::ValueColumn(std::shared_ptr<arrow::Array> values)
    : values_(std::move(values)),
      kind_(KeyKindOf(*values_->type())),
      // Where other arrays hold the values, these have nulls too.
      may_have_nulls_(values_->null_count() > 0 || arrow::is_dictionary(values_->type_id()) ||
                      arrow::is_union(values_->type_id()) ||
                      values_->type_id() == arrow::Type::RUN_END_ENCODED) {}

bool ValueColumn::IsValid(uint32_t row) const { return values_->IsValid(row); }

void ValueColumn::AppendKeys(std::span<const uint32_t> rows, std::vector<int64_t>* keys) const {
  const arrow::Array& values = *values_;
  switch (values.type_id()) {
    case arrow::Type::BOOL:
      return AppendBooleans(values, rows, keys);
    case arrow::Type::INT8:
      return AppendKeysOf<int8_t>(values, rows, keys);
    case arrow::Type::INT16:
      return AppendKeysOf<int16_t>(values, rows, keys);
    case arrow::Type::INT32:
    case arrow::Type::DATE32:
    case arrow::Type::TIME32:
      return AppendKeysOf<int32_t>(values, rows, keys);
    case arrow::Type::INT64:
    case arrow::Type::DATE64:
    case arrow::Type::TIME64:
    case arrow::Type::TIMESTAMP:
    case arrow::Type::DURATION:
      return AppendKeysOf<int64_t>(values, rows, keys);
    case arrow::Type::UINT8:
      return AppendKeysOf<uint8_t>(values, rows, keys);
    case arrow::Type::UINT16:
      return AppendKeysOf<uint16_t>(values, rows, keys);
    case arrow::Type::UINT32:
      return AppendKeysOf<uint32_t>(values, rows, keys);
    case arrow::Type::UINT64:
      return AppendKeysOf<uint64_t>(values, rows, keys);
    case arrow::Type::FLOAT:
      return AppendKeysOf<float>(values, rows, keys);
    case arrow::Type::DOUBLE:
      return AppendKeysOf<double>(values, rows, keys);
    default:
      GNOMON_CHECK(false, "no keys for type ", values.type()->ToString());
  }
}

void ValueColumn::AppendStrings(std::span<const uint32_t> rows,
                                std::vector<std::string_view>* strings) const {
  const arrow::Type::type id = values_->type_id();
  if (id == arrow::Type::STRING || id == arrow::Type::BINARY) {
    AppendViews<arrow::BinaryArray>(*values_, rows, strings);
  } else {
    AppendViews<arrow::LargeBinaryArray>(*values_, rows, strings);
  }
}

Result<std::shared_ptr<arrow::Array>> ValueColumn::MakeCanonical() const {
  if (values_->type_id() == arrow::Type::FLOAT) return CanonicalCopy<float>(values_);
  if (values_->type_id() == arrow::Type::DOUBLE) return CanonicalCopy<double>(values_);
  return values_;
}

}  // namespace gnomon::pit
