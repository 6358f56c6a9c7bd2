#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "feature/online/redis_commands_internal.h"
#include "feature/online/redis_socket_internal.h"

struct redisReader;

namespace gnomon::feature::internal {

/// The bytes of a command.
void AppendRedisCommand(std::span<const std::string_view> words, std::string* out);

struct RedisOptions {
  std::string host = "localhost";  ///< or, with a leading '/', the path of a unix socket
  int port = 6379;
  std::string database = {};  ///< a number; empty: 0
  std::string user = {};
  Secret password = {};
  double connect_seconds = 5;               ///< at most; and no longer than timeout_seconds
  double timeout_seconds = 10;              ///< how long the server may stay silent
  std::shared_ptr<RedisTls> tls = nullptr;  ///< null: none
};

/// One connection to one server.
class RedisConnection final : public RedisCommands {
 public:
  /// Logs in and chooses the database.
  static Result<std::unique_ptr<RedisConnection>> Connect(const Context& context,
                                                          const RedisOptions& options);

  using RedisCommands::Append;
  void Append(std::span<const std::string_view> words) override;
  void AppendTo(const std::string& server, std::span<const std::string_view> words) override;
  std::vector<std::string> Servers() const override { return {place()}; }
  bool keeps_keys_apart() const override { return false; }
  Result<RedisReply> Next(const Context& context) override;
  bool has_pending() const override { return pending_ > 0; }
  const std::string& place() const override { return socket_->place(); }

  /// A command of AppendRedisCommand's.
  void AppendBytes(std::string_view command);
  /// Sends what was appended, without waiting for answers.
  Status Send(const Context& context);

 private:
  struct ReaderDeleter {
    void operator()(redisReader* reader) const;
  };
  RedisConnection(std::unique_ptr<RedisSocket> socket, double timeout_seconds);
  Status LogIn(const Context& context, const RedisOptions& options);

  const std::unique_ptr<RedisSocket> socket_;
  const double timeout_seconds_;
  const std::unique_ptr<redisReader, ReaderDeleter> reader_;
  std::vector<char> received_;
  std::string to_send_;
  size_t pending_ = 0;
};

}  // namespace gnomon::feature::internal
