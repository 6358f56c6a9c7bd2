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
#include "base/outage.h"
#include "feature/online/feast_layout_internal.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/redis_connection_internal.h"
#include "feature/online/redis_slots_internal.h"

namespace gnomon::feature::internal {

/// A connection with what it keeps from one exchange to the next. Not thread-safe.
struct RedisClient {
  std::unique_ptr<RedisCommands> connection;
  std::map<int64_t, PackedRows> packed;  ///< by table id
};

/// Connections to one server or one cluster, opened when they are needed and used again.
/// Thread-safe.
class RedisPool {
 public:
  /// `servers`: some of a cluster; host and port of the options are then not used. Empty: one
  /// server.
  RedisPool(RedisOptions options, std::vector<RedisAddress> servers, int max_connections);

  /// Runs `body` with a connection that has nothing pending; again with another one after a lost
  /// connection or while the server starts, until the back-off gives up. `body` must be safe to
  /// repeat.
  Status Run(const Context& context, const std::function<Status(RedisClient*)>& body);
  /// The same for reads that somebody waits for: all of them share one patience with a server that
  /// does not answer (base/outage.h), so that they do not pile up while it stays away.
  Status Read(const Context& context, const std::function<Status(RedisClient*)>& body);
  /// Runs it once, whatever happens.
  Status RunOnce(const Context& context, const std::function<Status(RedisClient*)>& body);

  std::string place() const;

 private:
  /// How long a connection is waited for.
  struct Patience {
    double checkout_seconds;
    double connect_seconds;
  };
  Patience UsualPatience() const;
  Status RunWithin(const Context& context, const Patience& patience,
                   const std::function<Status(RedisClient*)>& body);
  bool HasConnected();
  Result<std::unique_ptr<RedisClient>> Acquire(const Context& context, const Patience& patience);
  Result<std::unique_ptr<RedisClient>> Connect(const Context& context, double connect_seconds);
  void GiveBack(std::unique_ptr<RedisClient> client, bool reusable);

  const RedisOptions options_;
  const std::shared_ptr<RedisCluster> cluster_;  ///< null: one server
  const size_t max_connections_;
  Outage outage_;
  Mutex mutex_;
  std::condition_variable_any free_;
  std::vector<std::unique_ptr<RedisClient>> idle_ GNOMON_GUARDED_BY(mutex_);
  size_t in_use_ GNOMON_GUARDED_BY(mutex_) = 0;
  bool connected_before_ GNOMON_GUARDED_BY(mutex_) = false;
};

}  // namespace gnomon::feature::internal
