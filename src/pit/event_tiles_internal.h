#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "pit/value_column_internal.h"

namespace gnomon::pit {

/// TilePart::kMinima and kMaxima: a tile without values.
inline constexpr uint8_t kNoPlace = 0xff;

/// TilePart::kOrder numbers events with 15 bits or with 31; the highest says that a value is not
/// that of the event before.
inline bool IsWideOrder(int64_t num_events) { return num_events > (int64_t{1} << 15); }

/// Which of two values min, or max, prefers.
struct KeyBefore {
  KeyKind kind;
  bool is_min;

  bool operator()(int64_t a, int64_t b) const {
    if (is_min) return a < b;
    // NaN, the greatest key, is the last choice of both.
    const auto rank = [this](int64_t key) {
      return kind == KeyKind::kReal && key == kNanKey ? std::numeric_limits<int64_t>::min() : key;
    };
    return rank(a) > rank(b);
  }
};

struct StringBefore {
  bool is_min;

  bool operator()(std::string_view a, std::string_view b) const { return is_min ? a < b : b < a; }
};

}  // namespace gnomon::pit
