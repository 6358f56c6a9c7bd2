#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/mutex.h"
#include "feature/online/redis_connection_internal.h"

/// Which server of a Redis cluster has which keys.
namespace gnomon::feature::internal {

inline constexpr int kRedisSlots = 16384;

/// The slot of a key: CRC16 of it, or of what is in its first pair of braces unless that is empty.
int RedisSlotOf(std::string_view key);

struct RedisAddress {
  std::string host;
  int port = 0;
  auto operator<=>(const RedisAddress&) const = default;
  std::string ToString() const;
};

/// Immutable.
class RedisSlots {
 public:
  /// The answer to CLUSTER SLOTS of the server at `asked`, which may leave its own name out.
  static Result<RedisSlots> Parse(const RedisReply& reply, const RedisAddress& asked);

  const std::vector<RedisAddress>& masters() const { return masters_; }
  /// Null for a slot that nobody has.
  const RedisAddress* MasterOf(int slot) const;

 private:
  std::vector<RedisAddress> masters_;
  std::array<int16_t, kRedisSlots> master_of_;  // -1: nobody
};

/// What is known of a cluster, shared by all connections of a store. Thread-safe.
class RedisCluster {
 public:
  /// `options`: all but host and port hold for every server.
  RedisCluster(RedisOptions options, std::vector<RedisAddress> servers);

  /// Whose keys are where, as told last; asks the servers in turn when nothing is known.
  Result<std::shared_ptr<const RedisSlots>> Slots(const Context& context, double connect_seconds);
  /// Asks again, over a connection that has nothing pending.
  Result<std::shared_ptr<const RedisSlots>> Ask(const Context& context, const RedisAddress& address,
                                                RedisConnection* connection);
  /// What was told last may no longer be so.
  void Forget();

  Result<std::unique_ptr<RedisConnection>> Connect(const Context& context,
                                                   const RedisAddress& address,
                                                   double connect_seconds) const;
  /// The servers of the configuration.
  const std::string& place() const { return place_; }

 private:
  std::vector<RedisAddress> Known();

  const RedisOptions options_;
  const std::vector<RedisAddress> servers_;
  const std::string place_;
  Mutex mutex_;
  std::shared_ptr<const RedisSlots> slots_ GNOMON_GUARDED_BY(mutex_);
  bool is_current_ GNOMON_GUARDED_BY(mutex_) = false;
};

}  // namespace gnomon::feature::internal
