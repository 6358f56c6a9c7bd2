#include <array>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "expr/type_internal.h"

namespace gnomon::expr {

namespace {

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int64";
    case Kind::kFloat:
      return "float64";
    case Kind::kText:
      return "string";
    case Kind::kTimestamp:
      return "timestamp";
    case Kind::kDate:
      return "date";
    case Kind::kDuration:
      return "duration";
    case Kind::kList:
      return "list";
    case Kind::kOpaque:
      return "a type without operators";
  }
  return "?";
}

Type TypeOfList(const arrow::DataType& element) {
  const Type type = TypeOfColumn(element);
  const bool simple =
      type.kind != Kind::kList && type.kind != Kind::kOpaque && type.kind != Kind::kNull;
  if (!simple) return {Kind::kOpaque};
  return ListOf(type.kind);
}

}  // namespace

std::string TypeName(Type type) {
  if (type.kind == Kind::kList) return Concat("list<", KindName(type.element), '>');
  return std::string(KindName(type.kind));
}

Type TypeOfColumn(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::NA:
      return kNullType;
    case arrow::Type::BOOL:
      return kBoolType;
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64:
      return kIntType;
    case arrow::Type::HALF_FLOAT:
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DECIMAL256:
      return kFloatType;
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return kTextType;
    case arrow::Type::TIMESTAMP:
      return kTimestampType;
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
      return kDateType;
    case arrow::Type::DURATION:
      return kDurationType;
    case arrow::Type::DICTIONARY:
      return TypeOfColumn(*static_cast<const arrow::DictionaryType&>(type).value_type());
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST:
      return TypeOfList(*static_cast<const arrow::BaseListType&>(type).value_type());
    default:
      return {Kind::kOpaque};
  }
}

std::shared_ptr<arrow::DataType> ArrowTypeOf(Type type) {
  switch (type.kind) {
    case Kind::kNull:
      return arrow::null();
    case Kind::kBool:
      return arrow::boolean();
    case Kind::kInt:
      return arrow::int64();
    case Kind::kFloat:
      return arrow::float64();
    case Kind::kText:
      return arrow::utf8();
    case Kind::kTimestamp:
      return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
    case Kind::kDate:
      return arrow::date32();
    case Kind::kDuration:
      return arrow::duration(arrow::TimeUnit::MICRO);
    case Kind::kList:
      return arrow::list(ArrowTypeOf({type.element}));
    case Kind::kOpaque:
      break;
  }
  GNOMON_CHECK(false, "an opaque type has no Arrow type of its own");
}

std::optional<CastTarget> ParseCastTarget(std::string_view name) {
  using Width = CastTarget::Width;
  static const std::array<std::pair<std::string_view, CastTarget>, 18> kTargets = {{
      {"bool", {kBoolType}},
      {"boolean", {kBoolType}},
      {"int32", {kIntType, Width::kInt32}},
      {"int64", {kIntType}},
      {"int", {kIntType}},
      {"integer", {kIntType}},
      {"bigint", {kIntType}},
      {"float32", {kFloatType, Width::kFloat32}},
      {"float64", {kFloatType}},
      {"float", {kFloatType}},
      {"double", {kFloatType}},
      {"string", {kTextType}},
      {"text", {kTextType}},
      {"varchar", {kTextType}},
      {"timestamp", {kTimestampType}},
      {"unixtimestamp", {kTimestampType}},
      {"unix_timestamp", {kTimestampType}},
      {"date", {kDateType}},
  }};
  const std::string lower = ToLower(name);
  for (const auto& [spelling, target] : kTargets) {
    if (lower == spelling) return target;
  }
  return std::nullopt;
}

}  // namespace gnomon::expr
