#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "base/memory_reservation.h"

namespace gnomon::table {

/// Dense ids for join keys: equal keys get equal ids 0, 1, 2, ... in order of first insertion.
/// Key columns may be integers of any width and sign (compared by value), strings, binaries,
/// booleans, dates, timestamps (compared as instants) and dictionaries of those; floating point is
/// kUser. A key with a null in any column has the id kNull. Open addressing with prefetch; O(1) a
/// row. Not thread-safe for Insert; Find is const and may run on many threads.
class KeyIndex {
 public:
  static constexpr int32_t kNull = -1;    ///< a null in the key
  static constexpr int32_t kAbsent = -2;  ///< not in the index

  /// `types` of the side that is inserted.
  static Result<KeyIndex> Make(const std::vector<std::shared_ptr<arrow::DataType>>& types);
  KeyIndex(KeyIndex&&) noexcept;
  KeyIndex& operator=(KeyIndex&&) noexcept;
  ~KeyIndex();

  /// Adds the keys of the rows; ids[i] is row i's id. All arrays have ids.size() rows.
  /// kUser when a column's type cannot be compared with the one given to Make.
  Status Insert(const std::vector<std::shared_ptr<arrow::Array>>& columns, std::span<int32_t> ids);
  /// Insert that takes the memory of the index from `memory` beforehand: kExhausted when the budget
  /// refuses, with some of the keys added. The first, small table of an index is free.
  Status Insert(const std::vector<std::shared_ptr<arrow::Array>>& columns, std::span<int32_t> ids,
                MemoryReservation* memory);
  /// Looks the keys up without adding.
  Status Find(const std::vector<std::shared_ptr<arrow::Array>>& columns,
              std::span<int32_t> ids) const;

  /// Cuts rows up by key without keeping any: partitions[i] is in [0, num_partitions), or kNull.
  /// Equal keys fall into one partition, in this build.
  Status Partition(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                   int32_t num_partitions, std::span<int32_t> partitions) const;

  int64_t size() const;
  /// Memory of the index.
  int64_t num_bytes() const;
  /// What inserting these rows may take beside num_bytes(), at most and for a moment, when
  /// `new_keys` of them bring a new key.
  int64_t BytesToInsert(const std::vector<std::shared_ptr<arrow::Array>>& columns,
                        int64_t new_keys) const;

 private:
  KeyIndex();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::table
