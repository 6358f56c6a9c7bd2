#include <array>
#include <utility>

#include <hiredis/hiredis.h>

#include "base/text.h"
#include "feature/online/redis_reply_internal.h"

namespace gnomon::feature::internal {
namespace {

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

std::string_view RedisReply::ErrorText() const {
  if (reply_ == nullptr || reply_->type != REDIS_REPLY_ERROR) return {};
  return {reply_->str, reply_->len};
}

Status RedisReply::ToStatus(const std::string& place) const {
  const std::string_view text = ErrorText();
  if (text.empty()) return Status::OK();
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

}  // namespace gnomon::feature::internal
