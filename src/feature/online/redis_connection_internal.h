#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "base/context.h"
#include "base/error.h"
#include "feature/online/redis_reply_internal.h"
#include "feature/online/redis_socket_internal.h"

struct redisReader;

namespace gnomon::feature::internal {

struct RedisOptions {
  std::string host = "localhost";  ///< or, with a leading '/', the path of a unix socket
  int port = 6379;
  std::string database = {};  ///< a number; empty: 0
  std::string user = {};
  Secret password = {};
  double timeout_seconds = 10;              ///< how long the server may stay silent
  std::shared_ptr<RedisTls> tls = nullptr;  ///< null: none
};

/// One connection. Commands are appended, then sent together when the first answer is asked for.
/// Waits end with the context. After an error that is kUnavailable, kDeadline or kCancelled throw
/// it away. Errors name host:port. Not thread-safe.
class RedisConnection {
 public:
  /// Logs in and chooses the database.
  static Result<std::unique_ptr<RedisConnection>> Connect(const Context& context,
                                                          const RedisOptions& options);

  void Append(std::span<const std::string_view> words);
  void Append(std::initializer_list<std::string_view> words) {
    Append(std::span(words.begin(), words.size()));
  }
  /// The next answer. An error of the server is an answer, too: ToStatus.
  Result<RedisReply> Next(const Context& context);
  /// The next answer, which must be no error.
  Result<RedisReply> NextOk(const Context& context);
  /// Append and NextOk.
  Result<RedisReply> Run(const Context& context, std::initializer_list<std::string_view> words);

  /// Answers that are still to come, when a failed exchange was left in the middle.
  bool has_pending() const { return pending_ > 0; }
  const std::string& place() const { return socket_->place(); }

 private:
  struct ReaderDeleter {
    void operator()(redisReader* reader) const;
  };
  RedisConnection(std::unique_ptr<RedisSocket> socket, double timeout_seconds);
  Status LogIn(const Context& context, const RedisOptions& options);
  Status Send(const Context& context);

  const std::unique_ptr<RedisSocket> socket_;
  const double timeout_seconds_;
  const std::unique_ptr<redisReader, ReaderDeleter> reader_;
  std::vector<char> received_;
  std::string to_send_;
  size_t pending_ = 0;
};

}  // namespace gnomon::feature::internal
