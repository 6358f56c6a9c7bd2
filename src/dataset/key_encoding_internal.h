#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// Keys as byte strings: the bytes of two keys compare (memcmp) as the keys do, and are equal when
/// the keys are. One encoding serves sorting, grouping, joining and partitioning.
///
///   a column      marker (nulls first 0, a value 1, nulls last 2), then the value, its bytes
///                 inverted when the order is descending
///   integers      1 byte: 0 negative, 1 not; 8 bytes big-endian (so that widths and signs compare)
///   times         seconds and nanoseconds, 8 + 4 bytes big-endian (so that units compare)
///   floats        8 bytes of the double, -0.0 as 0.0, every NaN as one above all
///   texts         bytes with 00 written 00 FF, then 00 00
///   lists         01 and the element's column encoding, each; then 00
///   structs       the fields' column encodings
namespace gnomon::dataset::internal {

enum class KeyUse { kOrder, kJoin };

/// kUser for a type that cannot be a key: maps, unions and so on; floats too for kJoin.
Status CheckKeyType(const arrow::DataType& type, KeyUse use);

/// May values of the two types be compared as keys of a join? kUser when not.
Status CheckComparable(const arrow::DataType& left, const arrow::DataType& right);

struct KeyOrder {
  bool descending = false;
  bool nulls_first = false;
};

/// The keys of some rows. Immutable once made.
class EncodedKeys {
 public:
  int64_t size() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  std::string_view operator[](int64_t row) const {
    const size_t begin = offsets_[static_cast<size_t>(row)];
    return {bytes_.data() + begin, offsets_[static_cast<size_t>(row) + 1] - begin};
  }
  /// Is a column of the key null?
  bool HasNull(int64_t row) const { return has_null_[static_cast<size_t>(row)] != 0; }
  /// Memory in bytes.
  int64_t ByteSize() const {
    return static_cast<int64_t>(bytes_.size() + offsets_.size() * (sizeof(size_t) + 1));
  }

 private:
  friend class KeyEncoder;
  std::string bytes_;
  std::vector<size_t> offsets_ = {0};
  std::vector<uint8_t> has_null_;
};

/// Encodes some columns of batches of one schema. Immutable, thread-safe.
class KeyEncoder {
 public:
  KeyEncoder() = default;
  /// `columns`: places in the schema; `orders` as many, or none for ascending with nulls last.
  /// REQUIRES: CheckKeyType is OK for each.
  explicit KeyEncoder(std::vector<int> columns, std::vector<KeyOrder> orders = {});

  Result<EncodedKeys> Encode(const arrow::RecordBatch& batch) const;

 private:
  std::vector<int> columns_;
  std::vector<KeyOrder> orders_;
};

}  // namespace gnomon::dataset::internal
