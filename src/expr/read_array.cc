#include <cmath>
#include <limits>

#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/util/decimal.h>
#include <arrow/util/float16.h>

#include "base/text.h"
#include "base/time.h"
#include "expr/evaluation_internal.h"

namespace gnomon::expr {

namespace {

using ArrayDataPtr = std::shared_ptr<arrow::ArrayData>;

constexpr int64_t FloorDivide(int64_t value, int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}

uint8_t BitAt(const uint8_t* bits, int64_t index) {
  return static_cast<uint8_t>((bits[index >> 3] >> (index & 7)) & 1);
}

void ReadValidity(const arrow::ArrayData& array, Vector* out) {
  if (array.buffers[0] == nullptr || array.GetNullCount() == 0) return;
  auto validity = NewValues<uint8_t>(array.length);
  const uint8_t* const bits = array.buffers[0]->data();
  for (int64_t i = 0; i < array.length; ++i) {
    validity[i] = BitAt(bits, array.offset + i);
  }
  out->validity = std::move(validity);
}

// Values that have the layout we use already: borrowed.
template <typename T>
void Borrow(const ArrayDataPtr& array, Vector* out) {
  out->values = std::shared_ptr<const void>(array, array->GetValues<T>(1));
}

template <typename From, typename To, typename Function>
void Convert(const arrow::ArrayData& array, Vector* out, Function function) {
  auto values = NewValues<To>(array.length);
  const From* const from = array.GetValues<From>(1);
  for (int64_t i = 0; i < array.length; ++i) values[i] = function(from[i]);
  out->values = std::move(values);
}

template <typename From>
void Widen(const arrow::ArrayData& array, Vector* out) {
  Convert<From, int64_t>(array, out, [](From value) { return static_cast<int64_t>(value); });
}

// Convert with function(value, &result), which returns true when the value does not fit.
template <typename From, typename Function>
void ConvertChecked(const arrow::ArrayData& array, LoadedColumn* out, std::string problem,
                    Function function) {
  auto values = NewZeros<int64_t>(array.length);
  const From* const from = array.GetValues<From>(1);
  for (int64_t i = 0; i < array.length; ++i) {
    if (function(from[i], &values[i]) && out->vector.IsValid(i)) out->bad_rows.push_back(i);
  }
  out->vector.values = std::move(values);
  out->problem = std::move(problem);
}

// Int64 counts of a unit of time, as microseconds.
void ReadMicros(const ArrayDataPtr& array, arrow::TimeUnit::type unit, LoadedColumn* out) {
  const auto scaled = [&](int64_t factor) {
    ConvertChecked<int64_t>(*array, out, "a time that microseconds cannot hold",
                            [factor](int64_t value, int64_t* micros) {
                              return __builtin_mul_overflow(value, factor, micros);
                            });
  };
  switch (unit) {
    case arrow::TimeUnit::SECOND:
      return scaled(kMicrosPerSecond);
    case arrow::TimeUnit::MILLI:
      return scaled(1000);
    case arrow::TimeUnit::MICRO:
      return Borrow<int64_t>(array, &out->vector);
    case arrow::TimeUnit::NANO:
      return Convert<int64_t, int64_t>(*array, &out->vector,
                                       [](int64_t nanos) { return FloorDivide(nanos, 1000); });
  }
}

template <typename Offset>
void ReadText(const arrow::ArrayData& array, Vector* out) {
  auto values = NewValues<std::string_view>(array.length);
  const Offset* const offsets = array.GetValues<Offset>(1);
  const auto* const bytes =
      array.buffers[2] == nullptr ? "" : reinterpret_cast<const char*>(array.buffers[2]->data());
  for (int64_t i = 0; i < array.length; ++i) {
    values[i] = {bytes + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i])};
  }
  out->values = std::move(values);
}

void ReadTextViews(const ArrayDataPtr& array, Vector* out) {
  const arrow::StringViewArray views(array);
  auto values = NewValues<std::string_view>(array->length);
  for (int64_t i = 0; i < array->length; ++i) {
    if (views.IsValid(i)) values[i] = views.GetView(i);
  }
  out->values = std::move(values);
}

template <typename Decimal>
void ReadDecimals(const arrow::ArrayData& array, Vector* out) {
  const auto& type = static_cast<const arrow::DecimalType&>(*array.type);
  const uint8_t* const bytes = array.buffers[1]->data() + array.offset * type.byte_width();
  auto values = NewValues<double>(array.length);
  for (int64_t i = 0; i < array.length; ++i) {
    values[i] = Decimal(bytes + i * type.byte_width()).ToDouble(type.scale());
  }
  out->values = std::move(values);
}

// Slices of the child's part that the array uses; `begin_of(i)` to `begin_of(i + 1)` is row i's.
template <typename BeginOf>
Status ReadSlices(const arrow::ArrayData& array, Type type, BeginOf begin_of,
                  Evaluation* evaluation, LoadedColumn* out) {
  const int64_t first = begin_of(0);
  LoadedColumn child;
  GNOMON_RETURN_NOT_OK(ReadArray(array.child_data[0]->Slice(first, begin_of(array.length) - first),
                                 {type.element}, evaluation, &child));
  const Vector* const elements = evaluation->Keep(std::move(child.vector));
  auto values = NewValues<ListSlice>(array.length);
  size_t bad = 0;
  for (int64_t i = 0; i < array.length; ++i) {
    const int64_t begin = begin_of(i) - first;
    const int64_t end = begin_of(i + 1) - first;
    values[i] = {elements, begin, end - begin};
    while (bad < child.bad_rows.size() && child.bad_rows[bad] < begin) ++bad;
    const bool is_bad = bad < child.bad_rows.size() && child.bad_rows[bad] < end;
    if (is_bad && out->vector.IsValid(i)) out->bad_rows.push_back(i);
  }
  out->problem = std::move(child.problem);
  out->vector.values = std::move(values);
  return Status::OK();
}

template <typename Index>
void TakeByIndex(const arrow::ArrayData& array, const LoadedColumn& dictionary,
                 int64_t dictionary_length, Kind kind, LoadedColumn* out) {
  const Index* const indices = array.GetValues<Index>(1);
  std::vector<uint8_t> is_bad(static_cast<size_t>(dictionary_length), 0);
  for (const int64_t row : dictionary.bad_rows) is_bad[static_cast<size_t>(row)] = 1;
  WithValueType(kind, [&](auto zero) {
    using T = decltype(zero);
    auto values = NewZeros<T>(array.length);
    auto validity = NewZeros<uint8_t>(array.length);
    for (int64_t i = 0; i < array.length; ++i) {
      if (!out->vector.IsValid(i)) continue;
      const auto index = static_cast<int64_t>(indices[i]);
      values[i] = dictionary.vector.At<T>(index);
      validity[i] = dictionary.vector.IsValid(index) ? 1 : 0;
      if (is_bad[static_cast<size_t>(index)] != 0) out->bad_rows.push_back(i);
    }
    out->vector.values = std::move(values);
    out->vector.validity = std::move(validity);
  });
  out->problem = dictionary.problem;
}

Status ReadDictionary(const ArrayDataPtr& array, Type type, Evaluation* evaluation,
                      LoadedColumn* out) {
  LoadedColumn dictionary;
  GNOMON_RETURN_NOT_OK(ReadArray(array->dictionary, type, evaluation, &dictionary));
  evaluation->Keep(dictionary.vector);  // texts may borrow from it
  const int64_t length = array->dictionary->length;
  const auto take = [&]<typename Index>(Index) {
    TakeByIndex<Index>(*array, dictionary, length, type.kind, out);
    return Status::OK();
  };
  switch (static_cast<const arrow::DictionaryType&>(*array->type).index_type()->id()) {
    case arrow::Type::INT8:
      return take(int8_t{});
    case arrow::Type::INT16:
      return take(int16_t{});
    case arrow::Type::INT32:
      return take(int32_t{});
    case arrow::Type::INT64:
      return take(int64_t{});
    case arrow::Type::UINT8:
      return take(uint8_t{});
    case arrow::Type::UINT16:
      return take(uint16_t{});
    case arrow::Type::UINT32:
      return take(uint32_t{});
    default:
      return take(uint64_t{});
  }
}

// Only the validity matters; unions and run-end encoded arrays have one without a bitmap.
Status ReadOpaque(const ArrayDataPtr& array, Vector* out) {
  const std::shared_ptr<arrow::Array> rows = arrow::MakeArray(array);
  auto validity = NewValues<uint8_t>(array->length);
  for (int64_t i = 0; i < array->length; ++i) validity[i] = rows->IsValid(i) ? 1 : 0;
  out->validity = std::move(validity);
  out->values = NewZeros<uint8_t>(array->length);
  return Status::OK();
}

Status ReadNested(const ArrayDataPtr& array, Type type, Evaluation* evaluation, LoadedColumn* out) {
  switch (array->type->id()) {
    case arrow::Type::DICTIONARY:
      return ReadDictionary(array, type, evaluation, out);
    case arrow::Type::LIST: {
      const int32_t* const offsets = array->GetValues<int32_t>(1);
      return ReadSlices(
          *array, type, [=](int64_t i) -> int64_t { return offsets[i]; }, evaluation, out);
    }
    case arrow::Type::LARGE_LIST: {
      const int64_t* const offsets = array->GetValues<int64_t>(1);
      return ReadSlices(
          *array, type, [=](int64_t i) { return offsets[i]; }, evaluation, out);
    }
    case arrow::Type::FIXED_SIZE_LIST: {
      const int64_t size = static_cast<const arrow::FixedSizeListType&>(*array->type).list_size();
      const int64_t offset = array->offset;
      return ReadSlices(
          *array, type, [=](int64_t i) { return (offset + i) * size; }, evaluation, out);
    }
    default:
      return ReadOpaque(array, &out->vector);
  }
}

}  // namespace

Status ReadArray(const std::shared_ptr<arrow::ArrayData>& array, Type type, Evaluation* evaluation,
                 LoadedColumn* out) {
  Vector* const vector = &out->vector;
  if (array->type->id() == arrow::Type::NA) {
    *vector = NullVector(kNullType);
    return Status::OK();
  }
  if (array->length == 0) {
    vector->values = WithValueType(type.kind, [](auto zero) -> std::shared_ptr<const void> {
      return NewZeros<decltype(zero)>(1);
    });
    return Status::OK();
  }
  ReadValidity(*array, vector);
  switch (array->type->id()) {
    case arrow::Type::BOOL: {
      auto values = NewValues<uint8_t>(array->length);
      const uint8_t* const bits = array->buffers[1]->data();
      for (int64_t i = 0; i < array->length; ++i) {
        values[i] = BitAt(bits, array->offset + i);
      }
      vector->values = std::move(values);
      break;
    }
    case arrow::Type::INT8:
      Widen<int8_t>(*array, vector);
      break;
    case arrow::Type::INT16:
      Widen<int16_t>(*array, vector);
      break;
    case arrow::Type::INT32:
      Widen<int32_t>(*array, vector);
      break;
    case arrow::Type::INT64:
      Borrow<int64_t>(array, vector);
      break;
    case arrow::Type::UINT8:
      Widen<uint8_t>(*array, vector);
      break;
    case arrow::Type::UINT16:
      Widen<uint16_t>(*array, vector);
      break;
    case arrow::Type::UINT32:
      Widen<uint32_t>(*array, vector);
      break;
    case arrow::Type::UINT64:
      ConvertChecked<uint64_t>(*array, out, "an unsigned integer that int64 cannot hold",
                               [](uint64_t value, int64_t* result) {
                                 *result = static_cast<int64_t>(value);
                                 return value >
                                        static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
                               });
      break;
    case arrow::Type::HALF_FLOAT:
      Convert<uint16_t, double>(*array, vector, [](uint16_t bits) {
        return arrow::util::Float16::FromBits(bits).ToDouble();
      });
      break;
    case arrow::Type::FLOAT:
      Convert<float, double>(*array, vector,
                             [](float value) { return static_cast<double>(value); });
      break;
    case arrow::Type::DOUBLE:
      Borrow<double>(array, vector);
      break;
    case arrow::Type::DECIMAL128:
      ReadDecimals<arrow::Decimal128>(*array, vector);
      break;
    case arrow::Type::DECIMAL256:
      ReadDecimals<arrow::Decimal256>(*array, vector);
      break;
    case arrow::Type::STRING:
      ReadText<int32_t>(*array, vector);
      break;
    case arrow::Type::LARGE_STRING:
      ReadText<int64_t>(*array, vector);
      break;
    case arrow::Type::STRING_VIEW:
      ReadTextViews(array, vector);
      break;
    case arrow::Type::DATE32:
      Widen<int32_t>(*array, vector);
      break;
    case arrow::Type::DATE64:
      Convert<int64_t, int64_t>(
          *array, vector, [](int64_t millis) { return FloorDivide(millis, kMicrosPerDay / 1000); });
      break;
    case arrow::Type::TIMESTAMP:
      ReadMicros(array, static_cast<const arrow::TimestampType&>(*array->type).unit(), out);
      break;
    case arrow::Type::DURATION:
      ReadMicros(array, static_cast<const arrow::DurationType&>(*array->type).unit(), out);
      break;
    default:
      return ReadNested(array, type, evaluation, out);
  }
  return Status::OK();
}

}  // namespace gnomon::expr
