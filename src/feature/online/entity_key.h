#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/types.h"

namespace gnomon::feature {

/// Encodes entity keys as Feast does (entity key serialization version 3,
/// docs/formats/entity_key.md): the join keys sorted by name, then their values in the same order,
/// little-endian. Immutable, thread-safe.
class EntityKeyEncoder {
 public:
  /// Names and types in any order; no names at all give the key of an entity-less view
  /// (`__dummy_id` = "").
  static Result<EntityKeyEncoder> Make(std::vector<std::string> join_keys,
                                       std::vector<ValueType> types, int version = 3);

  /// Appends row `row` of the columns (given in Make's order, any integer width or string type that
  /// holds the value) to `out`. False when a key is null (nothing is appended). kUser when a value
  /// does not fit the declared type.
  Result<bool> Encode(const std::vector<std::shared_ptr<arrow::Array>>& columns, int64_t row,
                      std::string* out) const;

 private:
  EntityKeyEncoder() = default;
  struct Key {
    size_t column;
    std::string name;
    ValueType type;
  };
  std::vector<Key> keys_;  ///< sorted by name
  std::string prefix_;     ///< everything before the values
};

/// A key of version 3 for people: "driver_id = 7, city = 'Bonn'"; its bytes in hex when it is none.
std::string DescribeEntityKey(std::string_view key);

}  // namespace gnomon::feature
