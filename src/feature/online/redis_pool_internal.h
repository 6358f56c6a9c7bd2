#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "feature/online/feast_layout_internal.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/redis_connection_internal.h"

namespace gnomon::feature::internal {

/// A connection with what it keeps from one exchange to the next. Not thread-safe.
struct RedisClient {
  std::unique_ptr<RedisConnection> connection;
  std::string packed_script;  ///< SHA-1 of the guarded upserts
  std::string feast_script;
  std::map<int64_t, PackedRows> packed;  ///< by table id
};

/// Connections to one server, opened when they are needed and used again. Thread-safe.
class RedisPool {
 public:
  RedisPool(RedisOptions options, int max_connections);

  /// Runs `body` with a connection that has nothing pending; again with another one after a lost
  /// connection or while the server starts, until the back-off gives up. `body` must be safe to
  /// repeat.
  Status Run(const Context& context, const std::function<Status(RedisClient*)>& body);
  /// Runs it once, whatever happens.
  Status RunOnce(const Context& context, const std::function<Status(RedisClient*)>& body);

  std::string place() const;

 private:
  Result<std::unique_ptr<RedisClient>> Acquire(const Context& context);
  void GiveBack(std::unique_ptr<RedisClient> client, bool reusable);

  const RedisOptions options_;
  const size_t max_connections_;
  Mutex mutex_;
  std::condition_variable_any free_;
  std::vector<std::unique_ptr<RedisClient>> idle_ GNOMON_GUARDED_BY(mutex_);
  size_t in_use_ GNOMON_GUARDED_BY(mutex_) = 0;
  bool connected_before_ GNOMON_GUARDED_BY(mutex_) = false;
};

}  // namespace gnomon::feature::internal
