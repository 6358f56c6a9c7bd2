#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/online/redis_reply_internal.h"

namespace gnomon::feature::internal {

/// Whom a store tells its commands: a server, or a cluster of them. Commands are appended, then
/// sent together when the first answer is asked for; answers come in the order of the commands.
/// Waits end with the context. After an error that is kUnavailable, kDeadline or kCancelled throw
/// it away. Errors name the place. Not thread-safe.
class RedisCommands {
 public:
  virtual ~RedisCommands() = default;

  /// For the server that has the key: the word behind the command, of EVALSHA its first key.
  virtual void Append(std::span<const std::string_view> words) = 0;
  void Append(std::initializer_list<std::string_view> words) {
    Append(std::span(words.begin(), words.size()));
  }
  /// For one of Servers.
  virtual void AppendTo(const std::string& server, std::span<const std::string_view> words) = 0;
  /// Those that together have all keys.
  virtual std::vector<std::string> Servers() const = 0;
  /// Keys may lie on different servers: a command names one of them, and there are no transactions
  /// over several.
  virtual bool keeps_keys_apart() const = 0;

  /// The next answer. An error of the server is an answer, too: ToStatus.
  virtual Result<RedisReply> Next(const Context& context) = 0;
  /// The next answer, which must be no error.
  Result<RedisReply> NextOk(const Context& context);
  /// Append and NextOk.
  Result<RedisReply> Run(const Context& context, std::initializer_list<std::string_view> words);

  /// Answers that are still to come, when a failed exchange was left in the middle.
  virtual bool has_pending() const = 0;
  virtual const std::string& place() const = 0;
};

}  // namespace gnomon::feature::internal
