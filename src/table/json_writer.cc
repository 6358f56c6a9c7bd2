#include <array>
#include <charconv>
#include <cmath>

#include <arrow/array.h>
#include <arrow/io/interfaces.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "base/time.h"
#include "table/column.h"
#include "table/file_internal.h"

namespace gnomon::table::internal {

namespace {

using arrow::internal::checked_cast;

constexpr size_t kFlushBytes = 1 << 20;

void AppendText(std::string_view text, std::string* out) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (byte < 0x20) {
      out->append("\\u00").append(1, kHexDigits[byte >> 4]).append(1, kHexDigits[byte & 15]);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

/// The shortest text that reads back as the same number; always with a point or an exponent, else
/// it would read back as an integer.
template <typename Float>
Status AppendFloat(Float value, std::string* out) {
  if (!std::isfinite(value))
    return Error(ErrorKind::kUnsupported, "JSON has no number for: ", double{value});
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  const std::string_view digits(text.data(), static_cast<size_t>(end - text.data()));
  out->append(digits);
  if (digits.find_first_of(".e") == std::string_view::npos) out->append(".0");
  return Status::OK();
}

/// RFC 3339; without Z for naive timestamps.
Status AppendTime(const arrow::Array& array, int64_t row, std::string* out) {
  GNOMON_ASSIGN_OR_RETURN(const auto micros, TimesAsMicros(*array.Slice(row, 1)));
  std::string text = FormatTimestamp(micros[0]);
  if (array.type_id() != arrow::Type::TIMESTAMP) {
    AppendText(text.substr(0, text.find('T')), out);
    return Status::OK();
  }
  if (text.ends_with('Z')) text.pop_back();
  const auto& type = checked_cast<const arrow::TimestampType&>(*array.type());
  if (type.unit() == arrow::TimeUnit::NANO) {
    const int64_t nanos =
        checked_cast<const arrow::TimestampArray&>(array).Value(row) - micros[0] * 1'000;
    if (nanos != 0) {
      if (text.find('.') == std::string::npos) text.append(".000000");
      text.append(std::to_string(1'000 + nanos).substr(1));
    }
  }
  if (!type.timezone().empty()) text.push_back('Z');
  AppendText(text, out);
  return Status::OK();
}

Status AppendValue(const arrow::Array& array, int64_t row, std::string* out);

Status AppendList(const arrow::Array& values, int64_t begin, int64_t count, std::string* out) {
  out->push_back('[');
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) out->push_back(',');
    GNOMON_RETURN_NOT_OK(AppendValue(values, begin + i, out));
  }
  out->push_back(']');
  return Status::OK();
}

Status AppendStruct(const arrow::StructArray& array, int64_t row, std::string* out) {
  out->push_back('{');
  for (int i = 0; i < array.num_fields(); ++i) {
    if (i > 0) out->push_back(',');
    AppendText(array.type()->field(i)->name(), out);
    out->push_back(':');
    GNOMON_RETURN_NOT_OK(AppendValue(*array.field(i), row, out));
  }
  out->push_back('}');
  return Status::OK();
}

template <typename ArrayType>
Status AppendInteger(const arrow::Array& array, int64_t row, std::string* out) {
  out->append(std::to_string(checked_cast<const ArrayType&>(array).Value(row)));
  return Status::OK();
}

Status AppendValue(const arrow::Array& array, int64_t row, std::string* out) {
  if (array.IsNull(row)) {
    out->append("null");
    return Status::OK();
  }
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      out->append(checked_cast<const arrow::BooleanArray&>(array).Value(row) ? "true" : "false");
      return Status::OK();
    case arrow::Type::INT8:
      return AppendInteger<arrow::Int8Array>(array, row, out);
    case arrow::Type::INT16:
      return AppendInteger<arrow::Int16Array>(array, row, out);
    case arrow::Type::INT32:
      return AppendInteger<arrow::Int32Array>(array, row, out);
    case arrow::Type::INT64:
      return AppendInteger<arrow::Int64Array>(array, row, out);
    case arrow::Type::UINT8:
      return AppendInteger<arrow::UInt8Array>(array, row, out);
    case arrow::Type::UINT16:
      return AppendInteger<arrow::UInt16Array>(array, row, out);
    case arrow::Type::UINT32:
      return AppendInteger<arrow::UInt32Array>(array, row, out);
    case arrow::Type::UINT64:
      return AppendInteger<arrow::UInt64Array>(array, row, out);
    case arrow::Type::FLOAT:
      return AppendFloat(checked_cast<const arrow::FloatArray&>(array).Value(row), out);
    case arrow::Type::DOUBLE:
      return AppendFloat(checked_cast<const arrow::DoubleArray&>(array).Value(row), out);
    case arrow::Type::STRING:
      AppendText(checked_cast<const arrow::StringArray&>(array).GetView(row), out);
      return Status::OK();
    case arrow::Type::LARGE_STRING:
      AppendText(checked_cast<const arrow::LargeStringArray&>(array).GetView(row), out);
      return Status::OK();
    case arrow::Type::DECIMAL128:
      AppendText(checked_cast<const arrow::Decimal128Array&>(array).FormatValue(row), out);
      return Status::OK();
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
    case arrow::Type::TIMESTAMP:
      return AppendTime(array, row, out);
    case arrow::Type::LIST: {
      const auto& list = checked_cast<const arrow::ListArray&>(array);
      return AppendList(*list.values(), list.value_offset(row), list.value_length(row), out);
    }
    case arrow::Type::LARGE_LIST: {
      const auto& list = checked_cast<const arrow::LargeListArray&>(array);
      return AppendList(*list.values(), list.value_offset(row), list.value_length(row), out);
    }
    case arrow::Type::STRUCT:
      return AppendStruct(checked_cast<const arrow::StructArray&>(array), row, out);
    case arrow::Type::DICTIONARY: {
      const auto& encoded = checked_cast<const arrow::DictionaryArray&>(array);
      return AppendValue(*encoded.dictionary(), encoded.GetValueIndex(row), out);
    }
    default:
      return Error(ErrorKind::kUnsupported,
                   "cannot write a column of this type to JSON: ", array.type()->ToString());
  }
}

class JsonWriter : public FormatWriter {
 public:
  explicit JsonWriter(Sink sink) : sink_(std::move(sink)) {}

  Status Write(const arrow::RecordBatch& batch) override {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, batch.ToStructArray());
    for (int64_t row = 0; row < batch.num_rows(); ++row) {
      const Status status = AppendStruct(*rows, row, &lines_);
      if (!status.ok()) return WithContext(status, Concat("row ", row));
      lines_.push_back('\n');
      if (lines_.size() >= kFlushBytes) GNOMON_RETURN_NOT_OK(Flush());
    }
    return Flush();
  }

  Status Finish() override { return Flush(); }

 private:
  Status Flush() {
    GNOMON_RETURN_NOT_OK(sink_->Write(lines_.data(), static_cast<int64_t>(lines_.size())));
    lines_.clear();
    return Status::OK();
  }

  Sink sink_;
  std::string lines_;
};

}  // namespace

Result<std::unique_ptr<FormatWriter>> MakeJsonWriter(const Sink& sink,
                                                     const std::shared_ptr<arrow::Schema>& schema) {
  std::vector<std::string> names = schema->field_names();
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end()) {
    return Error(ErrorKind::kUser,
                 "two columns of one name cannot be written to JSON: ", Quoted(*twice));
  }
  return std::make_unique<JsonWriter>(sink);
}

}  // namespace gnomon::table::internal
