#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/support/redis.h"

namespace gnomon::test {

/// Three masters of a Redis cluster, each with a third of the slots. Stop at the end of the scope.
class RedisCluster {
 public:
  /// `options` hold for each server. Ends the test case when they cannot be started or do not find
  /// each other.
  static RedisCluster Start(const RedisOptions& options = {});
  /// One for all test cases of a program, started at its first use.
  static RedisCluster& Shared();

  std::vector<RedisServer>& servers() { return servers_; }
  /// (host, port) of each.
  std::vector<std::pair<std::string, int>> addresses() const;
  /// "host:port,host:port,host:port", Feast's connection_string.
  std::string connection_string() const;

  /// Removes everything that is stored.
  void FlushAll();
  /// Until every server says that the cluster is well.
  void WaitUntilReady();

 private:
  RedisCluster() = default;
  std::vector<RedisServer> servers_;
};

}  // namespace gnomon::test
