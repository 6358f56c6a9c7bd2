#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::expr {

/// What values are inside the language. Columns widen on reading: every integer is kInt, every
/// float (and decimal) kFloat, every unit of time microseconds.
enum class Kind : uint8_t {
  kNull,       ///< only null
  kBool,       ///< one byte, 0 or 1
  kInt,        ///< int64
  kFloat,      ///< double
  kText,       ///< string_view of UTF-8
  kTimestamp,  ///< int64 microseconds UTC
  kDate,       ///< int64 days
  kDuration,   ///< int64 microseconds
  kList,       ///< ListSlice
  kOpaque,     ///< another Arrow type: can be passed through and asked `is null`
};

struct Type {
  Kind kind = Kind::kNull;
  Kind element = Kind::kNull;  ///< of a list

  friend bool operator==(const Type&, const Type&) = default;
};

inline constexpr Type kNullType{Kind::kNull};
inline constexpr Type kBoolType{Kind::kBool};
inline constexpr Type kIntType{Kind::kInt};
inline constexpr Type kFloatType{Kind::kFloat};
inline constexpr Type kTextType{Kind::kText};
inline constexpr Type kTimestampType{Kind::kTimestamp};
inline constexpr Type kDateType{Kind::kDate};
inline constexpr Type kDurationType{Kind::kDuration};
constexpr Type ListOf(Kind element) { return {Kind::kList, element}; }

/// "int64", "list<string>": the names in errors and in the reference.
std::string TypeName(Type type);

/// How a column of this Arrow type is read.
Type TypeOfColumn(const arrow::DataType& type);

/// How results of this type are written. REQUIRES: not kOpaque.
std::shared_ptr<arrow::DataType> ArrowTypeOf(Type type);

/// A type that `cast` names: what it is inside and, for int32 and float32, how it is written when
/// the cast is the whole expression.
struct CastTarget {
  enum class Width { kFull, kInt32, kFloat32 };
  Type type;
  Width width = Width::kFull;
};

/// Reads a type name in any case: bool int32 int64 float32 float64 string timestamp date, Feast's
/// and SQL's other spellings of them.
std::optional<CastTarget> ParseCastTarget(std::string_view name);

}  // namespace gnomon::expr
