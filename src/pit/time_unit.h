#pragma once

#include <cstdint>
#include <vector>

namespace gnomon::pit {

/// Nanoseconds of any int64 in any unit: 96 bits are needed.
__extension__ typedef __int128 Nanos;

/// Exact moves between units of time (nanoseconds per unit), rounding down or up, saturated to
/// int64: the label's bounds are converted to the feature's unit, never the other way
/// (point-in-time rule 4).
int64_t FloorToUnit(Nanos nanos, int64_t unit_nanos);
int64_t CeilToUnit(Nanos nanos, int64_t unit_nanos);

inline Nanos ToNanos(int64_t value, int64_t unit_nanos) {
  return static_cast<Nanos>(value) * unit_nanos;
}

/// Multiplies up to a finer unit; INT64_MIN, which stands for a null, stays. False (and no change)
/// when a value would not fit.
bool RefineUnit(std::vector<int64_t>* values, int64_t from_nanos, int64_t to_nanos);

}  // namespace gnomon::pit
