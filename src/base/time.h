#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

/// Instants are int64 microseconds since 1970-01-01T00:00:00Z unless a unit is named; durations are
/// microseconds.
namespace gnomon {

inline constexpr int64_t kMicrosPerSecond = 1'000'000;
inline constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;

/// Parses RFC 3339 ("2024-01-05T12:30:00Z", "2024-01-05 12:30:00.25+02:00"), a naive timestamp
/// (UTC) or a date (midnight UTC). Up to nine fraction digits; those past microseconds are cut off.
Result<int64_t> ParseTimestamp(std::string_view text);

/// "2024-01-05T12:30:00Z", with six fraction digits when they are not all zero. Years 0001 to 9999,
/// else the number.
std::string FormatTimestamp(int64_t micros);

/// Parses "7d 1h 30min", "15s", "250ms", "0" and Feast's "1H". Units: w d h H min m(=min) s ms us.
/// Each number is a non-negative decimal integer. Overflow is an error.
Result<int64_t> ParseDuration(std::string_view text);

/// "7d 1h 30min"; "0s" for zero.
std::string FormatDuration(int64_t micros);

/// Seconds for people: "1.24 s", "16 ms", "820 us".
std::string FormatSeconds(double seconds);

}  // namespace gnomon
