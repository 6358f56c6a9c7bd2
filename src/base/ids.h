#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace gnomon {

/// 32 lower-case hexadecimal digits, as MLflow's run ids.
struct RunId {
  std::string value;
  static RunId Random();
  auto operator<=>(const RunId&) const = default;
};

/// A UUIDv7 (RFC 9562): sorts by creation time.
struct JobId {
  std::string value;
  static JobId Make(int64_t now_micros);
  auto operator<=>(const JobId&) const = default;
};

/// A random UUIDv4 in text.
std::string RandomUuid();

/// A 64-bit hash of bytes (wyhash family). Not stable across versions: never store it.
uint64_t HashBytes(std::string_view bytes, uint64_t seed = 0);
/// SHA-256 in lower-case hex, for fingerprints that are stored.
std::string Sha256Hex(std::string_view bytes);

}  // namespace gnomon
