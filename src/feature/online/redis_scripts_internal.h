#pragma once

#include <string>

#include "feature/online/redis_connection_internal.h"

namespace gnomon::feature::internal {

/// The names (SHA-1) of the scripts by which rows are written. Each compares times inside the
/// server, so that an older row never replaces a newer one.
struct RedisScripts {
  /// KEYS: of packed rows. ARGV: seconds that a key lives, 0 for ever; a row for each key.
  std::string packed;
  /// KEYS: Feast's hashes. ARGV: seconds that a key lives, the field of the time, the number of
  /// features n, n field names; then for each key seconds and nanoseconds of its time, the time's
  /// bytes, n values.
  std::string feast;
  /// KEYS: one. Answers with a digest of what is there, "" for nothing.
  std::string digest;
  /// The first two for one key and with its digest before their ARGV: nothing is written, and the
  /// answer is nil, when something else is there.
  std::string packed_unchanged;
  std::string feast_unchanged;
};

const RedisScripts& GetRedisScripts();

/// Makes them known to a server.
Status LoadRedisScripts(const Context& context, RedisConnection* connection);

}  // namespace gnomon::feature::internal
