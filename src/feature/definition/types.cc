#include "feature/definition/types.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include <arrow/type.h>

namespace gnomon::feature {

namespace {

struct NamedBase {
  std::string_view name;
  ValueType::Base base;
};

// The first name of each base is the one that ToString writes.
constexpr std::array<NamedBase, 11> kNames = {{
    {"Bytes", ValueType::kBytes},
    {"String", ValueType::kString},
    {"Int32", ValueType::kInt32},
    {"Int64", ValueType::kInt64},
    {"Float64", ValueType::kDouble},
    {"Float32", ValueType::kFloat},
    {"Bool", ValueType::kBool},
    {"UnixTimestamp", ValueType::kUnixTimestamp},
    {"Double", ValueType::kDouble},
    {"Float", ValueType::kFloat},
    {"Unix_Timestamp", ValueType::kUnixTimestamp},
}};

// Known to Feast, lower-case.
constexpr std::array<std::string_view, 15> kUnsupported = {
    "map",        "json",      "struct",     "uuid",           "timeuuid",        "time_uuid",
    "decimal",    "scalarmap", "scalar_map", "zonedtimestamp", "zoned_timestamp", "pdfbytes",
    "imagebytes", "null",      "unknown"};

constexpr int kFirstList = 11;
constexpr int kFirstSet = 22;
constexpr int kNumBases = 8;

std::optional<ValueType::Base> FindBase(std::string_view lower) {
  for (const NamedBase& named : kNames) {
    if (ToLower(named.name) == lower) return named.base;
  }
  return std::nullopt;
}

// The T of "array(T)" and "set(T)"; of "T_list" and "T_set". Empty for anything else.
std::string_view ElementName(std::string_view lower) {
  for (const std::string_view prefix : {"array(", "set(", "list("}) {
    if (lower.starts_with(prefix) && lower.ends_with(')')) {
      return Trim(lower.substr(prefix.size(), lower.size() - prefix.size() - 1));
    }
  }
  for (const std::string_view suffix : {"_list", "_set"}) {
    if (lower.ends_with(suffix)) return lower.substr(0, lower.size() - suffix.size());
  }
  return {};
}

Status UnknownName(std::string_view text, std::string_view lower) {
  const std::string_view element = ElementName(lower);
  const std::string_view scalar = element.empty() ? lower : element;
  const bool nested = !ElementName(element).empty();
  const std::string_view head = scalar.substr(0, scalar.find_first_of("([{"));
  if (nested || std::ranges::find(kUnsupported, head) != kUnsupported.end()) {
    return MakeError(
        ErrorKind::kUnsupported, Concat("type ", Quoted(text), " is not supported"), {},
        "types: Int32, Int64, Float32, Float64, String, Bool, Bytes, UnixTimestamp and "
        "Array(...) of them");
  }
  std::vector<std::string> candidates;
  for (const NamedBase& named : kNames) candidates.emplace_back(named.name);
  std::string hint = DidYouMean(scalar, candidates);
  if (hint.empty()) {
    hint = "types: Int32, Int64, Float32, Float64, String, Bool, Bytes, UnixTimestamp, Array(...)";
  }
  return MakeError(ErrorKind::kUser, Concat("unknown type ", Quoted(text)), {}, std::move(hint));
}

struct FeastType {
  int number;
  std::string_view name;
};

constexpr std::array<FeastType, 20> kOnlyFeasts = {{
    {19, "Null"},           {20, "Map"},          {21, "Array(Map)"},      {32, "Json"},
    {33, "Array(Json)"},    {34, "Struct"},       {35, "Array(Struct)"},   {36, "Uuid"},
    {37, "TimeUuid"},       {38, "Array(Uuid)"},  {39, "Array(TimeUuid)"}, {40, "Set(Uuid)"},
    {41, "Set(TimeUuid)"},  {42, "Array(Array)"}, {43, "Array(Set)"},      {44, "Decimal"},
    {45, "Array(Decimal)"}, {46, "Set(Decimal)"}, {47, "ScalarMap"},       {48, "ZonedTimestamp"},
}};

/// For messages.
std::string NameOfFeastNumber(int number) {
  const auto found = std::ranges::find(kOnlyFeasts, number, &FeastType::number);
  return found != kOnlyFeasts.end() ? std::string(found->name) : Concat("number ", number);
}

std::shared_ptr<arrow::DataType> ScalarToArrow(ValueType::Base base) {
  switch (base) {
    case ValueType::kInvalid:
      return arrow::null();
    case ValueType::kBytes:
      return arrow::binary();
    case ValueType::kString:
      return arrow::utf8();
    case ValueType::kInt32:
      return arrow::int32();
    case ValueType::kInt64:
      return arrow::int64();
    case ValueType::kDouble:
      return arrow::float64();
    case ValueType::kFloat:
      return arrow::float32();
    case ValueType::kBool:
      return arrow::boolean();
    case ValueType::kUnixTimestamp:
      return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  }
  return arrow::null();
}

}  // namespace

int ValueType::FeastNumber() const {
  return list && base != kInvalid ? base + kFirstList - 1 : base;
}

Result<ValueType> ValueType::FromFeastNumber(int number) {
  const auto within = [&](int first) { return number >= first && number < first + kNumBases; };
  if (within(1)) return ValueType{static_cast<Base>(number), false};
  if (within(kFirstList)) return ValueType{static_cast<Base>(number - kFirstList + 1), true};
  if (within(kFirstSet)) return ValueType{static_cast<Base>(number - kFirstSet + 1), true};
  return Error(ErrorKind::kUnsupported, "type ", NameOfFeastNumber(number), " is not supported");
}

Result<ValueType> ValueType::Parse(std::string_view text) {
  const std::string lower = ToLower(Trim(text));
  if (const auto base = FindBase(lower)) return ValueType{*base, false};
  const std::string_view element = ElementName(lower);
  if (const auto base = FindBase(element)) return ValueType{*base, true};
  return UnknownName(text, lower);
}

std::string ValueType::ToString() const {
  std::string_view name = "Invalid";
  for (const NamedBase& named : kNames) {
    if (named.base != base) continue;
    name = named.name;
    break;
  }
  return list ? Concat("Array(", name, ")") : std::string(name);
}

std::shared_ptr<arrow::DataType> ValueType::ToArrow() const {
  const auto scalar = ScalarToArrow(base);
  return list ? arrow::list(scalar) : scalar;
}

Result<ValueType> ValueType::FromArrow(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
      return ValueType{kInt32};
    case arrow::Type::UINT32:
    case arrow::Type::INT64:
      return ValueType{kInt64};
    case arrow::Type::HALF_FLOAT:
    case arrow::Type::FLOAT:
      return ValueType{kFloat};
    case arrow::Type::DOUBLE:
      return ValueType{kDouble};
    case arrow::Type::BOOL:
      return ValueType{kBool};
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return ValueType{kString};
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::FIXED_SIZE_BINARY:
      return ValueType{kBytes};
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
    case arrow::Type::TIMESTAMP:
      return ValueType{kUnixTimestamp};
    case arrow::Type::DICTIONARY:
      return FromArrow(*static_cast<const arrow::DictionaryType&>(type).value_type());
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST: {
      const auto& list_type = static_cast<const arrow::BaseListType&>(type);
      GNOMON_ASSIGN_OR_RETURN(const ValueType element, FromArrow(*list_type.value_type()));
      if (element.list) break;
      return ValueType{element.base, true};
    }
    default:
      break;
  }
  return MakeError(ErrorKind::kUser,
                   Concat("no feature type holds a column of type ", type.ToString()), {},
                   "cast it in a transformation, e.g. cast(x as double)");
}

}  // namespace gnomon::feature
