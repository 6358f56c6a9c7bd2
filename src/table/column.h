#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// Small, exact operations on Arrow columns that several modules need.
namespace gnomon::table {

/// The column as one chunk.
Result<std::shared_ptr<arrow::Array>> SingleChunk(const arrow::ChunkedArray& column);

/// The table as one record batch (one chunk per column).
Result<std::shared_ptr<arrow::RecordBatch>> SingleBatch(const arrow::Table& table);

/// Is the type a timestamp or a date?
bool IsTime(const arrow::DataType& type);

/// Times as microseconds UTC since the epoch, for date32, date64 and timestamps of any unit and
/// zone. Nanoseconds are floored. A value that microseconds cannot hold is kUser naming the row.
/// Nulls give 0: look at the validity.
Result<std::vector<int64_t>> TimesAsMicros(const arrow::Array& times);

/// The unit of a time type in nanoseconds: date32 86'400e9, seconds 1e9, ..., nanoseconds 1.
int64_t UnitNanos(const arrow::DataType& type);

/// Raw int64 values of a time column in its own unit (date32 widened); nulls give 0.
Result<std::vector<int64_t>> RawTimes(const arrow::Array& times);

/// `micros` in the unit of `type`, rounded down (floor) or up (ceil), saturated to int64.
int64_t MicrosToUnitFloor(int64_t micros, const arrow::DataType& type);
int64_t MicrosToUnitCeil(int64_t micros, const arrow::DataType& type);

/// Rows at `indices`; an index below 0 gives null. Chunks are not merged first; the result is one
/// array. Every type that Arrow has, nested ones too.
Result<std::shared_ptr<arrow::Array>> Gather(const arrow::ChunkedArray& column,
                                             std::span<const int64_t> indices);

/// A cast that never loses a value: int widening, int64 -> double only when every value is exact,
/// string <-> large_string, units of time upwards, dictionary decoding. kUser otherwise, naming the
/// first row that does not fit.
Result<std::shared_ptr<arrow::Array>> CastLossless(const std::shared_ptr<arrow::Array>& array,
                                                   const std::shared_ptr<arrow::DataType>& type);

/// A fingerprint of the values (sha256 hex) that does not depend on chunking, offsets or bytes
/// under nulls.
Result<std::string> Fingerprint(const arrow::Table& table);

}  // namespace gnomon::table
