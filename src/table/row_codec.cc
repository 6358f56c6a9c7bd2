#include "table/row_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>
#include <arrow/util/checked_cast.h>
#include <arrow/util/decimal.h>

static_assert(std::endian::native == std::endian::little, "the packed row is little-endian");

namespace gnomon::table {

namespace {

using arrow::internal::checked_cast;

constexpr uint8_t kVersion = 1;
/// Places of variable-width fields that are found without allocating.
constexpr size_t kPlacesOnStack = 32;

/// Bytes of a value, 0 for text. -1: not a value of a packed row.
int WidthOf(const arrow::DataType& type) {
  if (type.id() == arrow::Type::BOOL) return 1;
  if (arrow::is_integer(type.id()) || type.id() == arrow::Type::FLOAT ||
      type.id() == arrow::Type::DOUBLE || type.id() == arrow::Type::TIMESTAMP ||
      type.id() == arrow::Type::DATE32 || type.id() == arrow::Type::DATE64 ||
      type.id() == arrow::Type::DECIMAL128) {
    return type.byte_width();
  }
  return arrow::is_base_binary_like(type.id()) ? 0 : -1;
}

struct Field {
  arrow::Type::type type;
  int width = 0;                                   ///< of a fixed-width value; 0: text; -1: a list
  arrow::Type::type value_type = arrow::Type::NA;  ///< of a list's values
  int value_width = 0;                             ///< of a list's values; 0: text
  size_t place =
      0;  ///< fixed width: offset in the row; others: number among the variable-width fields
};

Status Truncated() { return Error(ErrorKind::kDataLoss, "packed row is truncated"); }

template <typename Value>
Value Load(const char* bytes) {
  Value value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

void AppendU32(uint32_t value, std::string* out) {
  std::array<char, sizeof(value)> bytes;
  std::memcpy(bytes.data(), &value, sizeof(value));
  out->append(bytes.data(), bytes.size());
}

void StoreU32(uint32_t value, std::string* out, size_t place) {
  std::memcpy(out->data() + place, &value, sizeof(value));
}

// Reading from arrays.

template <typename Offset>
std::string_view TextAt(const arrow::ArrayData& data, int64_t row) {
  const Offset* offsets = data.GetValues<Offset>(1) + row;
  if (offsets[0] == offsets[1]) return {};
  return {data.buffers[2]->data_as<char>() + offsets[0],
          static_cast<size_t>(offsets[1] - offsets[0])};
}

std::string_view TextAt(const arrow::ArrayData& data, arrow::Type::type type, int64_t row) {
  return arrow::is_large_binary_like(type) ? TextAt<int64_t>(data, row)
                                           : TextAt<int32_t>(data, row);
}

/// Writes the `width` bytes of a valid fixed-width value.
void StoreValue(const arrow::ArrayData& data, arrow::Type::type type, int width, int64_t row,
                char* out) {
  if (type == arrow::Type::BOOL) {
    *out = arrow::bit_util::GetBit(data.buffers[1]->data(), data.offset + row) ? 1 : 0;
    return;
  }
  const auto bytes = static_cast<size_t>(width);
  std::memcpy(out, data.buffers[1]->data() + static_cast<size_t>(data.offset + row) * bytes, bytes);
}

template <typename Offset>
std::pair<int64_t, int64_t> ListAt(const arrow::ArrayData& data, int64_t row) {
  const Offset* offsets = data.GetValues<Offset>(1) + row;
  return {offsets[0], offsets[1] - offsets[0]};
}

void AppendList(const Field& field, const arrow::ArrayData& data, int64_t row, std::string* out) {
  const auto [begin, count] = field.type == arrow::Type::LARGE_LIST ? ListAt<int64_t>(data, row)
                                                                    : ListAt<int32_t>(data, row);
  const arrow::ArrayData& values = *data.child_data[0];
  AppendU32(static_cast<uint32_t>(count), out);
  const size_t bitmap = out->size();
  out->append(static_cast<size_t>(arrow::bit_util::BytesForBits(count)), '\0');
  if (field.value_width > 0 && field.value_type != arrow::Type::BOOL && !values.MayHaveNulls()) {
    if (count == 0) return;
    const auto width = static_cast<int64_t>(field.value_width);
    out->append(values.buffers[1]->data_as<char>() + (values.offset + begin) * width,
                static_cast<size_t>(count * width));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const bool null = values.IsNull(begin + i);
    if (null) (*out)[bitmap + static_cast<size_t>(i / 8)] |= static_cast<char>(1 << (i % 8));
    if (field.value_width > 0) {
      const size_t place = out->size();
      out->append(static_cast<size_t>(field.value_width), '\0');
      if (!null)
        StoreValue(values, field.value_type, field.value_width, begin + i, out->data() + place);
    } else {
      const std::string_view text =
          null ? std::string_view() : TextAt(values, field.value_type, begin + i);
      AppendU32(static_cast<uint32_t>(text.size()), out);
      out->append(text);
    }
  }
}

// Appending to builders.

template <typename Type>
Status AppendNumber(const char* bytes, arrow::ArrayBuilder* builder) {
  return checked_cast<typename arrow::TypeTraits<Type>::BuilderType*>(builder)->Append(
      Load<typename Type::c_type>(bytes));
}

/// REQUIRES: `bytes` has the width of the type.
Status AppendFixed(arrow::Type::type type, const char* bytes, arrow::ArrayBuilder* builder) {
  switch (type) {
    case arrow::Type::BOOL:
      return checked_cast<arrow::BooleanBuilder*>(builder)->Append(*bytes != 0);
    case arrow::Type::INT8:
      return AppendNumber<arrow::Int8Type>(bytes, builder);
    case arrow::Type::INT16:
      return AppendNumber<arrow::Int16Type>(bytes, builder);
    case arrow::Type::INT32:
      return AppendNumber<arrow::Int32Type>(bytes, builder);
    case arrow::Type::INT64:
      return AppendNumber<arrow::Int64Type>(bytes, builder);
    case arrow::Type::UINT8:
      return AppendNumber<arrow::UInt8Type>(bytes, builder);
    case arrow::Type::UINT16:
      return AppendNumber<arrow::UInt16Type>(bytes, builder);
    case arrow::Type::UINT32:
      return AppendNumber<arrow::UInt32Type>(bytes, builder);
    case arrow::Type::UINT64:
      return AppendNumber<arrow::UInt64Type>(bytes, builder);
    case arrow::Type::FLOAT:
      return AppendNumber<arrow::FloatType>(bytes, builder);
    case arrow::Type::DOUBLE:
      return AppendNumber<arrow::DoubleType>(bytes, builder);
    case arrow::Type::TIMESTAMP:
      return AppendNumber<arrow::TimestampType>(bytes, builder);
    case arrow::Type::DATE32:
      return AppendNumber<arrow::Date32Type>(bytes, builder);
    case arrow::Type::DATE64:
      return AppendNumber<arrow::Date64Type>(bytes, builder);
    case arrow::Type::DECIMAL128:
      return checked_cast<arrow::Decimal128Builder*>(builder)->Append(std::string_view(bytes, 16));
    default:
      return Error(ErrorKind::kInternal,
                   "no fixed-width type of a packed row: ", static_cast<int>(type));
  }
}

Status AppendText(arrow::Type::type type, std::string_view text, arrow::ArrayBuilder* builder) {
  if (arrow::is_large_binary_like(type))
    return checked_cast<arrow::LargeBinaryBuilder*>(builder)->Append(text);
  return checked_cast<arrow::BinaryBuilder*>(builder)->Append(text);
}

/// All numbers of a list at once; `bytes` are theirs alone.
template <typename Type>
Status AppendNumbers(size_t count, std::string_view nulls, std::string_view bytes,
                     arrow::ArrayBuilder* builder) {
  using T = typename Type::c_type;
  if (bytes.size() / sizeof(T) < count) return Truncated();
  if (count == 0) return Status::OK();
  std::vector<T> numbers(count);
  std::memcpy(numbers.data(), bytes.data(), count * sizeof(T));
  std::vector<uint8_t> valid;
  if (std::ranges::any_of(nulls, [](char bits) { return bits != 0; })) {
    for (size_t i = 0; i < count; ++i) valid.push_back((nulls[i / 8] >> (i % 8) & 1) == 0 ? 1 : 0);
  }
  return checked_cast<typename arrow::TypeTraits<Type>::BuilderType*>(builder)->AppendValues(
      numbers.data(), static_cast<int64_t>(count), valid.empty() ? nullptr : valid.data());
}

using AppendAllNumbers = Status (*)(size_t, std::string_view, std::string_view,
                                    arrow::ArrayBuilder*);

/// Null for types whose values are appended one by one.
AppendAllNumbers AllNumbersOf(arrow::Type::type type) {
  switch (type) {
    case arrow::Type::INT32:
      return AppendNumbers<arrow::Int32Type>;
    case arrow::Type::INT64:
      return AppendNumbers<arrow::Int64Type>;
    case arrow::Type::FLOAT:
      return AppendNumbers<arrow::FloatType>;
    case arrow::Type::DOUBLE:
      return AppendNumbers<arrow::DoubleType>;
    case arrow::Type::TIMESTAMP:
      return AppendNumbers<arrow::TimestampType>;
    default:
      return nullptr;
  }
}

Result<PackedList> ListOf(std::string_view bytes) {
  if (bytes.size() < sizeof(uint32_t)) return Truncated();
  const size_t count = Load<uint32_t>(bytes.data());
  const size_t nulls = (count + 7) / 8;
  if (bytes.size() - sizeof(uint32_t) < nulls) return Truncated();
  return PackedList{.count = static_cast<int64_t>(count),
                    .nulls = bytes.substr(sizeof(uint32_t), nulls),
                    .values = bytes.substr(sizeof(uint32_t) + nulls)};
}

Status AppendListValues(const Field& field, std::string_view bytes, arrow::ArrayBuilder* values) {
  GNOMON_ASSIGN_OR_RETURN(const PackedList list, ListOf(bytes));
  const auto count = static_cast<size_t>(list.count);
  const std::string_view bitmap = list.nulls;
  size_t place = sizeof(uint32_t) + bitmap.size();
  if (const AppendAllNumbers append = AllNumbersOf(field.value_type); append != nullptr)
    return append(count, bitmap, bytes.substr(place), values);
  for (size_t i = 0; i < count; ++i) {
    const bool null = (bitmap[i / 8] >> (i % 8) & 1) != 0;
    size_t width = static_cast<size_t>(field.value_width);
    if (width == 0) {
      if (bytes.size() - place < sizeof(uint32_t)) return Truncated();
      width = Load<uint32_t>(bytes.data() + place);
      place += sizeof(uint32_t);
    }
    if (bytes.size() - place < width) return Truncated();
    if (null) {
      GNOMON_RETURN_NOT_OK(values->AppendNull());
    } else if (field.value_width > 0) {
      GNOMON_RETURN_NOT_OK(AppendFixed(field.value_type, bytes.data() + place, values));
    } else {
      GNOMON_RETURN_NOT_OK(AppendText(field.value_type, bytes.substr(place, width), values));
    }
    place += width;
  }
  return Status::OK();
}

Status AppendList(const Field& field, std::string_view bytes, arrow::ArrayBuilder* builder) {
  arrow::ArrayBuilder* values = nullptr;
  if (field.type == arrow::Type::LARGE_LIST) {
    auto* list = checked_cast<arrow::LargeListBuilder*>(builder);
    GNOMON_RETURN_NOT_OK(list->Append());
    values = list->value_builder();
  } else {
    auto* list = checked_cast<arrow::ListBuilder*>(builder);
    GNOMON_RETURN_NOT_OK(list->Append());
    values = list->value_builder();
  }
  return AppendListValues(field, bytes, values);
}

}  // namespace

struct RowCodec::Impl {
  std::shared_ptr<arrow::Schema> schema;
  std::vector<Field> fields;
  size_t num_variable = 0;
  size_t values_begin = 0;  ///< after version and bitmap
  size_t fixed_end = 0;

  Status CheckBatch(const arrow::RecordBatch& batch, int64_t row) const;
  void EncodeFixed(const arrow::RecordBatch& batch, int64_t row, size_t begin,
                   std::string* out) const;
  Status EncodeVariable(const arrow::RecordBatch& batch, int64_t row, std::string* out) const;
  /// Bytes of variable-width fields, by number.
  class Places {
   public:
    std::string_view operator[](size_t place) const { return places_[place]; }
    std::span<std::string_view> Resize(size_t count) {
      if (count > kPlacesOnStack) {
        on_heap_.resize(count);
        places_ = on_heap_;
      }
      return places_.first(count);
    }

   private:
    std::array<std::string_view, kPlacesOnStack> on_stack_;
    std::vector<std::string_view> on_heap_;
    std::span<std::string_view> places_ = on_stack_;
  };
  /// Checks the row's head and finds what `fields` need of it.
  Status FindPlaces(std::string_view bytes, std::span<const int> fields, Places* places) const;
  static bool IsNull(std::string_view bytes, size_t field) {
    return (bytes[1 + field / 8] >> (field % 8) & 1) != 0;
  }
};

RowCodec::RowCodec(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Result<RowCodec> RowCodec::Make(std::shared_ptr<arrow::Schema> schema) {
  auto impl = std::make_shared<Impl>();
  impl->values_begin = 1 + static_cast<size_t>(arrow::bit_util::BytesForBits(schema->num_fields()));
  impl->fixed_end = impl->values_begin;
  for (const auto& column : schema->fields()) {
    const arrow::DataType& type = *column->type();
    Field field{.type = type.id(), .width = WidthOf(type)};
    if (type.id() == arrow::Type::LIST || type.id() == arrow::Type::LARGE_LIST) {
      const arrow::DataType& value_type = *type.field(0)->type();
      field.value_type = value_type.id();
      field.value_width = WidthOf(value_type);
    }
    const bool is_list = field.value_type != arrow::Type::NA;
    if (is_list ? field.value_width < 0 : field.width < 0) {
      return Error(ErrorKind::kUnsupported,
                   "a column of this type cannot be in a packed row: ", Quoted(column->name()),
                   " of type ", type.ToString());
    }
    if (field.width > 0) {
      field.place = impl->fixed_end;
      impl->fixed_end += static_cast<size_t>(field.width);
    } else {
      field.place = impl->num_variable++;
    }
    impl->fields.push_back(field);
  }
  impl->schema = std::move(schema);
  return RowCodec(std::move(impl));
}

const std::shared_ptr<arrow::Schema>& RowCodec::schema() const { return impl_->schema; }

Status RowCodec::Impl::CheckBatch(const arrow::RecordBatch& batch, int64_t row) const {
  GNOMON_CHECK(row >= 0 && row < batch.num_rows(), row, " of ", batch.num_rows());
  bool same = batch.num_columns() == static_cast<int>(fields.size());
  for (size_t i = 0; same && i < fields.size(); ++i) {
    same = batch.column_data(static_cast<int>(i))->type->id() == fields[i].type;
  }
  if (same) return Status::OK();
  return Error(ErrorKind::kInternal,
               "batch does not have the schema of the packed row: ", batch.schema()->ToString());
}

void RowCodec::Impl::EncodeFixed(const arrow::RecordBatch& batch, int64_t row, size_t begin,
                                 std::string* out) const {
  for (size_t i = 0; i < fields.size(); ++i) {
    const Field& field = fields[i];
    const arrow::ArrayData& data = *batch.column_data(static_cast<int>(i));
    if (data.IsNull(row)) {
      (*out)[begin + 1 + i / 8] |= static_cast<char>(1 << (i % 8));
    } else if (field.width > 0) {
      StoreValue(data, field.type, field.width, row, out->data() + begin + field.place);
    }
  }
}

Status RowCodec::Impl::EncodeVariable(const arrow::RecordBatch& batch, int64_t row,
                                      std::string* out) const {
  for (size_t i = 0; num_variable > 0 && i < fields.size(); ++i) {
    const Field& field = fields[i];
    if (field.width > 0) continue;
    const arrow::ArrayData& data = *batch.column_data(static_cast<int>(i));
    const size_t length_place = out->size();
    AppendU32(0, out);
    if (!data.IsNull(row)) {
      if (field.width == 0) {
        out->append(TextAt(data, field.type, row));
      } else {
        AppendList(field, data, row, out);
      }
    }
    const size_t length = out->size() - length_place - sizeof(uint32_t);
    if (length > std::numeric_limits<uint32_t>::max()) {
      return Error(ErrorKind::kExhausted, "value is too long for a packed row: column ",
                   Quoted(schema->field(static_cast<int>(i))->name()), ", ", length, " bytes");
    }
    StoreU32(static_cast<uint32_t>(length), out, length_place);
  }
  return Status::OK();
}

Status RowCodec::Encode(const arrow::RecordBatch& batch, int64_t row, std::string* out) const {
  GNOMON_RETURN_NOT_OK(impl_->CheckBatch(batch, row));
  const size_t begin = out->size();
  out->append(impl_->fixed_end, '\0');
  (*out)[begin] = static_cast<char>(kVersion);
  impl_->EncodeFixed(batch, row, begin, out);
  const Status status = impl_->EncodeVariable(batch, row, out);
  if (!status.ok()) out->resize(begin);
  return status;
}

Status RowCodec::Impl::FindPlaces(std::string_view bytes, std::span<const int> fields_asked,
                                  Places* places) const {
  if (bytes.empty()) return Truncated();
  if (const auto version = static_cast<uint8_t>(bytes[0]); version != kVersion) {
    return Error(ErrorKind::kDataLoss, "packed row has an unknown format version: ", version,
                 " (this build reads ", kVersion, ")");
  }
  if (bytes.size() < fixed_end) return Truncated();
  size_t num_places = 0;
  for (const int index : fields_asked) {
    if (index < 0) continue;
    const Field& field = fields[static_cast<size_t>(index)];
    if (field.width <= 0) num_places = std::max(num_places, field.place + 1);
  }
  size_t begin = fixed_end;
  for (auto& place : places->Resize(num_places)) {
    if (bytes.size() - begin < sizeof(uint32_t)) return Truncated();
    const size_t length = Load<uint32_t>(bytes.data() + begin);
    begin += sizeof(uint32_t);
    if (bytes.size() - begin < length) return Truncated();
    place = bytes.substr(begin, length);
    begin += length;
  }
  return Status::OK();
}

Status RowCodec::Decode(std::string_view bytes, std::span<const int> fields,
                        RowColumns* columns) const {
  GNOMON_CHECK(fields.size() == columns->size(), fields.size(), " fields, ", columns->size(),
               " columns");
  const Impl& impl = *impl_;
  Impl::Places places;
  GNOMON_RETURN_NOT_OK(impl.FindPlaces(bytes, fields, &places));
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto index = static_cast<size_t>(fields[i]);
    if (fields[i] < 0 || Impl::IsNull(bytes, index)) {
      GNOMON_RETURN_NOT_OK(columns->SetNull(i));
      continue;
    }
    const Field& field = impl.fields[index];
    if (field.width > 0) {
      columns->SetFixed(i, bytes.data() + field.place);
    } else if (field.width == 0) {
      GNOMON_RETURN_NOT_OK(AppendText(field.type, places[field.place], columns->builder(i)));
    } else {
      GNOMON_RETURN_NOT_OK(AppendList(field, places[field.place], columns->builder(i)));
    }
  }
  columns->EndRow();
  return Status::OK();
}

Status RowCodec::FindLists(std::string_view bytes, std::span<const int> fields,
                           std::span<std::optional<PackedList>> lists) const {
  GNOMON_CHECK(fields.size() == lists.size(), fields.size(), " fields, ", lists.size(), " lists");
  Impl::Places places;
  GNOMON_RETURN_NOT_OK(impl_->FindPlaces(bytes, fields, &places));
  for (size_t i = 0; i < fields.size(); ++i) {
    lists[i].reset();
    const auto index = static_cast<size_t>(fields[i]);
    if (fields[i] < 0 || Impl::IsNull(bytes, index)) continue;
    GNOMON_ASSIGN_OR_RETURN(lists[i], ListOf(places[impl_->fields[index].place]));
  }
  return Status::OK();
}

Status RowCodec::AppendValue(const arrow::DataType& type, std::string_view bytes,
                             arrow::ArrayBuilder* builder) {
  const int width = WidthOf(type);
  if (width == 0) return AppendText(type.id(), bytes, builder);
  GNOMON_CHECK(width > 0 && bytes.size() == static_cast<size_t>(width), bytes.size(),
               " bytes of a value of type ", type.ToString());
  return AppendFixed(type.id(), bytes.data(), builder);
}

}  // namespace gnomon::table
