#include "feature/online/feast_value.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/type.h>
#include <arrow/util/utf8.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/protobuf_wire_internal.h"

namespace gnomon::feature {
namespace {

using internal::AppendFixed;
using internal::AppendTag;
using internal::AppendVarint;
using internal::ProtobufReader;
using internal::Wire;

constexpr int kFirstListNumber = 11;
constexpr int kLastListNumber = 18;
constexpr int kFirstSetNumber = 22;
constexpr int kLastSetNumber = 29;
constexpr int kNullNumber = 19;
constexpr uint32_t kListValues = 1;  // the field of BytesList, Int64List, ... with the values

bool IsUtf8(std::string_view text) {
  arrow::util::InitializeUTF8();  // without it all texts are
  return arrow::util::ValidateUTF8(text);
}

Wire WireOf(ValueType::Base base) {
  switch (base) {
    case ValueType::kBytes:
    case ValueType::kString:
      return Wire::kBytes;
    case ValueType::kDouble:
      return Wire::kFixed64;
    case ValueType::kFloat:
      return Wire::kFixed32;
    default:
      return Wire::kVarint;
  }
}

int64_t SecondsOf(int64_t micros) { return micros / kMicrosPerSecond; }

/// A value of a varint type as the 64 bits that go on the wire.
uint64_t VarintAt(const arrow::Array& column, ValueType::Base base, int64_t row) {
  switch (base) {
    case ValueType::kInt32:
      return static_cast<uint64_t>(
          int64_t{static_cast<const arrow::Int32Array&>(column).Value(row)});
    case ValueType::kInt64:
      return static_cast<uint64_t>(static_cast<const arrow::Int64Array&>(column).Value(row));
    case ValueType::kBool:
      return static_cast<const arrow::BooleanArray&>(column).Value(row) ? 1 : 0;
    default:
      return static_cast<uint64_t>(
          SecondsOf(static_cast<const arrow::TimestampArray&>(column).Value(row)));
  }
}

/// The value without its tag.
Status AppendBare(const arrow::Array& column, ValueType::Base base, int64_t row, std::string* out) {
  switch (WireOf(base)) {
    case Wire::kVarint:
      AppendVarint(VarintAt(column, base, row), out);
      return Status::OK();
    case Wire::kFixed64:
      AppendFixed(
          std::bit_cast<uint64_t>(static_cast<const arrow::DoubleArray&>(column).Value(row)), out);
      return Status::OK();
    case Wire::kFixed32:
      AppendFixed(std::bit_cast<uint32_t>(static_cast<const arrow::FloatArray&>(column).Value(row)),
                  out);
      return Status::OK();
    case Wire::kBytes: {
      const std::string_view bytes = static_cast<const arrow::BinaryArray&>(column).GetView(row);
      if (base == ValueType::kString && !IsUtf8(bytes))
        return Error(ErrorKind::kUser, "text is not valid UTF-8");
      AppendVarint(bytes.size(), out);
      out->append(bytes);
      return Status::OK();
    }
  }
  return Status::OK();
}

Status AppendList(const arrow::ListArray& lists, ValueType::Base base, int64_t row,
                  std::string* out) {
  const arrow::Array& values = *lists.values();
  const int64_t begin = lists.value_offset(row);
  const int64_t end = begin + lists.value_length(row);
  std::string packed;
  for (int64_t i = begin; i < end; ++i) {
    if (WireOf(base) == Wire::kBytes) AppendTag(kListValues, Wire::kBytes, out);
    std::string* place = WireOf(base) == Wire::kBytes ? out : &packed;
    if (!values.IsNull(i)) {
      GNOMON_RETURN_NOT_OK(AppendBare(values, base, i, place));
    } else if (base == ValueType::kUnixTimestamp) {
      AppendVarint(static_cast<uint64_t>(std::numeric_limits<int64_t>::min()), place);
    } else {
      return MakeError(ErrorKind::kUser, "a null inside a list cannot be stored in Feast's layout",
                       {}, "filter it in a transformation, or use layout: packed");
    }
  }
  if (packed.empty()) return Status::OK();
  AppendTag(kListValues, Wire::kBytes, out);
  AppendVarint(packed.size(), out);
  out->append(packed);
  return Status::OK();
}

Status NoValue() { return Error(ErrorKind::kDataLoss, "stored bytes are no feast value"); }

/// A number, boolean or time as Arrow keeps it, in the low bytes.
bool ReadFixed(ProtobufReader* reader, ValueType::Base base, uint64_t* value) {
  if (base == ValueType::kDouble) return reader->Fixed(value);
  if (base == ValueType::kFloat) {
    uint32_t narrow = 0;
    const bool read = reader->Fixed(&narrow);
    *value = narrow;
    return read;
  }
  if (!reader->Varint(value)) return false;
  if (base == ValueType::kBool) *value = *value != 0 ? 1 : 0;
  if (base != ValueType::kUnixTimestamp) return true;
  int64_t micros = 0;
  if (__builtin_mul_overflow(static_cast<int64_t>(*value), kMicrosPerSecond, &micros)) return false;
  *value = static_cast<uint64_t>(micros);
  return true;
}

/// A time inside a list that stands for null.
bool SkipNullTime(ProtobufReader* reader) {
  ProtobufReader ahead = *reader;
  uint64_t seconds = 0;
  const bool is_null = ahead.Varint(&seconds) &&
                       static_cast<int64_t>(seconds) == std::numeric_limits<int64_t>::min();
  if (is_null) *reader = ahead;
  return is_null;
}

/// One value of the type, from the wire to the builder.
bool ReadBare(ProtobufReader* reader, ValueType::Base base, arrow::ArrayBuilder* builder,
              bool in_list, Status* status) {
  if (WireOf(base) == Wire::kBytes) {
    std::string_view bytes;
    if (!reader->Bytes(&bytes)) return false;
    if (base == ValueType::kString && !IsUtf8(bytes)) return false;
    *status = static_cast<arrow::BinaryBuilder*>(builder)->Append(bytes);
    return true;
  }
  if (in_list && base == ValueType::kUnixTimestamp && SkipNullTime(reader)) {
    *status = builder->AppendNull();
    return true;
  }
  uint64_t value = 0;
  if (!ReadFixed(reader, base, &value)) return false;
  switch (base) {
    case ValueType::kDouble:
      *status = static_cast<arrow::DoubleBuilder*>(builder)->Append(std::bit_cast<double>(value));
      break;
    case ValueType::kFloat:
      *status = static_cast<arrow::FloatBuilder*>(builder)->Append(
          std::bit_cast<float>(static_cast<uint32_t>(value)));
      break;
    case ValueType::kBool:
      *status = static_cast<arrow::BooleanBuilder*>(builder)->Append(value != 0);
      break;
    case ValueType::kInt32:
      *status = static_cast<arrow::Int32Builder*>(builder)->Append(static_cast<int32_t>(value));
      break;
    case ValueType::kInt64:
      *status = static_cast<arrow::Int64Builder*>(builder)->Append(static_cast<int64_t>(value));
      break;
    default:
      *status = static_cast<arrow::TimestampBuilder*>(builder)->Append(static_cast<int64_t>(value));
  }
  return true;
}

Status ReadList(std::string_view bytes, ValueType::Base base, arrow::ListBuilder* lists) {
  GNOMON_RETURN_NOT_OK(lists->Append());
  arrow::ArrayBuilder* values = lists->value_builder();
  ProtobufReader reader(bytes);
  Status status;
  while (!reader.done()) {
    uint32_t number = 0;
    Wire wire{};
    if (!reader.Tag(&number, &wire) || number != kListValues) return NoValue();
    if (wire == WireOf(base)) {
      if (!ReadBare(&reader, base, values, true, &status)) return NoValue();
      GNOMON_RETURN_NOT_OK(status);
      continue;
    }
    std::string_view packed;
    if (wire != Wire::kBytes || !reader.Bytes(&packed)) return NoValue();
    ProtobufReader inner(packed);
    while (!inner.done()) {
      if (!ReadBare(&inner, base, values, true, &status)) return NoValue();
      GNOMON_RETURN_NOT_OK(status);
    }
  }
  return Status::OK();
}

/// The member of Value's `val` that the bytes hold: the last one, as protobuf says.
struct Member {
  uint32_t number = 0;  ///< 0: none
  Wire wire = Wire::kVarint;
  std::string_view from;  ///< the bytes behind the tag
};

Result<Member> FindMember(std::string_view bytes) {
  Member member;
  ProtobufReader reader(bytes);
  while (!reader.done()) {
    Member next;
    if (!reader.Tag(&next.number, &next.wire)) return NoValue();
    next.from = reader.rest();
    if (!reader.Skip(next.wire)) return NoValue();
    member = next;
  }
  return member;
}

bool IsMemberOf(uint32_t number, ValueType type) {
  const auto scalar = static_cast<uint32_t>(type.base);
  if (!type.list) return number == scalar;
  return number == scalar + kFirstListNumber - 1 || number == scalar + kFirstSetNumber - 1;
}

/// The wire type that a member of Value must have; of those that we do not read any will do.
bool HasItsWire(const Member& member) {
  const auto number = static_cast<int>(member.number);
  if (number <= ValueType::kUnixTimestamp)
    return member.wire == WireOf(static_cast<ValueType::Base>(number));
  if ((number >= kFirstListNumber && number <= kLastListNumber) ||
      (number >= kFirstSetNumber && number <= kLastSetNumber))
    return member.wire == Wire::kBytes;
  return true;
}

/// Where the bytes have a value of the type.
struct Found {
  FeastValueState state = FeastValueState::kNull;
  std::string_view from;  ///< the bytes behind its tag
};

Result<Found> FindValue(std::string_view bytes, ValueType type) {
  GNOMON_ASSIGN_OR_RETURN(const Member member, FindMember(bytes));
  if (member.number == 0 || member.number == kNullNumber) return Found{};
  if (!HasItsWire(member)) return NoValue();
  if (!IsMemberOf(member.number, type))
    return Found{.state = FeastValueState::kOtherType, .from = {}};
  return Found{.state = FeastValueState::kValue, .from = member.from};
}

}  // namespace

Result<ValueType> FeastTypeOf(const arrow::DataType& type) {
  const auto nearest = ValueType::FromArrow(type);
  if (nearest.ok() && nearest->ToArrow()->Equals(type)) return nearest;
  return MakeError(ErrorKind::kUnsupported,
                   Concat("Feast's layout cannot hold values of type ", type.ToString()), {},
                   "it has Int32, Int64, Float32, Float64, String, Bool, Bytes, UnixTimestamp and "
                   "Array(...) of them; layout: packed has more");
}

Status AppendFeastValue(const arrow::Array& column, ValueType type, int64_t row, std::string* out) {
  if (column.IsNull(row)) return Status::OK();
  if (!type.list) {
    AppendTag(static_cast<uint32_t>(type.base), WireOf(type.base), out);
    return AppendBare(column, type.base, row, out);
  }
  std::string list;
  GNOMON_RETURN_NOT_OK(
      AppendList(static_cast<const arrow::ListArray&>(column), type.base, row, &list));
  AppendTag(static_cast<uint32_t>(type.FeastNumber()), Wire::kBytes, out);
  AppendVarint(list.size(), out);
  out->append(list);
  return Status::OK();
}

Result<FeastValueState> ReadFeastValue(std::string_view bytes, ValueType type,
                                       arrow::ArrayBuilder* builder) {
  GNOMON_ASSIGN_OR_RETURN(const Found found, FindValue(bytes, type));
  if (found.state != FeastValueState::kValue) {
    GNOMON_RETURN_NOT_OK(builder->AppendNull());
    return found.state;
  }
  ProtobufReader reader(found.from);
  if (!type.list) {
    Status status;
    if (!ReadBare(&reader, type.base, builder, false, &status)) return NoValue();
    GNOMON_RETURN_NOT_OK(status);
    return FeastValueState::kValue;
  }
  std::string_view list;
  if (!reader.Bytes(&list)) return NoValue();
  GNOMON_RETURN_NOT_OK(ReadList(list, type.base, static_cast<arrow::ListBuilder*>(builder)));
  return FeastValueState::kValue;
}

Result<FeastValueState> ReadFeastValue(std::string_view bytes, ValueType type, size_t column,
                                       table::RowColumns* columns) {
  if (columns->builder(column) != nullptr)
    return ReadFeastValue(bytes, type, columns->builder(column));
  GNOMON_ASSIGN_OR_RETURN(const Found found, FindValue(bytes, type));
  if (found.state != FeastValueState::kValue) {
    GNOMON_RETURN_NOT_OK(columns->SetNull(column));
    return found.state;
  }
  ProtobufReader reader(found.from);
  uint64_t value = 0;
  if (!ReadFixed(&reader, type.base, &value)) return NoValue();
  columns->SetFixed(column, reinterpret_cast<const char*>(&value));  // little-endian, as Arrow
  return FeastValueState::kValue;
}

std::string PythonText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 32> text{};
  // The shortest digits that read back: d.ddde[+-]xx.
  const char* end =
      std::to_chars(text.begin(), text.end(), value, std::chars_format::scientific).ptr;
  const std::string_view shortest(text.data(), static_cast<size_t>(end - text.data()));
  const size_t mark = shortest.find('e');
  int exponent = 0;
  std::from_chars(shortest.data() + mark + (shortest[mark + 1] == '+' ? 2 : 1), end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  end = std::to_chars(text.begin(), text.end(), value, std::chars_format::fixed).ptr;
  std::string plain(text.data(), static_cast<size_t>(end - text.data()));
  if (plain.find('.') == std::string::npos) plain += ".0";
  return plain;
}

bool AppendFeastText(const arrow::Array& column, ValueType type, int64_t row, std::string* out) {
  if (type.list || column.IsNull(row)) return false;
  switch (type.base) {
    case ValueType::kString:
      out->append(static_cast<const arrow::StringArray&>(column).GetView(row));
      return true;
    case ValueType::kInt32:
    case ValueType::kInt64: {
      std::array<char, 24> text{};
      const auto value = static_cast<int64_t>(VarintAt(column, type.base, row));
      const char* end = std::to_chars(text.begin(), text.end(), value).ptr;
      out->append(text.data(), static_cast<size_t>(end - text.data()));
      return true;
    }
    case ValueType::kDouble:
      out->append(PythonText(static_cast<const arrow::DoubleArray&>(column).Value(row)));
      return true;
    case ValueType::kFloat:
      out->append(PythonText(double{static_cast<const arrow::FloatArray&>(column).Value(row)}));
      return true;
    case ValueType::kBool:
      out->append(static_cast<const arrow::BooleanArray&>(column).Value(row) ? "True" : "False");
      return true;
    default:
      return false;
  }
}

}  // namespace gnomon::feature
