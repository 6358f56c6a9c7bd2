#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <hiredis/hiredis.h>

#include "base/clock.h"
#include "base/text.h"
#include "feature/online/redis_connection_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr size_t kReceiveBytes = size_t{32} << 10;
/// A buffer that one large write needed is not kept for ever.
constexpr size_t kKeptBytes = size_t{1} << 20;

/// `mark`, the number, CR LF: how RESP begins an array or a text.
void AppendLength(char mark, size_t number, std::string* out) {
  std::array<char, 24> text;
  text[0] = mark;
  char* const end = std::to_chars(text.data() + 1, text.data() + 21, number).ptr;
  end[0] = '\r';
  end[1] = '\n';
  out->append(text.data(), end + 2);
}

}  // namespace

void RedisConnection::ReaderDeleter::operator()(redisReader* reader) const {
  redisReaderFree(reader);
}

RedisConnection::RedisConnection(std::unique_ptr<RedisSocket> socket, double timeout_seconds)
    : socket_(std::move(socket)),
      timeout_seconds_(timeout_seconds),
      reader_(redisReaderCreate()),
      received_(kReceiveBytes) {}

Result<std::unique_ptr<RedisConnection>> RedisConnection::Connect(const Context& context,
                                                                  const RedisOptions& options) {
  GNOMON_RETURN_NOT_OK(context.Check());
  const double give_up =
      MonotonicSeconds() + std::min(options.connect_seconds, options.timeout_seconds);
  GNOMON_ASSIGN_OR_RETURN(auto socket, RedisSocket::Connect(context, options.host, options.port,
                                                            options.tls.get(), give_up));
  std::unique_ptr<RedisConnection> connection(
      new RedisConnection(std::move(socket), options.timeout_seconds));
  if (connection->reader_ == nullptr)
    return Error(ErrorKind::kExhausted, "redis ", connection->place(), ": out of memory");
  GNOMON_RETURN_NOT_OK(connection->LogIn(context, options));
  return connection;
}

Status RedisConnection::LogIn(const Context& context, const RedisOptions& options) {
  const std::string& password = options.password.Reveal();
  if (!password.empty() && options.user.empty()) {
    GNOMON_RETURN_NOT_OK(Run(context, {"AUTH", password}).status());
  } else if (!password.empty()) {
    GNOMON_RETURN_NOT_OK(Run(context, {"AUTH", options.user, password}).status());
  }
  if (options.database.empty()) return Status::OK();
  return Run(context, {"SELECT", options.database}).status();
}

void AppendRedisCommand(std::span<const std::string_view> words, std::string* out) {
  AppendLength('*', words.size(), out);
  for (const std::string_view word : words) {
    AppendLength('$', word.size(), out);
    out->append(word).append("\r\n");
  }
}

void RedisConnection::Append(std::span<const std::string_view> words) {
  AppendRedisCommand(words, &to_send_);
  ++pending_;
}

void RedisConnection::AppendTo(const std::string&, std::span<const std::string_view> words) {
  Append(words);
}

void RedisConnection::AppendBytes(std::string_view command) {
  to_send_.append(command);
  ++pending_;
}

Status RedisConnection::Send(const Context& context) {
  if (to_send_.empty()) return Status::OK();
  const Status sent = socket_->SendAll(context, to_send_, MonotonicSeconds() + timeout_seconds_);
  to_send_.clear();
  if (to_send_.capacity() > kKeptBytes) to_send_.shrink_to_fit();
  return sent;
}

Result<RedisReply> RedisConnection::Next(const Context& context) {
  GNOMON_CHECK(pending_ > 0, "no command was appended");
  for (bool sent = false;; sent = true) {
    void* reply = nullptr;
    if (redisReaderGetReply(reader_.get(), &reply) != REDIS_OK)
      return Error(ErrorKind::kUnavailable, "redis ", place(),
                   ": the answer cannot be read: ", reader_->errstr);
    if (reply != nullptr) {
      --pending_;
      return RedisReply(static_cast<redisReply*>(reply));
    }
    if (!sent) GNOMON_RETURN_NOT_OK(Send(context));
    GNOMON_ASSIGN_OR_RETURN(
        const size_t count,
        socket_->Receive(context, received_, MonotonicSeconds() + timeout_seconds_));
    if (redisReaderFeed(reader_.get(), received_.data(), count) != REDIS_OK)
      return Error(ErrorKind::kExhausted, "redis ", place(), ": out of memory");
  }
}

}  // namespace gnomon::feature::internal
