#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <arrow/type_fwd.h>

namespace gnomon::dataset {

/// Rows whose times lie between bounds. Bounds and times are compared as instants, whatever the
/// columns' units are (expressions know microseconds only). Columns: the input's, then `name`.
/// Order: the input's.
struct TimeRangeSpec {
  std::string time = {};              ///< timestamps or dates; rows without one are left out
  std::optional<int64_t> first = {};  ///< microseconds, inclusive
  std::optional<int64_t> last = {};
  std::string created = {};  ///< a time column; empty: none
  /// Rows created after this instant (microseconds) are left out; those that do not tell stay.
  std::optional<int64_t> created_before = {};
  /// What a column is called that holds `time` in UTC and in `unit`, rounded down, or the least or
  /// the greatest of that unit where it cannot hold it. Empty: no such column.
  std::string name = {};
  arrow::TimeUnit::type unit = arrow::TimeUnit::MICRO;
};

}  // namespace gnomon::dataset
