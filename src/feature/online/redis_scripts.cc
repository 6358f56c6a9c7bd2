#include <array>
#include <string_view>
#include <vector>

#include <openssl/evp.h>

#include "base/text.h"
#include "feature/online/redis_scripts_internal.h"

namespace gnomon::feature::internal {
namespace {

/// KEYS[i] gets ARGV[i + 1] unless what is there has a greater (event time, created time), the
/// first 16 bytes of both. They are compared as numbers: Lua compares texts by the server's locale.
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

/// DUMP knows every type of value; how long a key still lives is no part of it.
constexpr std::string_view kDigest = R"(
local dump = redis.call('DUMP', KEYS[1])
local digest = dump and redis.sha1hex(dump) or ''
)";
constexpr std::string_view kReturnDigest = "return digest";
constexpr std::string_view kUnlessChanged =
    "if table.remove(ARGV, 1) ~= digest then return false end\n";

std::string NameOf(std::string_view script) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned size = 0;
  GNOMON_CHECK(
      EVP_Digest(script.data(), script.size(), hash.data(), &size, EVP_sha1(), nullptr) == 1,
      "SHA-1 failed");
  std::string name;
  for (unsigned i = 0; i < size; ++i) {
    const unsigned byte = hash[i];
    name.push_back("0123456789abcdef"[byte >> 4]);
    name.push_back("0123456789abcdef"[byte & 15]);
  }
  return name;
}

/// In the order of RedisScripts.
const std::vector<std::string>& Texts() {
  static const std::vector<std::string> texts = {
      std::string(kPackedScript), std::string(kFeastScript), Concat(kDigest, kReturnDigest),
      Concat(kDigest, kUnlessChanged, kPackedScript),
      Concat(kDigest, kUnlessChanged, kFeastScript)};
  return texts;
}

}  // namespace

const RedisScripts& GetRedisScripts() {
  static const RedisScripts scripts = {.packed = NameOf(Texts()[0]),
                                       .feast = NameOf(Texts()[1]),
                                       .digest = NameOf(Texts()[2]),
                                       .packed_unchanged = NameOf(Texts()[3]),
                                       .feast_unchanged = NameOf(Texts()[4])};
  return scripts;
}

Status LoadRedisScripts(const Context& context, RedisConnection* connection) {
  for (const std::string& text : Texts()) connection->Append({"SCRIPT", "LOAD", text});
  for (size_t i = 0; i < Texts().size(); ++i)
    GNOMON_RETURN_NOT_OK(connection->NextOk(context).status());
  return Status::OK();
}

}  // namespace gnomon::feature::internal
