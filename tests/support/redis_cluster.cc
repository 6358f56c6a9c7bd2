#include "tests/support/redis_cluster.h"

#include <chrono>
#include <thread>

#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/text.h"
#include "tests/support/process.h"

namespace gnomon::test {
namespace {

constexpr int kServers = 3;
constexpr int kSlots = 16384;

void Tell(const RedisServer& server, const std::string& command) {
  const std::string answer = server.Ask(command);
  if (answer.find("+OK") == std::string::npos) FAIL(Concat(command, ": ", answer));
}

}  // namespace

RedisCluster RedisCluster::Start(const RedisOptions& options) {
  RedisCluster cluster;
  std::vector<int> bus_ports;
  for (int i = 0; i < kServers; ++i) {
    bus_ports.push_back(FreePort());
    RedisOptions each = options;
    // The usual port of the cluster's own talk is port + 10000, which may be none.
    each.arguments.insert(each.arguments.end(),
                          {"--cluster-enabled", "yes", "--cluster-port", Concat(bus_ports.back())});
    cluster.servers_.push_back(RedisServer::Start(each));
    const RedisServer& server = cluster.servers_.back();
    Tell(server, Concat("CLUSTER ADDSLOTSRANGE ", kSlots * i / kServers, " ",
                        kSlots * (i + 1) / kServers - 1));
    Tell(server, Concat("CLUSTER SET-CONFIG-EPOCH ", i + 1));
  }
  for (size_t i = 1; i < kServers; ++i) {
    const RedisServer& met = cluster.servers_[i];
    Tell(cluster.servers_[0],
         Concat("CLUSTER MEET ", met.host(), " ", met.port(), " ", bus_ports[i]));
  }
  cluster.WaitUntilReady();
  return cluster;
}

RedisCluster& RedisCluster::Shared() {
  static RedisCluster cluster = Start();
  return cluster;
}

std::vector<std::pair<std::string, int>> RedisCluster::addresses() const {
  std::vector<std::pair<std::string, int>> addresses;
  for (const RedisServer& server : servers_) addresses.emplace_back(server.host(), server.port());
  return addresses;
}

std::string RedisCluster::connection_string() const {
  std::vector<std::string> names;
  for (const RedisServer& server : servers_) names.push_back(server.address());
  return Join(names, ",");
}

void RedisCluster::FlushAll() {
  for (RedisServer& server : servers_) server.FlushAll();
}

void RedisCluster::WaitUntilReady() {
  const double end = MonotonicSeconds() + 60 * TimeScale();
  for (const RedisServer& server : servers_) {
    for (;;) {
      const std::string info = server.Ask("CLUSTER INFO");
      if (info.find("cluster_state:ok") != std::string::npos &&
          info.find(Concat("cluster_known_nodes:", kServers)) != std::string::npos &&
          info.find(Concat("cluster_size:", kServers)) != std::string::npos)
        break;
      if (MonotonicSeconds() > end) FAIL(Concat("the Redis cluster does not come about: ", info));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

}  // namespace gnomon::test
