#include "table/wider_type.h"

#include <algorithm>

#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "table/column.h"

namespace gnomon::table {

namespace {

using arrow::internal::checked_cast;
using DataTypePtr = std::shared_ptr<arrow::DataType>;

DataTypePtr SignedOfWidth(int bits) {
  if (bits <= 8) return arrow::int8();
  if (bits <= 16) return arrow::int16();
  return bits <= 32 ? arrow::int32() : arrow::int64();
}

DataTypePtr CommonTime(const DataTypePtr& first, const DataTypePtr& other) {
  if (other->id() == arrow::Type::DATE32 || other->id() == arrow::Type::DATE64)
    return first->id() == arrow::Type::DATE32 ? other : first;
  if (first->id() == arrow::Type::DATE32 || first->id() == arrow::Type::DATE64) return other;
  const auto& left = checked_cast<const arrow::TimestampType&>(*first);
  const auto& right = checked_cast<const arrow::TimestampType&>(*other);
  return arrow::timestamp(std::max(left.unit(), right.unit()), left.timezone());
}

}  // namespace

DataTypePtr WiderType(const DataTypePtr& left, const DataTypePtr& right) {
  if (left->Equals(*right)) return left;
  if (!arrow::is_integer(left->id()) || !arrow::is_integer(right->id())) return nullptr;
  const auto& fixed = checked_cast<const arrow::FixedWidthType&>(*left);
  const auto& other = checked_cast<const arrow::FixedWidthType&>(*right);
  const bool left_signed = arrow::is_signed_integer(left->id());
  const bool right_signed = arrow::is_signed_integer(right->id());
  if (left_signed == right_signed) return fixed.bit_width() >= other.bit_width() ? left : right;
  const int unsigned_bits = left_signed ? other.bit_width() : fixed.bit_width();
  const int signed_bits = left_signed ? fixed.bit_width() : other.bit_width();
  // int64 for uint64 too: a value beyond it is an error where it is read.
  return SignedOfWidth(std::max(signed_bits, std::min(64, 2 * unsigned_bits)));
}

DataTypePtr CommonType(const DataTypePtr& first, const DataTypePtr& other) {
  using arrow::Type;
  if (const auto wider = WiderType(first, other)) return wider;
  if (first->id() == Type::NA) return other;
  if (other->id() == Type::NA) return first;
  if (IsTime(*first) && IsTime(*other)) return CommonTime(first, other);
  const auto is_real = [](const arrow::DataType& type) {
    return type.id() == Type::FLOAT || type.id() == Type::DOUBLE;
  };
  if (is_real(*first) && is_real(*other)) return arrow::float64();
  if (arrow::is_string(first->id()) && arrow::is_string(other->id())) return arrow::large_utf8();
  if (first->id() == Type::DICTIONARY)
    return CommonType(checked_cast<const arrow::DictionaryType&>(*first).value_type(), other);
  if (other->id() == Type::DICTIONARY)
    return CommonType(first, checked_cast<const arrow::DictionaryType&>(*other).value_type());
  if (first->id() == other->id() &&
      (first->id() == Type::LIST || first->id() == Type::LARGE_LIST)) {
    const auto value = CommonType(first->field(0)->type(), other->field(0)->type());
    if (value == nullptr) return nullptr;
    return first->id() == Type::LIST ? arrow::list(value) : arrow::large_list(value);
  }
  return nullptr;
}

}  // namespace gnomon::table
