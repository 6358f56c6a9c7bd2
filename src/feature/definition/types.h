#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::feature {

/// A feature's type in Feast's words. `list` is set for Array(...) and Set(...) of it.
/// The numbers of `base` are those of Feast's ValueType enum for the scalar.
struct ValueType {
  enum Base {
    kInvalid = 0,
    kBytes = 1,
    kString = 2,
    kInt32 = 3,
    kInt64 = 4,
    kDouble = 5,
    kFloat = 6,
    kBool = 7,
    kUnixTimestamp = 8
  };
  Base base = kInvalid;
  bool list = false;

  bool operator==(const ValueType&) const = default;

  /// Feast's enum number: the scalar's, or 11..18 for a list.
  int FeastNumber() const;
  static Result<ValueType> FromFeastNumber(int number);

  /// Feast's Field dtype names, case ignored: Int64, Float64, String, Bool, Bytes, UnixTimestamp,
  /// Array(Float64), and ValueType names: INT64, DOUBLE, DOUBLE_LIST. kUser with the nearest name;
  /// Feast types that are not supported (Map, Json, Struct, ...) are kUnsupported.
  static Result<ValueType> Parse(std::string_view text);
  /// "Int64", "Array(Float64)".
  std::string ToString() const;

  /// Feast's Arrow types: string, bool, int32, int64, float, double, timestamp[us, UTC], binary,
  /// list of those.
  std::shared_ptr<arrow::DataType> ToArrow() const;
  /// The type a source column of this Arrow type gives (int8..int32 -> Int32, uint32 and int64 ->
  /// Int64, date and timestamp -> UnixTimestamp, decimal -> Float64 is kUser, ...).
  static Result<ValueType> FromArrow(const arrow::DataType& type);
};

}  // namespace gnomon::feature
