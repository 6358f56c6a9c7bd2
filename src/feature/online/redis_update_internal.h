#pragma once

#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "feature/online/redis_rows_internal.h"

namespace gnomon::feature::internal {

/// Rows that are read, changed and written back while others may do the same: OnlineStore::Update.
/// On one server all of them at once; where keys are kept apart one by one, each only while it is
/// what was read, so that no change of others is lost or made twice. Not thread-safe.
class RedisUpdate {
 public:
  using Change = std::function<Result<OnlineRows>(const OnlineValues&)>;
  /// Borrows `read` and `change`.
  RedisUpdate(const LayoutOptions& layout, int64_t key_ttl_seconds, const OnlineRead& read,
              const Change& change)
      : layout_(layout), key_ttl_seconds_(key_ttl_seconds), read_(read), change_(change) {}

  /// False when rows were changed by others meanwhile: try again.
  Result<bool> Try(const Context& context, const RedisTable& table, RedisClient* client);

 private:
  Result<bool> TryTogether(const Context& context, const RedisTable& table, RedisClient* client);
  Result<bool> TryEach(const Context& context, const RedisTable& table, RedisClient* client);
  Status WriteSecondKeys(const Context& context, const RedisRowWriter& rows,
                         const std::vector<size_t>& written, RedisClient* client);
  Result<RedisRowWriter> Changed(const Context& context, const RedisTable& table,
                                 RedisClient* client) const;
  std::vector<std::string> Keys(const RedisTable& table) const;

  const LayoutOptions layout_;
  const int64_t key_ttl_seconds_;
  const OnlineRead& read_;
  const Change& change_;
  std::unordered_set<std::string> done_;  ///< keys whose row was written by an earlier attempt
};

}  // namespace gnomon::feature::internal
