#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <utility>
#include <vector>

#include <hiredis/hiredis.h>

#include "base/clock.h"
#include "base/text.h"
#include "feature/online/redis_connection_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr double kConnectSeconds = 5;
constexpr double kSliceSeconds = 0.05;  // how soon a wait notices that its context has ended

struct KnownError {
  std::string_view prefix;
  ErrorKind kind;
};
/// The first words of the server's errors.
constexpr std::array<KnownError, 19> kErrors = {{
    {"NOAUTH", ErrorKind::kUnauthenticated},
    {"WRONGPASS", ErrorKind::kUnauthenticated},
    {"ERR invalid password", ErrorKind::kUnauthenticated},
    {"ERR AUTH", ErrorKind::kUnauthenticated},
    {"ERR Client sent AUTH", ErrorKind::kUnauthenticated},
    {"NOPERM", ErrorKind::kDenied},
    {"OOM", ErrorKind::kExhausted},
    {"MISCONF", ErrorKind::kExhausted},
    {"ERR max number of clients", ErrorKind::kExhausted},
    {"LOADING", ErrorKind::kUnavailable},
    {"BUSY", ErrorKind::kUnavailable},
    {"MASTERDOWN", ErrorKind::kUnavailable},
    {"READONLY", ErrorKind::kUnavailable},
    {"NOSCRIPT", ErrorKind::kUnavailable},  // a new connection loads it again
    {"WRONGTYPE", ErrorKind::kDataLoss},
    {"GNOMON", ErrorKind::kDataLoss},  // of our scripts
    {"MOVED", ErrorKind::kUnsupported},
    {"CROSSSLOT", ErrorKind::kUnsupported},
    {"CLUSTERDOWN", ErrorKind::kUnsupported},
}};

timeval ToTimeval(double seconds) {
  const double whole = std::floor(seconds);
  return {.tv_sec = static_cast<time_t>(whole),
          .tv_usec = static_cast<suseconds_t>((seconds - whole) * 1e6)};
}

}  // namespace

RedisReply::RedisReply(redisReply* reply)
    : owner_(reply, [](redisReply* each) { freeReplyObject(each); }), reply_(reply) {}

bool RedisReply::is_nil() const { return reply_ == nullptr || reply_->type == REDIS_REPLY_NIL; }
bool RedisReply::is_array() const { return reply_ != nullptr && reply_->type == REDIS_REPLY_ARRAY; }

bool RedisReply::HasText() const {
  return reply_ != nullptr &&
         (reply_->type == REDIS_REPLY_STRING || reply_->type == REDIS_REPLY_STATUS);
}

std::string_view RedisReply::Text() const {
  return HasText() ? std::string_view(reply_->str, reply_->len) : std::string_view();
}

int64_t RedisReply::Integer() const {
  return reply_ != nullptr && reply_->type == REDIS_REPLY_INTEGER ? reply_->integer : 0;
}

size_t RedisReply::size() const { return is_array() ? reply_->elements : 0; }

RedisReply RedisReply::At(size_t index) const {
  RedisReply element;
  element.owner_ = owner_;
  element.reply_ = index < size() ? reply_->element[index] : nullptr;
  return element;
}

std::optional<std::string_view> RedisReply::TextAt(size_t index) const {
  if (index >= size() || reply_->element[index]->type != REDIS_REPLY_STRING) return std::nullopt;
  return std::string_view(reply_->element[index]->str, reply_->element[index]->len);
}

Status RedisReply::ToStatus(const std::string& place) const {
  if (reply_ == nullptr || reply_->type != REDIS_REPLY_ERROR) return Status::OK();
  const std::string_view text(reply_->str, reply_->len);
  ErrorKind kind = ErrorKind::kInternal;
  for (const KnownError& known : kErrors) {
    // An error inside a script is told in the middle of a longer text.
    if (!text.starts_with(known.prefix) &&
        text.find(Concat(" ", known.prefix)) == std::string_view::npos)
      continue;
    kind = known.kind;
    break;
  }
  std::string hint;
  if (kind == ErrorKind::kUnauthenticated) hint = "see user and password of online_store";
  if (kind == ErrorKind::kUnsupported) hint = "the server is part of a cluster: name a single one";
  return MakeError(kind, Concat("redis ", place, ": ", text), {}, std::move(hint));
}

RedisConnection::RedisConnection(redisContext* context, std::string place, double timeout_seconds)
    : context_(context), place_(std::move(place)), timeout_seconds_(timeout_seconds) {}

RedisConnection::~RedisConnection() { redisFree(context_); }

Result<std::unique_ptr<RedisConnection>> RedisConnection::Connect(const Context& context,
                                                                  const RedisOptions& options) {
  GNOMON_RETURN_NOT_OK(context.Check());
  double seconds = std::min(kConnectSeconds, options.timeout_seconds);
  if (context.deadline.has_value())
    seconds = std::clamp(*context.deadline - MonotonicSeconds(), 0.001, seconds);
  const bool is_socket = options.host.starts_with('/');
  const std::string place = is_socket ? options.host : Concat(options.host, ":", options.port);
  redisContext* opened =
      is_socket ? redisConnectUnixWithTimeout(options.host.c_str(), ToTimeval(seconds))
                : redisConnectWithTimeout(options.host.c_str(), options.port, ToTimeval(seconds));
  if (opened == nullptr) return Error(ErrorKind::kExhausted, "redis ", place, ": out of memory");
  std::unique_ptr<RedisConnection> connection(
      new RedisConnection(opened, place, options.timeout_seconds));
  if (opened->err != 0) {
    return MakeError(ErrorKind::kUnavailable,
                     Concat("cannot connect to redis ", place, ": ", opened->errstr), {},
                     "is the server running? see online_store in feature_store.yaml");
  }
  if (!is_socket) redisEnableKeepAlive(opened);
  const int flags = ::fcntl(opened->fd, F_GETFL);
  if (flags < 0 || ::fcntl(opened->fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return ErrnoError(errno, Concat("redis ", place));
  opened->flags &= ~REDIS_BLOCK;
  if (!options.password.empty()) {
    const std::string& password = options.password.Reveal();
    GNOMON_RETURN_NOT_OK((options.user.empty()
                              ? connection->Run(context, {"AUTH", password})
                              : connection->Run(context, {"AUTH", options.user, password}))
                             .status());
  }
  if (!options.database.empty())
    GNOMON_RETURN_NOT_OK(connection->Run(context, {"SELECT", options.database}).status());
  return connection;
}

void RedisConnection::Append(std::span<const std::string_view> words) {
  std::vector<const char*> texts;
  std::vector<size_t> lengths;
  texts.reserve(words.size());
  lengths.reserve(words.size());
  for (const std::string_view word : words) {
    texts.push_back(word.data() == nullptr ? "" : word.data());
    lengths.push_back(word.size());
  }
  redisAppendCommandArgv(context_, static_cast<int>(words.size()), texts.data(), lengths.data());
  ++pending_;
}

Status RedisConnection::Lost(std::string_view what) const {
  return Error(ErrorKind::kUnavailable, "redis ", place_, ": ", what,
               context_->err != 0 ? Concat(": ", context_->errstr) : std::string());
}

Status RedisConnection::Wait(const Context& context, short events, double give_up) {
  for (;;) {
    GNOMON_RETURN_NOT_OK(WithContext(context.Check(), Concat("waiting for redis ", place_)));
    pollfd waited{.fd = context_->fd, .events = events, .revents = 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(kSliceSeconds * 1000));
    if (ready > 0) return Status::OK();
    if (ready < 0 && errno != EINTR) return ErrnoError(errno, Concat("redis ", place_));
    if (MonotonicSeconds() >= give_up) return Lost("no answer in time");
  }
}

Status RedisConnection::Send(const Context& context) {
  const double give_up = MonotonicSeconds() + timeout_seconds_;
  for (int done = 0; done == 0;) {
    if (redisBufferWrite(context_, &done) != REDIS_OK) return Lost("the connection broke");
    if (done == 0) GNOMON_RETURN_NOT_OK(Wait(context, POLLOUT, give_up));
  }
  return Status::OK();
}

Result<RedisReply> RedisConnection::Next(const Context& context) {
  GNOMON_CHECK(pending_ > 0, "no command was appended");
  double give_up = 0;
  for (;;) {
    void* reply = nullptr;
    if (redisReaderGetReply(context_->reader, &reply) != REDIS_OK)
      return Lost("the answer cannot be read");
    if (reply != nullptr) {
      --pending_;
      return RedisReply(static_cast<redisReply*>(reply));
    }
    if (give_up == 0) {
      GNOMON_RETURN_NOT_OK(Send(context));
      give_up = MonotonicSeconds() + timeout_seconds_;
    }
    GNOMON_RETURN_NOT_OK(Wait(context, POLLIN, give_up));
    if (redisBufferRead(context_) != REDIS_OK) return Lost("the connection broke");
  }
}

Result<RedisReply> RedisConnection::NextOk(const Context& context) {
  GNOMON_ASSIGN_OR_RETURN(auto reply, Next(context));
  GNOMON_RETURN_NOT_OK(reply.ToStatus(place_));
  return reply;
}

Result<RedisReply> RedisConnection::Run(const Context& context,
                                        std::initializer_list<std::string_view> words) {
  Append(words);
  return NextOk(context);
}

}  // namespace gnomon::feature::internal
