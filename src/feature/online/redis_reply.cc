#include <algorithm>
#include <array>
#include <utility>

#include <hiredis/hiredis.h>

#include "base/text.h"
#include "feature/online/redis_reply_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr std::string_view kLogIn = "see user and password of online_store";
constexpr std::string_view kIsCluster =
    "the server is part of a cluster: redis_type: redis_cluster";

struct KnownError {
  std::string_view prefix;
  ErrorKind kind;
  std::string_view hint = {};
};
/// The first words of the server's errors.
constexpr std::array<KnownError, 21> kErrors = {{
    {"NOAUTH", ErrorKind::kUnauthenticated, kLogIn},
    {"WRONGPASS", ErrorKind::kUnauthenticated, kLogIn},
    {"ERR invalid password", ErrorKind::kUnauthenticated, kLogIn},
    {"ERR AUTH", ErrorKind::kUnauthenticated, kLogIn},
    {"ERR Client sent AUTH", ErrorKind::kUnauthenticated, kLogIn},
    {"NOPERM", ErrorKind::kDenied},
    {"OOM", ErrorKind::kExhausted},
    {"MISCONF", ErrorKind::kExhausted},
    {"ERR max number of clients", ErrorKind::kExhausted},
    {"LOADING", ErrorKind::kUnavailable},
    {"BUSY", ErrorKind::kUnavailable},
    {"MASTERDOWN", ErrorKind::kUnavailable},
    {"READONLY", ErrorKind::kUnavailable},
    {"CLUSTERDOWN", ErrorKind::kUnavailable, "see: redis-cli cluster info"},
    {"TRYAGAIN", ErrorKind::kUnavailable},
    {"NOSCRIPT", ErrorKind::kUnavailable},  // a new connection loads it again
    {"WRONGTYPE", ErrorKind::kDataLoss},
    {"GNOMON", ErrorKind::kDataLoss},  // of our scripts
    {"MOVED", ErrorKind::kUnsupported, kIsCluster},
    {"CROSSSLOT", ErrorKind::kUnsupported, kIsCluster},
    {"ERR This instance has cluster support disabled", ErrorKind::kUnsupported,
     "the server is a single one: leave redis_type out"},
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

std::optional<std::string_view> RedisReply::OptionalText() const {
  if (reply_ == nullptr || reply_->type != REDIS_REPLY_STRING) return std::nullopt;
  return std::string_view(reply_->str, reply_->len);
}

std::string_view RedisReply::ErrorText() const {
  if (reply_ == nullptr || reply_->type != REDIS_REPLY_ERROR) return {};
  return {reply_->str, reply_->len};
}

Status RedisReply::ToStatus(const std::string& place) const {
  const std::string_view text = ErrorText();
  if (text.empty()) return Status::OK();
  // An error inside a script is told in the middle of a longer text.
  const auto known = std::ranges::find_if(kErrors, [&](const KnownError& error) {
    return text.starts_with(error.prefix) ||
           text.find(Concat(" ", error.prefix)) != std::string_view::npos;
  });
  const bool is_known = known != kErrors.end();
  return MakeError(is_known ? known->kind : ErrorKind::kInternal,
                   Concat("redis ", place, ": ", text), {},
                   std::string(is_known ? known->hint : std::string_view()));
}

}  // namespace gnomon::feature::internal
