#pragma once

#include <cstdint>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::feature {

/// Event and created times of rows in one unit: the finer of both columns' units. When the event
/// times do not fit that, the created times are rounded down to theirs instead.
struct EventTimes {
  int64_t unit_nanos = 1000;
  std::vector<int64_t> times;
  std::vector<int64_t> created;  ///< empty without a created column; INT64_MIN for a null
};

/// `times` has no nulls; `created` may be null.
Result<EventTimes> EventTimesOf(const arrow::Array& times, const arrow::Array* created);

}  // namespace gnomon::feature
