#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <type_traits>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/initialize.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <arrow/util/checked_cast.h>

#include "table/column.h"
#include "table/compute_internal.h"

namespace gnomon::table {

namespace internal {

Status InitializeCompute() {
  static const Status kStatus = arrow::compute::Initialize();
  return kStatus;
}

}  // namespace internal

namespace {

using arrow::internal::checked_cast;
using ArrayResult = Result<std::shared_ptr<arrow::Array>>;

Status LosesValue(const arrow::Array& array, const arrow::DataType& type, int64_t row) {
  std::string value = "?";
  if (const auto scalar = array.GetScalar(row); scalar.ok()) value = (*scalar)->ToString();
  return MakeError(ErrorKind::kUser,
                   Concat("value does not fit when ", array.type()->ToString(), " becomes ",
                          type.ToString(), ": ", value, " in row ", row),
                   {.file = {}, .row = row});
}

Status CannotCast(const arrow::DataType& from, const arrow::DataType& to) {
  return Error(ErrorKind::kUser, "cannot convert without loss: ", from.ToString(), " to ",
               to.ToString());
}

/// Is `value` exactly a value of To? -0.0 is no integer; NaN stays NaN.
template <typename To, typename From>
bool Fits(From value, To* out) {
  if constexpr (std::is_integral_v<From> && std::is_integral_v<To>) {
    *out = static_cast<To>(value);
    return std::in_range<To>(value);
  } else if constexpr (std::is_floating_point_v<From> && std::is_floating_point_v<To>) {
    *out = static_cast<To>(value);
    return std::isnan(value) || static_cast<From>(*out) == value;
  } else if constexpr (std::is_integral_v<From>) {
    *out = static_cast<To>(value);
    From back = 0;
    return Fits(*out, &back) && back == value;
  } else {
    // The bounds are powers of two, which floats hold exactly.
    const From above = std::ldexp(From{1}, std::numeric_limits<To>::digits);
    const From least = std::is_signed_v<To> ? -above : From{0};
    if (!(value >= least && value < above) || value != std::trunc(value)) return false;
    if (value == 0 && std::signbit(value)) return false;
    *out = static_cast<To>(value);
    return true;
  }
}

/// Converts each valid value by convert(value, &out), which says whether it fits.
template <typename From, typename To, typename Convert>
ArrayResult ConvertValues(const arrow::Array& array, const std::shared_ptr<arrow::DataType>& type,
                          Convert&& convert) {
  const arrow::ArrayData& data = *array.data();
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<arrow::Buffer> buffer,
                          arrow::AllocateBuffer(array.length() * static_cast<int64_t>(sizeof(To))));
  const auto* values = data.GetValues<From>(1);
  auto* out = buffer->mutable_data_as<To>();
  const bool has_nulls = array.null_count() > 0;
  for (int64_t row = 0; row < array.length(); ++row) {
    if (has_nulls && array.IsNull(row)) {
      out[row] = To{};
    } else if (!convert(values[row], &out[row])) {
      return LosesValue(array, *type, row);
    }
  }
  std::shared_ptr<arrow::Buffer> validity;
  if (has_nulls) {
    GNOMON_ASSIGN_OR_RETURN(auto bits, arrow::AllocateEmptyBitmap(array.length()));
    for (int64_t row = 0; row < array.length(); ++row) {
      if (array.IsValid(row)) arrow::bit_util::SetBit(bits->mutable_data(), row);
    }
    validity = std::move(bits);
  }
  return arrow::MakeArray(
      arrow::ArrayData::Make(type, array.length(), {validity, buffer}, array.null_count()));
}

/// Calls visit(std::type_identity<C type>) for the number type; kUser for others.
template <typename Visit>
ArrayResult VisitNumber(const arrow::DataType& type, Visit&& visit) {
  switch (type.id()) {
    case arrow::Type::INT8:
      return visit(std::type_identity<int8_t>());
    case arrow::Type::INT16:
      return visit(std::type_identity<int16_t>());
    case arrow::Type::INT32:
      return visit(std::type_identity<int32_t>());
    case arrow::Type::INT64:
      return visit(std::type_identity<int64_t>());
    case arrow::Type::UINT8:
      return visit(std::type_identity<uint8_t>());
    case arrow::Type::UINT16:
      return visit(std::type_identity<uint16_t>());
    case arrow::Type::UINT32:
      return visit(std::type_identity<uint32_t>());
    case arrow::Type::UINT64:
      return visit(std::type_identity<uint64_t>());
    case arrow::Type::FLOAT:
      return visit(std::type_identity<float>());
    case arrow::Type::DOUBLE:
      return visit(std::type_identity<double>());
    default:
      return Error(ErrorKind::kInternal, "not a number type: ", type.ToString());
  }
}

bool IsNumber(const arrow::DataType& type) {
  return arrow::is_integer(type.id()) || type.id() == arrow::Type::FLOAT ||
         type.id() == arrow::Type::DOUBLE;
}

ArrayResult CastNumbers(const arrow::Array& array, const std::shared_ptr<arrow::DataType>& type) {
  return VisitNumber(*array.type(), [&](auto from) {
    return VisitNumber(*type, [&](auto to) {
      using From = typename decltype(from)::type;
      using To = typename decltype(to)::type;
      return ConvertValues<From, To>(array, type,
                                     [](From value, To* out) { return Fits(value, out); });
    });
  });
}

template <typename From, typename To>
ArrayResult CastTimesAs(const arrow::Array& array, const std::shared_ptr<arrow::DataType>& type) {
  const int64_t from_unit = UnitNanos(*array.type());
  const int64_t to_unit = UnitNanos(*type);
  return ConvertValues<From, To>(array, type, [&](From value, To* out) {
    int64_t converted = value;
    if (from_unit >= to_unit) {
      if (__builtin_mul_overflow(int64_t{value}, from_unit / to_unit, &converted)) return false;
    } else {
      if (converted % (to_unit / from_unit) != 0) return false;
      converted /= to_unit / from_unit;
    }
    return Fits(converted, out);
  });
}

/// Instants: a naive timestamp is UTC, a date is midnight UTC.
ArrayResult CastTimes(const arrow::Array& array, const std::shared_ptr<arrow::DataType>& type) {
  const bool from_days = array.type_id() == arrow::Type::DATE32;
  const bool to_days = type->id() == arrow::Type::DATE32;
  if (from_days) return CastTimesAs<int32_t, int64_t>(array, type);
  if (to_days) return CastTimesAs<int64_t, int32_t>(array, type);
  return CastTimesAs<int64_t, int64_t>(array, type);
}

ArrayResult DecodeDictionary(const std::shared_ptr<arrow::Array>& array,
                             const std::shared_ptr<arrow::DataType>& type) {
  const auto& encoded = checked_cast<const arrow::DictionaryArray&>(*array);
  std::vector<int64_t> indices(static_cast<size_t>(encoded.length()), -1);
  for (int64_t row = 0; row < encoded.length(); ++row) {
    if (encoded.IsValid(row)) indices[static_cast<size_t>(row)] = encoded.GetValueIndex(row);
  }
  GNOMON_ASSIGN_OR_RETURN(auto decoded, Gather(arrow::ChunkedArray(encoded.dictionary()), indices));
  return CastLossless(decoded, type);
}

ArrayResult EncodeDictionary(const std::shared_ptr<arrow::Array>& array,
                             const std::shared_ptr<arrow::DataType>& type) {
  const auto& to = checked_cast<const arrow::DictionaryType&>(*type);
  GNOMON_ASSIGN_OR_RETURN(auto values, CastLossless(array, to.value_type()));
  GNOMON_RETURN_NOT_OK(internal::InitializeCompute());
  GNOMON_ASSIGN_OR_RETURN(auto datum, arrow::compute::DictionaryEncode(values));
  const auto encoded = datum.make_array();
  const auto& dictionary = checked_cast<const arrow::DictionaryArray&>(*encoded);
  GNOMON_ASSIGN_OR_RETURN(auto indices, CastLossless(dictionary.indices(), to.index_type()));
  return arrow::DictionaryArray::FromArrays(type, indices, dictionary.dictionary());
}

/// Lists of one kind and structs with the same field names: the children are cast.
ArrayResult CastNested(const arrow::Array& array, const std::shared_ptr<arrow::DataType>& type) {
  if (array.type()->num_fields() != type->num_fields()) return CannotCast(*array.type(), *type);
  const auto data = array.data()->Copy();
  data->type = type;
  for (int i = 0; i < type->num_fields(); ++i) {
    if (array.type()->field(i)->name() != type->field(i)->name() &&
        type->id() == arrow::Type::STRUCT) {
      return CannotCast(*array.type(), *type);
    }
    auto& child = data->child_data[static_cast<size_t>(i)];
    GNOMON_ASSIGN_OR_RETURN(auto cast,
                            CastLossless(arrow::MakeArray(child), type->field(i)->type()));
    child = cast->data();
  }
  return arrow::MakeArray(data);
}

/// The first row that a checked kernel refuses, for the message.
Status FirstRefusal(const std::shared_ptr<arrow::Array>& array,
                    const std::shared_ptr<arrow::DataType>& type, const Status& status) {
  if (!status.IsInvalid()) return CannotCast(*array->type(), *type);
  for (int64_t row = 0; row < array->length(); ++row) {
    if (!arrow::compute::Cast(*array->Slice(row, 1), type).ok())
      return LosesValue(*array, *type, row);
  }
  return CannotCast(*array->type(), *type);
}

/// Pairs whose checked cast in Arrow loses nothing.
bool HasExactKernel(const arrow::DataType& from, const arrow::DataType& to) {
  const auto is_text = [](const arrow::DataType& type) {
    return arrow::is_base_binary_like(type.id()) || arrow::is_binary_view_like(type.id());
  };
  if (is_text(from) && is_text(to)) return true;
  if (from.id() == arrow::Type::FIXED_SIZE_BINARY && is_text(to))
    return to.id() != arrow::Type::STRING;
  if (arrow::is_decimal(to.id()))
    return arrow::is_decimal(from.id()) || arrow::is_integer(from.id());
  if (arrow::is_time(from.id()) && arrow::is_time(to.id())) return true;
  return from.id() == arrow::Type::DURATION && to.id() == arrow::Type::DURATION;
}

}  // namespace

ArrayResult CastLossless(const std::shared_ptr<arrow::Array>& array,
                         const std::shared_ptr<arrow::DataType>& type) {
  const arrow::DataType& from = *array->type();
  if (from.Equals(*type)) return array;
  if (from.id() == arrow::Type::NA) return arrow::MakeArrayOfNull(type, array->length());
  if (type->id() == arrow::Type::DICTIONARY) {
    if (from.id() != arrow::Type::DICTIONARY) return EncodeDictionary(array, type);
    const auto& to = checked_cast<const arrow::DictionaryType&>(*type);
    GNOMON_ASSIGN_OR_RETURN(auto decoded, DecodeDictionary(array, to.value_type()));
    return EncodeDictionary(decoded, type);
  }
  if (from.id() == arrow::Type::DICTIONARY) return DecodeDictionary(array, type);
  if (IsNumber(from) && IsNumber(*type)) return CastNumbers(*array, type);
  if (IsTime(from) && IsTime(*type)) return CastTimes(*array, type);
  if (from.id() == type->id() && arrow::is_nested(from.id()) && !arrow::is_union(from.id())) {
    return CastNested(*array, type);
  }
  if (!HasExactKernel(from, *type)) return CannotCast(from, *type);
  GNOMON_RETURN_NOT_OK(internal::InitializeCompute());
  auto cast = arrow::compute::Cast(*array, type);
  if (!cast.ok()) return FirstRefusal(array, type, cast.status());
  return cast;
}

}  // namespace gnomon::table
