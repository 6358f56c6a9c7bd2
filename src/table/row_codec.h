#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "table/row_columns.h"

/// The packed row: all values of one row of a schema as one string of bytes.
/// docs/formats/packed_row.md draws it.
namespace gnomon::table {

/// A list of a packed row where it lies. Borrows the row.
struct PackedList {
  int64_t count = 0;
  std::string_view nulls;   ///< a bit per value, 1: null
  std::string_view values;  ///< all that follows
};

/// Encodes and decodes rows of a fixed schema. Types: bool, int8..int64, uint8..uint64, float,
/// double, string, binary (and large ones), timestamps, dates, decimal128, and lists of those (one
/// level). Immutable, thread-safe.
///
///   byte 0        format version (1)
///   bytes 1..     null bitmap, ceil(n/8) bytes, bit i = 1 when field i is null
///   then          fixed-width fields in schema order, little-endian, zero when null
///   then          for each variable-width field in order, u32 length in bytes and the bytes;
///                 a list is u32 count, then a null bitmap of ceil(count/8) bytes and the values
class RowCodec {
 public:
  static Result<RowCodec> Make(std::shared_ptr<arrow::Schema> schema);

  const std::shared_ptr<arrow::Schema>& schema() const;

  /// Appends row `row` of `batch` (which has this schema) to `out`.
  Status Encode(const arrow::RecordBatch& batch, int64_t row, std::string* out) const;

  /// Appends a row with the values of the fields `fields` (indices into the schema, -1: null) to
  /// `columns`, one each, made for the fields' types. kDataLoss for truncated bytes or an unknown
  /// version; the columns are then left with the row half appended.
  Status Decode(std::string_view bytes, std::span<const int> fields, RowColumns* columns) const;

  /// Lists of a row without decoding them, one for each of `fields` (-1: null); absent: null.
  /// REQUIRES: list columns. kDataLoss as Decode.
  Status FindLists(std::string_view bytes, std::span<const int> fields,
                   std::span<std::optional<PackedList>> lists) const;

  /// Appends a value of a list by its bytes in PackedList::values (a text without its length).
  static Status AppendValue(const arrow::DataType& type, std::string_view bytes,
                            arrow::ArrayBuilder* builder);

 private:
  struct Impl;
  explicit RowCodec(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace gnomon::table
