#include <cstring>
#include <string_view>

#include <arrow/type.h>

#include "plugin/type_internal.h"

namespace gnomon::plugin {

namespace {

ErrorKind KindOfCode(int32_t kind) {
  switch (kind) {
    case GNOMON_ERROR_USER:
      return ErrorKind::kUser;
    case GNOMON_ERROR_NOT_FOUND:
      return ErrorKind::kNotFound;
    case GNOMON_ERROR_EXHAUSTED:
      return ErrorKind::kExhausted;
    case GNOMON_ERROR_UNAVAILABLE:
      return ErrorKind::kUnavailable;
    case GNOMON_ERROR_UNSUPPORTED:
      return ErrorKind::kUnsupported;
    default:
      return ErrorKind::kInternal;
  }
}

}  // namespace

std::shared_ptr<arrow::DataType> TypeOfFormat(const char* format) {
  if (format == nullptr) return nullptr;
  const std::string_view text = format;
  if (text == "tsu:UTC") return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  if (text == "tdD") return arrow::date32();
  if (text == "tDu") return arrow::duration(arrow::TimeUnit::MICRO);
  return AggregateTypeOfFormat(format);
}

std::shared_ptr<arrow::DataType> AggregateTypeOfFormat(const char* format) {
  if (format == nullptr) return nullptr;
  const std::string_view text = format;
  if (text == "b") return arrow::boolean();
  if (text == "l") return arrow::int64();
  if (text == "g") return arrow::float64();
  if (text == "u") return arrow::utf8();
  return nullptr;
}

std::string NameOfType(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::DOUBLE:
      return "float64";
    case arrow::Type::TIMESTAMP:
      return "timestamp";
    case arrow::Type::DATE32:
      return "date";
    case arrow::Type::DURATION:
      return "duration";
    default:
      return type.ToString();
  }
}

bool SameOverload(const Function& a, const Function& b) {
  return a.name() == b.name() &&
         std::equal(a.parameters().begin(), a.parameters().end(), b.parameters().begin(),
                    b.parameters().end(),
                    [](const auto& x, const auto& y) { return x->Equals(*y); });
}

Status StatusOf(const GnomonError& error) {
  const std::string message(error.message, ::strnlen(error.message, sizeof(error.message)));
  Location location;
  location.row = error.row;
  return MakeError(KindOfCode(error.kind), message.empty() ? "an error without words" : message,
                   std::move(location));
}

}  // namespace gnomon::plugin
