#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/types.h"
#include "table/row_columns.h"

/// One feature's value as Feast stores it: the bytes of the message feast.types.Value, null as no
/// bytes at all. Written and read here without the message's object, which would be most of a
/// read's time. docs/formats/online_feast.md draws them.
namespace gnomon::feature {

/// The Feast type whose values a column of this Arrow type is. kUnsupported names the types that
/// Feast's values have (there is no decimal among them, for example).
Result<ValueType> FeastTypeOf(const arrow::DataType& type);

/// Appends row `row` of a column (of type.ToArrow()) to `out`. Feast keeps whole seconds: fractions
/// of a timestamp are cut off, towards zero as in Feast. kUser for a null inside a list, which a
/// Value cannot say (timestamps can: Feast's smallest integer), and for text that is no UTF-8.
Status AppendFeastValue(const arrow::Array& column, ValueType type, int64_t row, std::string* out);

enum class FeastValueState : uint8_t {
  kValue,      ///< appended
  kNull,       ///< appended as null
  kOtherType,  ///< the bytes are a value of another type: appended as null
};
/// Appends the value to the builder, which was made for type.ToArrow(). A set counts as a list.
/// kDataLoss for bytes that are no Value; the builder must be thrown away then.
Result<FeastValueState> ReadFeastValue(std::string_view bytes, ValueType type,
                                       arrow::ArrayBuilder* builder);
/// The same into the present row of a column of that type.
Result<FeastValueState> ReadFeastValue(std::string_view bytes, ValueType type, size_t column,
                                       table::RowColumns* columns);

/// What Feast keeps beside the value as `value_text`: texts, numbers and booleans as Python writes
/// them. False when it keeps none (null, bytes, timestamps, lists).
bool AppendFeastText(const arrow::Array& column, ValueType type, int64_t row, std::string* out);

/// A double as Python's str() writes it.
std::string PythonText(double value);

}  // namespace gnomon::feature
