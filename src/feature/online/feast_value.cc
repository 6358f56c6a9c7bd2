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
      if (base == ValueType::kString && !arrow::util::ValidateUTF8(bytes))
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

/// One value of the type, from the wire to the builder.
bool ReadBare(ProtobufReader* reader, ValueType::Base base, arrow::ArrayBuilder* builder,
              bool in_list, Status* status) {
  uint64_t number = 0;
  std::string_view bytes;
  switch (base) {
    case ValueType::kBytes:
    case ValueType::kString:
      if (!reader->Bytes(&bytes)) return false;
      if (base == ValueType::kString && !arrow::util::ValidateUTF8(bytes)) return false;
      *status = static_cast<arrow::BinaryBuilder*>(builder)->Append(bytes);
      return true;
    case ValueType::kDouble: {
      if (!reader->Fixed(&number)) return false;
      *status = static_cast<arrow::DoubleBuilder*>(builder)->Append(std::bit_cast<double>(number));
      return true;
    }
    case ValueType::kFloat: {
      uint32_t narrow = 0;
      if (!reader->Fixed(&narrow)) return false;
      *status = static_cast<arrow::FloatBuilder*>(builder)->Append(std::bit_cast<float>(narrow));
      return true;
    }
    case ValueType::kBool:
      if (!reader->Varint(&number)) return false;
      *status = static_cast<arrow::BooleanBuilder*>(builder)->Append(number != 0);
      return true;
    case ValueType::kInt32:
      if (!reader->Varint(&number)) return false;
      *status = static_cast<arrow::Int32Builder*>(builder)->Append(static_cast<int32_t>(number));
      return true;
    case ValueType::kInt64:
      if (!reader->Varint(&number)) return false;
      *status = static_cast<arrow::Int64Builder*>(builder)->Append(static_cast<int64_t>(number));
      return true;
    default: {
      if (!reader->Varint(&number)) return false;
      const auto seconds = static_cast<int64_t>(number);
      int64_t micros = 0;
      auto* times = static_cast<arrow::TimestampBuilder*>(builder);
      if (in_list && seconds == std::numeric_limits<int64_t>::min()) {
        *status = times->AppendNull();
      } else if (__builtin_mul_overflow(seconds, kMicrosPerSecond, &micros)) {
        return false;
      } else {
        *status = times->Append(micros);
      }
      return true;
    }
  }
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
  GNOMON_ASSIGN_OR_RETURN(const Member member, FindMember(bytes));
  if (member.number == 0 || member.number == kNullNumber) {
    GNOMON_RETURN_NOT_OK(builder->AppendNull());
    return FeastValueState::kNull;
  }
  if (!HasItsWire(member)) return NoValue();
  if (!IsMemberOf(member.number, type)) {
    GNOMON_RETURN_NOT_OK(builder->AppendNull());
    return FeastValueState::kOtherType;
  }
  ProtobufReader reader(member.from);
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
