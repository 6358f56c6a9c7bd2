#include <algorithm>
#include <utility>

#include "base/text.h"
#include "feature/online/redis_slots_internal.h"

namespace gnomon::feature::internal {
namespace {

/// CRC16 of the polynomial 0x1021, high bit first, by bytes.
constexpr std::array<uint16_t, 256> MakeTable() {
  std::array<uint16_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned rest = byte << 8;
    for (int bit = 0; bit < 8; ++bit)
      rest = (rest & 0x8000U) != 0 ? rest << 1 ^ 0x1021U : rest << 1;
    table[byte] = static_cast<uint16_t>(rest);
  }
  return table;
}
constexpr std::array<uint16_t, 256> kTable = MakeTable();

int SlotOfBytes(std::string_view bytes) {
  unsigned rest = 0;
  for (const char byte : bytes)
    rest = (rest << 8 & 0xffffU) ^ kTable[rest >> 8 ^ static_cast<unsigned char>(byte)];
  return static_cast<int>(rest % kRedisSlots);
}

std::string Names(const std::vector<RedisAddress>& servers) {
  std::vector<std::string> names;
  for (const RedisAddress& server : servers) names.push_back(server.ToString());
  return Join(names, ",");
}

}  // namespace

int RedisSlotOf(std::string_view key) {
  const size_t open = key.find('{');
  if (open == std::string_view::npos) return SlotOfBytes(key);
  const size_t close = key.find('}', open + 1);
  if (close == std::string_view::npos || close == open + 1) return SlotOfBytes(key);
  return SlotOfBytes(key.substr(open + 1, close - open - 1));
}

std::string RedisAddress::ToString() const { return Concat(host, ":", port); }

Result<RedisSlots> RedisSlots::Parse(const RedisReply& reply, const RedisAddress& asked) {
  RedisSlots slots;
  slots.master_of_.fill(-1);
  for (size_t i = 0; i < reply.size(); ++i) {
    const RedisReply range = reply.At(i);
    const RedisReply master = range.At(2);
    const int64_t first = range.At(0).Integer();
    const int64_t last = range.At(1).Integer();
    RedisAddress address{std::string(master.At(0).Text()),
                         static_cast<int>(master.At(1).Integer())};
    if (address.host.empty() || address.host == "?") address.host = asked.host;
    if (first < 0 || last >= kRedisSlots || address.port < 1 || address.port > 65'535)
      return Error(ErrorKind::kUnavailable, "redis ", asked.ToString(),
                   ": CLUSTER SLOTS makes no sense");
    auto known = std::ranges::find(slots.masters_, address);
    if (known == slots.masters_.end())
      known = slots.masters_.insert(slots.masters_.end(), std::move(address));
    for (int64_t slot = first; slot <= last; ++slot)
      slots.master_of_[static_cast<size_t>(slot)] =
          static_cast<int16_t>(known - slots.masters_.begin());
  }
  if (slots.masters_.empty())
    return Error(ErrorKind::kUnavailable, "redis ", asked.ToString(),
                 ": the cluster has no slots yet");
  return slots;
}

const RedisAddress* RedisSlots::MasterOf(int slot) const {
  const int16_t place = master_of_[static_cast<size_t>(slot)];
  return place < 0 ? nullptr : &masters_[static_cast<size_t>(place)];
}

RedisCluster::RedisCluster(RedisOptions options, std::vector<RedisAddress> servers)
    : options_(std::move(options)), servers_(std::move(servers)), place_(Names(servers_)) {}

std::vector<RedisAddress> RedisCluster::Known() {
  std::vector<RedisAddress> known = servers_;
  const MutexLock lock(mutex_);
  if (slots_ != nullptr) {
    for (const RedisAddress& master : slots_->masters()) {
      if (std::ranges::find(known, master) == known.end()) known.push_back(master);
    }
  }
  return known;
}

Result<std::shared_ptr<const RedisSlots>> RedisCluster::Slots(const Context& context,
                                                              double connect_seconds) {
  {
    const MutexLock lock(mutex_);
    if (is_current_) return slots_;
  }
  Status failed;
  for (const RedisAddress& server : Known()) {
    auto connection = Connect(context, server, connect_seconds);
    auto slots = connection.ok() ? Ask(context, server, connection->get())
                                 : Result<std::shared_ptr<const RedisSlots>>(connection.status());
    if (slots.ok()) return slots;
    failed = slots.status();
    if (KindOf(failed) != ErrorKind::kUnavailable) break;
  }
  return failed;
}

Result<std::shared_ptr<const RedisSlots>> RedisCluster::Ask(const Context& context,
                                                            const RedisAddress& address,
                                                            RedisConnection* connection) {
  GNOMON_ASSIGN_OR_RETURN(const auto reply, connection->Run(context, {"CLUSTER", "SLOTS"}));
  GNOMON_ASSIGN_OR_RETURN(auto slots, RedisSlots::Parse(reply, address));
  auto told = std::make_shared<const RedisSlots>(std::move(slots));
  const MutexLock lock(mutex_);
  slots_ = told;
  is_current_ = true;
  return told;
}

void RedisCluster::Forget() {
  const MutexLock lock(mutex_);
  is_current_ = false;
}

Result<std::unique_ptr<RedisConnection>> RedisCluster::Connect(const Context& context,
                                                               const RedisAddress& address,
                                                               double connect_seconds) const {
  RedisOptions options = options_;
  options.host = address.host;
  options.port = address.port;
  options.connect_seconds = connect_seconds;
  return RedisConnection::Connect(context, options);
}

}  // namespace gnomon::feature::internal
