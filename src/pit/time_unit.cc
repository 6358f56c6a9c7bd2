#include "pit/time_unit.h"

#include <algorithm>

namespace gnomon::pit {
namespace {

int64_t Saturate(Nanos value) {
  return static_cast<int64_t>(std::clamp<Nanos>(value, INT64_MIN, INT64_MAX));
}

}  // namespace

int64_t FloorToUnit(Nanos nanos, int64_t unit_nanos) {
  const Nanos quotient = nanos / unit_nanos;
  return Saturate(nanos % unit_nanos < 0 ? quotient - 1 : quotient);
}

int64_t CeilToUnit(Nanos nanos, int64_t unit_nanos) {
  const Nanos quotient = nanos / unit_nanos;
  return Saturate(nanos % unit_nanos > 0 ? quotient + 1 : quotient);
}

bool RefineUnit(std::vector<int64_t>* values, int64_t from_nanos, int64_t to_nanos) {
  const int64_t factor = from_nanos / to_nanos;
  if (factor == 1) return true;
  for (int64_t value : *values) {
    if (value != INT64_MIN && (value > INT64_MAX / factor || value < INT64_MIN / factor))
      return false;
  }
  for (int64_t& value : *values) {
    if (value != INT64_MIN) value *= factor;
  }
  return true;
}

}  // namespace gnomon::pit
