#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace gnomon::pit {

/// The quantile of values in ascending order, NaN last, by linear interpolation: `value(i)` is the
/// i-th of 0 .. last. Any NaN gives NaN.
template <typename Index, typename Value>
double InterpolateQuantile(double quantile, Index last, const Value& value) {
  if (std::isnan(value(last))) return std::numeric_limits<double>::quiet_NaN();
  const double place = quantile * static_cast<double>(last);
  const auto below = static_cast<Index>(place);
  const double part = place - static_cast<double>(below);
  const double low = value(below);
  if (part == 0) return low;
  const double high = value(below + 1);
  return low == high ? low : std::lerp(low, high, part);
}

}  // namespace gnomon::pit
