#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// Hive's way to write column values into folder names: `day=2024-01-05/store=7/`. Letters that
/// have a meaning in paths are written %XX; a null is __HIVE_DEFAULT_PARTITION__.
namespace gnomon::table {

struct PartitionValue {
  std::string name;
  std::optional<std::string> value;  ///< absent: null
};
using PartitionPath = std::vector<PartitionValue>;

/// The partitions in the folders of a path; its last part, the file, is not looked at.
PartitionPath ParsePartitionPath(std::string_view path);

/// "name=value".
std::string FormatPartition(const PartitionValue& partition);

/// A canonical decimal integer: "007" and "+7" are texts.
std::optional<int64_t> ParsePartitionInteger(std::string_view text);

/// `rows` times the value as a column of the type: int64 (kDataLoss for a text that is none) or
/// utf8.
Result<std::shared_ptr<arrow::Array>> PartitionColumn(const std::optional<std::string>& value,
                                                      const std::shared_ptr<arrow::DataType>& type,
                                                      int64_t rows);

}  // namespace gnomon::table
