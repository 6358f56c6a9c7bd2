#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "pit/superaccumulator.h"

namespace gnomon::pit {

/// How a column's values are compared: all but strings become int64 keys whose order is that of the
/// values.
enum class KeyKind {
  kNone,      ///< values cannot be compared: only count, first, last and last_k take them
  kSigned,    ///< integers, booleans, dates, times: the value
  kUnsigned,  ///< uint64: the value with its highest bit flipped
  kReal,      ///< float, double: the bits, ordered; -0.0 as +0.0, every NaN as kNanKey
  kString,
};

KeyKind KeyKindOf(const arrow::DataType& type);
/// Integers, booleans, float and double.
bool IsNumeric(const arrow::DataType& type);

inline constexpr int64_t kNanKey = std::numeric_limits<int64_t>::max();
inline constexpr uint64_t kHighestBit = uint64_t{1} << 63;

inline int64_t KeyOfReal(double value) {
  if (std::isnan(value)) return kNanKey;
  const auto bits = std::bit_cast<int64_t>(value + 0.0);
  return bits < 0 ? bits ^ std::numeric_limits<int64_t>::max() : bits;
}
inline double RealOfKey(int64_t key) {
  return std::bit_cast<double>(key < 0 ? key ^ std::numeric_limits<int64_t>::max() : key);
}
inline Int128 WholeOfKey(KeyKind kind, int64_t key) {
  if (kind == KeyKind::kUnsigned)
    return static_cast<Int128>(static_cast<uint64_t>(key) ^ kHighestBit);
  return key;
}
inline double NumberOfKey(KeyKind kind, int64_t key) {
  return kind == KeyKind::kReal ? RealOfKey(key) : static_cast<double>(WholeOfKey(kind, key));
}

/// One column of event values.
class ValueColumn {
 public:
  explicit ValueColumn(std::shared_ptr<arrow::Array> values);

  KeyKind kind() const { return kind_; }
  const std::shared_ptr<arrow::Array>& values() const { return values_; }
  bool IsValid(uint32_t row) const;
  /// false: IsValid is true of every row.
  bool may_have_nulls() const { return may_have_nulls_; }

  /// The keys of rows without nulls; the string form borrows from the column.
  void AppendKeys(std::span<const uint32_t> rows, std::vector<int64_t>* keys) const;
  void AppendStrings(std::span<const uint32_t> rows, std::vector<std::string_view>* strings) const;

  /// The values with every zero +0.0 and every NaN the same.
  Result<std::shared_ptr<arrow::Array>> MakeCanonical() const;

 private:
  std::shared_ptr<arrow::Array> values_;
  KeyKind kind_;
  bool may_have_nulls_;
};

}  // namespace gnomon::pit
