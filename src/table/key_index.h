#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

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
  /// Looks the keys up without adding.
  Status Find(const std::vector<std::shared_ptr<arrow::Array>>& columns,
              std::span<int32_t> ids) const;

  int64_t size() const;

 private:
  KeyIndex();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::table
