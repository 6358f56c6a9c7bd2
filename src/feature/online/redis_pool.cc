#include <chrono>
#include <utility>

#include "base/back_off.h"
#include "base/clock.h"
#include "base/text.h"
#include "feature/online/redis_pool_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr double kCheckoutSeconds = 30;

/// Upserts packed rows: KEYS[i] gets ARGV[i + 1] unless what is there has a greater (event time,
/// created time), the first 16 bytes of both. ARGV[1]: seconds that a key lives, 0 for ever. The
/// times are compared as numbers: Lua compares texts by the server's locale.
constexpr std::string_view kPackedScript = R"(
for i = 1, #KEYS do
  local new = ARGV[i + 1]
  local old = redis.call('GETRANGE', KEYS[i], 0, 15)
  local write = true
  if #old == 16 then
    local a, b, c, d = struct.unpack('>I4I4I4I4', old)
    local e, f, g, h = struct.unpack('>I4I4I4I4', new)
    if a ~= e then write = e > a
    elseif b ~= f then write = f > b
    elseif c ~= g then write = g > c
    else write = h >= d end
  end
  if write then
    if ARGV[1] == '0' then redis.call('SET', KEYS[i], new)
    else redis.call('SET', KEYS[i], new, 'EX', ARGV[1]) end
  end
end
return redis.status_reply('OK')
)";

/// Upserts rows in Feast's hashes. ARGV: seconds that a key lives (0 for ever), the field of the
/// time, the number of features n, n field names; then for each key seconds and nanoseconds of its
/// time, the time's bytes, n values.
constexpr std::string_view kFeastScript = R"(
local function stamp(text)
  local at, seconds, nanos = 1, 0, 0
  while at <= #text do
    local tag = string.byte(text, at)
    at = at + 1
    local groups = {}
    repeat
      local byte = string.byte(text, at)
      if not byte then return nil end
      at = at + 1
      groups[#groups + 1] = byte % 128
    until byte < 128
    local value = 0
    if #groups == 10 then
      for i = 1, 9 do value = value + (127 - groups[i]) * 128 ^ (i - 1) end
      value = -(value + 1)
    else
      for i = 1, #groups do value = value + groups[i] * 128 ^ (i - 1) end
    end
    if tag == 8 then seconds = value elseif tag == 16 then nanos = value else return nil end
  end
  return seconds, nanos
end
local n = tonumber(ARGV[3])
local at = 3 + n
for i = 1, #KEYS do
  local seconds, nanos = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local old = redis.call('HGET', KEYS[i], ARGV[2])
  local write = true
  if old then
    local old_seconds, old_nanos = stamp(old)
    if not old_seconds then return redis.error_reply('GNOMON a stored event time is damaged') end
    write = seconds > old_seconds or (seconds == old_seconds and nanos >= old_nanos)
  end
  if write then
    local words = {ARGV[2], ARGV[at + 3]}
    for j = 1, n do
      words[#words + 1] = ARGV[3 + j]
      words[#words + 1] = ARGV[at + 3 + j]
    end
    redis.call('HSET', KEYS[i], unpack(words))
    if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[i], ARGV[1]) end
  end
  at = at + 3 + n
end
return redis.status_reply('OK')
)";

bool IsLost(const Status& status) {
  const ErrorKind kind = KindOf(status);
  return kind == ErrorKind::kUnavailable || kind == ErrorKind::kDeadline ||
         kind == ErrorKind::kCancelled;
}

}  // namespace

RedisPool::RedisPool(RedisOptions options, int max_connections)
    : options_(std::move(options)), max_connections_(static_cast<size_t>(max_connections)) {}

std::string RedisPool::place() const { return Concat(options_.host, ":", options_.port); }

Status RedisPool::Run(const Context& context, const std::function<Status(RedisClient*)>& body) {
  BackOff back_off;
  {
    const MutexLock lock(mutex_);
    // A wrong address should be told soon; a server that has answered before is restarting.
    if (!connected_before_) back_off.total_seconds = 2;
  }
  return RetryWithBackOff(context, back_off, [&] { return RunOnce(context, body); });
}

Status RedisPool::RunOnce(const Context& context, const std::function<Status(RedisClient*)>& body) {
  GNOMON_ASSIGN_OR_RETURN(auto client, Acquire(context));
  const Status status = body(client.get());
  const bool reusable = (status.ok() || !IsLost(status)) && !client->connection->has_pending();
  GiveBack(std::move(client), reusable);
  return status;
}

Result<std::unique_ptr<RedisClient>> RedisPool::Acquire(const Context& context) {
  {
    const double give_up = MonotonicSeconds() + kCheckoutSeconds;
    const MutexLock lock(mutex_);
    while (idle_.empty() && in_use_ >= max_connections_) {
      GNOMON_RETURN_NOT_OK(WithContext(context.Check(), "waiting for a redis connection"));
      if (MonotonicSeconds() >= give_up) {
        return MakeError(
            ErrorKind::kExhausted,
            Concat("all ", max_connections_, " connections to redis ", place(), " are in use"), {},
            "raise online_store.max_conn");
      }
      free_.wait_for(mutex_, std::chrono::milliseconds(50));
    }
    ++in_use_;
    if (!idle_.empty()) {
      auto client = std::move(idle_.back());
      idle_.pop_back();
      return client;
    }
  }
  auto connect = [&]() -> Result<std::unique_ptr<RedisClient>> {
    auto client = std::make_unique<RedisClient>();
    GNOMON_ASSIGN_OR_RETURN(client->connection, RedisConnection::Connect(context, options_));
    client->connection->Append({"SCRIPT", "LOAD", kPackedScript});
    client->connection->Append({"SCRIPT", "LOAD", kFeastScript});
    GNOMON_ASSIGN_OR_RETURN(const auto packed, client->connection->NextOk(context));
    GNOMON_ASSIGN_OR_RETURN(const auto feast, client->connection->NextOk(context));
    client->packed_script = packed.Text();
    client->feast_script = feast.Text();
    return client;
  };
  auto client = connect();
  const MutexLock lock(mutex_);
  if (client.ok()) {
    connected_before_ = true;
  } else {
    --in_use_;
    free_.notify_one();
  }
  return client;
}

void RedisPool::GiveBack(std::unique_ptr<RedisClient> client, bool reusable) {
  std::vector<std::unique_ptr<RedisClient>> dropped;
  {
    const MutexLock lock(mutex_);
    --in_use_;
    if (reusable) {
      idle_.push_back(std::move(client));
    } else {
      dropped.swap(idle_);  // what broke one connection has broken the others
    }
  }
  free_.notify_one();
}

}  // namespace gnomon::feature::internal
