#include "table/partition_path.h"

#include <charconv>

#include <arrow/array/util.h>
#include <arrow/scalar.h>
#include <arrow/type.h>

#include "base/text.h"

namespace gnomon::table {

namespace {

constexpr std::string_view kNull = "__HIVE_DEFAULT_PARTITION__";

bool IsPlain(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 && byte != 0x7f &&
         std::string_view("\"#%'*/:=?\\{}[]^").find(c) == std::string_view::npos;
}

std::string Escape(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string escaped;
  for (const char c : text) {
    if (IsPlain(c)) {
      escaped.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    escaped.push_back('%');
    escaped.push_back(kDigits[byte >> 4]);
    escaped.push_back(kDigits[byte & 15]);
  }
  return escaped;
}

std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* begin = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(begin, begin + 2, value, 16).ptr == begin + 2) {
      plain.push_back(static_cast<char>(value));
      i += 2;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

}  // namespace

PartitionPath ParsePartitionPath(std::string_view path) {
  std::vector<std::string> parts = Split(path, '/');
  parts.pop_back();
  PartitionPath partitions;
  for (const std::string& part : parts) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    const std::string_view value = std::string_view(part).substr(equals + 1);
    partitions.push_back({Unescape(part.substr(0, equals)),
                          value == kNull ? std::nullopt : std::optional(Unescape(value))});
  }
  return partitions;
}

std::string FormatPartition(const PartitionValue& partition) {
  const std::string name = Concat(Escape(partition.name), '=');
  if (!partition.value) return Concat(name, kNull);
  // A text that looks like a null has its first byte escaped.
  if (*partition.value == kNull) return Concat(name, "%5F", kNull.substr(1));
  return Concat(name, Escape(*partition.value));
}

std::optional<int64_t> ParsePartitionInteger(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || parsed != end || std::to_string(value) != text) return std::nullopt;
  return value;
}

Result<std::shared_ptr<arrow::Array>> PartitionColumn(const std::optional<std::string>& value,
                                                      const std::shared_ptr<arrow::DataType>& type,
                                                      int64_t rows) {
  if (!value) return arrow::MakeArrayOfNull(type, rows);
  if (type->id() == arrow::Type::STRING)
    return arrow::MakeArrayFromScalar(arrow::StringScalar(*value), rows);
  const auto number = ParsePartitionInteger(*value);
  if (type->id() != arrow::Type::INT64 || !number) {
    return Error(ErrorKind::kDataLoss, "a partition value is no ", type->ToString(), ": ",
                 Quoted(*value));
  }
  return arrow::MakeArrayFromScalar(arrow::Int64Scalar(*number), rows);
}

}  // namespace gnomon::table
