#pragma once

#include <cstdint>

#include <arrow/type_fwd.h>

/// What rows take in memory, before there are any: for sizes of blocks and row groups, and for what
/// is taken from a memory budget beforehand.
namespace gnomon::table {

/// For a value of a type without a width in bytes of its own, such as a text or a list.
inline constexpr int64_t kGuessedValueBytes = 64;

int64_t GuessValueBytes(const arrow::DataType& type);
/// The sum over the columns, at least 1.
int64_t GuessRowBytes(const arrow::Schema& schema);

}  // namespace gnomon::table
