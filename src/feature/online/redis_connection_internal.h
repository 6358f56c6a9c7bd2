#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/back_off.h"
#include "base/config.h"
#include "base/context.h"
#include "base/error.h"

struct redisContext;
struct redisReply;

namespace gnomon::feature::internal {

struct RedisOptions {
  std::string host = "localhost";  ///< or, with a leading '/', the path of a unix socket
  int port = 6379;
  std::string database = {};  ///< a number; empty: 0
  std::string user = {};
  Secret password = {};
  double timeout_seconds = 10;  ///< how long the server may stay silent
};

/// One answer of the server. Views live as long as the answer that began them.
class RedisReply {
 public:
  RedisReply() = default;
  explicit RedisReply(redisReply* reply);

  bool is_nil() const;
  bool is_array() const;
  /// Of a text answer; absent for anything else.
  bool HasText() const;
  std::string_view Text() const;
  int64_t Integer() const;  ///< 0 when it is no number
  /// Of an array; 0 for anything else.
  size_t size() const;
  /// An element of an array, which shares the answer.
  RedisReply At(size_t index) const;
  /// The text of an element, absent where it is none: At without its cost, for many elements.
  std::optional<std::string_view> TextAt(size_t index) const;
  /// An error that the server answered, as one of ours; OK for other answers.
  Status ToStatus(const std::string& place) const;

 private:
  std::shared_ptr<redisReply> owner_;
  const redisReply* reply_ = nullptr;
};

/// One connection. Commands are appended, then sent together when the first answer is asked for.
/// Waits end with the context. After an error that is kUnavailable, kDeadline or kCancelled throw
/// it away. Errors name host:port. Not thread-safe.
class RedisConnection {
 public:
  /// Logs in and chooses the database.
  static Result<std::unique_ptr<RedisConnection>> Connect(const Context& context,
                                                          const RedisOptions& options);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

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
  const std::string& place() const { return place_; }

 private:
  RedisConnection(redisContext* context, std::string place, double timeout_seconds);
  Status Lost(std::string_view what) const;
  Status Send(const Context& context);
  Status Wait(const Context& context, short events, double give_up);

  redisContext* context_;
  const std::string place_;
  const double timeout_seconds_;
  size_t pending_ = 0;
};

}  // namespace gnomon::feature::internal
