#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "sql/postgres_batches.h"

namespace gnomon::sql {

/// What begins every binary COPY: a signature, flags and the length of an extension.
inline constexpr std::string_view kCopySignature{"PGCOPY\n\xff\r\n\0", 11};
inline constexpr size_t kCopyHeaderSize = 19;

/// The element type of an array type; 0 for others.
uint32_t ElementOf(uint32_t type);

/// Appends the binary values of one column to an Arrow builder.
class PostgresColumnDecoder {
 public:
  virtual ~PostgresColumnDecoder() = default;
  virtual Status AppendNull() = 0;
  /// kDataLoss for bytes that are no such value; kUser for a value that has no place.
  virtual Status Append(std::string_view bytes) = 0;
  virtual Result<std::shared_ptr<arrow::Array>> Finish() = 0;
};
/// REQUIRES: ArrowTypeOf(column) succeeds.
Result<std::unique_ptr<PostgresColumnDecoder>> MakeDecoder(const PostgresColumn& column);

/// Appends length and binary value of row `i`, which is not null.
Status EncodeValue(uint32_t type, const arrow::Array& array, int64_t i, std::string* out);

/// numeric in binary: the nearest double.
Result<double> DoubleOfNumeric(std::string_view bytes);
/// The shortest decimal text that reads back to `value`, as a binary numeric.
std::string NumericOfDouble(double value);

}  // namespace gnomon::sql
