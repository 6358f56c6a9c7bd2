#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "feature/online/redis_commands_internal.h"
#include "feature/online/redis_slots_internal.h"

namespace gnomon::feature::internal {

/// Connections to the servers of a cluster, opened when they are needed. What is appended goes to
/// all servers before an answer is waited for, so that it takes one round trip. A server that no
/// longer has a key (MOVED, ASK) or is giving it away just now (TRYAGAIN) is not seen from outside:
/// the command goes where the key is.
class RedisClusterConnection final : public RedisCommands {
 public:
  static Result<std::unique_ptr<RedisClusterConnection>> Connect(
      const Context& context, std::shared_ptr<RedisCluster> cluster, double connect_seconds);

  using RedisCommands::Append;
  void Append(std::span<const std::string_view> words) override;
  void AppendTo(const std::string& server, std::span<const std::string_view> words) override;
  std::vector<std::string> Servers() const override;
  bool keeps_keys_apart() const override { return true; }
  Result<RedisReply> Next(const Context& context) override;
  bool has_pending() const override { return next_ < commands_.size(); }
  const std::string& place() const override { return cluster_->place(); }

 private:
  /// A command that was appended. Its bytes are kept until it is answered.
  struct Command {
    size_t begin = 0;  ///< in bytes_
    size_t end = 0;
    int slot = -1;                          ///< of its key; -1: for one server
    RedisAddress server = {};               ///< then this one
    RedisConnection* connection = nullptr;  ///< null: not sent yet
    std::optional<RedisReply> reply = {};
  };

  RedisClusterConnection(std::shared_ptr<RedisCluster> cluster,
                         std::shared_ptr<const RedisSlots> slots, double connect_seconds);
  void Add(std::span<const std::string_view> words, Command command);
  std::string_view BytesOf(const Command& command) const;
  Result<RedisConnection*> Open(const Context& context, const RedisAddress& address);
  Result<RedisConnection*> MasterOf(const Context& context, const Command& command);
  Status SendAll(const Context& context);
  Status Send(const Context& context);
  Status Settle(const Context& context);
  Status Redirect(const Context& context, const std::vector<Command*>& commands);
  Result<RedisConnection*> TargetOf(const Context& context, const Command& command);
  void DropAnswered();

  const std::shared_ptr<RedisCluster> cluster_;
  std::shared_ptr<const RedisSlots> slots_;
  const double connect_seconds_;
  std::map<RedisAddress, std::unique_ptr<RedisConnection>> connections_;
  std::string bytes_;
  std::vector<Command> commands_;
  size_t next_ = 0;  ///< the first that was not answered to the caller
  size_t sent_ = 0;  ///< the first that was not sent
};

}  // namespace gnomon::feature::internal
