#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>

#include "base/text.h"
#include "feature/online/redis_cluster_connection_internal.h"
#include "feature/online/redis_scripts_internal.h"

namespace gnomon::feature::internal {
namespace {

/// How often a command is sent on before the cluster counts as unavailable. Moving a slot takes
/// two.
constexpr int kRedirections = 16;
/// What is kept of answered commands while others are on their way.
constexpr size_t kAnsweredBytes = size_t{1} << 20;

std::string_view KeyOf(std::span<const std::string_view> words) {
  return words[words[0] == "EVALSHA" ? 3 : 1];
}

enum class Verdict : uint8_t { kAnswered, kMoved, kAsk, kTryAgain };

Verdict VerdictOf(const RedisReply& reply) {
  const std::string_view error = reply.ErrorText();
  if (error.empty()) return Verdict::kAnswered;
  if (error.starts_with("MOVED ")) return Verdict::kMoved;
  if (error.starts_with("ASK ")) return Verdict::kAsk;
  return error.starts_with("TRYAGAIN") ? Verdict::kTryAgain : Verdict::kAnswered;
}

bool IsRedirected(const RedisReply& reply) { return VerdictOf(reply) != Verdict::kAnswered; }

/// "host:port", of "MOVED slot host:port" its end; kUnavailable when it is none. A server that does
/// not know its own name says ":port".
Result<RedisAddress> ParseAddress(std::string_view text, std::string_view own_host) {
  const size_t colon = text.rfind(':');
  RedisAddress address;
  if (colon != std::string_view::npos) {
    const size_t space = text.rfind(' ', colon);
    const size_t begin = space == std::string_view::npos ? 0 : space + 1;
    address.host = text.substr(begin, colon - begin);
    std::from_chars(text.data() + colon + 1, text.data() + text.size(), address.port);
  }
  if (address.port < 1 || address.port > 65'535)
    return Error(ErrorKind::kUnavailable, "redis: no server's address: ", text);
  if (address.host.empty() || address.host == "?") address.host = own_host;
  return address;
}

}  // namespace

Result<std::unique_ptr<RedisClusterConnection>> RedisClusterConnection::Connect(
    const Context& context, std::shared_ptr<RedisCluster> cluster, double connect_seconds) {
  GNOMON_ASSIGN_OR_RETURN(auto slots, cluster->Slots(context, connect_seconds));
  return std::unique_ptr<RedisClusterConnection>(
      new RedisClusterConnection(std::move(cluster), std::move(slots), connect_seconds));
}

RedisClusterConnection::RedisClusterConnection(std::shared_ptr<RedisCluster> cluster,
                                               std::shared_ptr<const RedisSlots> slots,
                                               double connect_seconds)
    : cluster_(std::move(cluster)), slots_(std::move(slots)), connect_seconds_(connect_seconds) {}

std::vector<std::string> RedisClusterConnection::Servers() const {
  std::vector<std::string> servers;
  for (const RedisAddress& master : slots_->masters()) servers.push_back(master.ToString());
  return servers;
}

void RedisClusterConnection::Add(std::span<const std::string_view> words, Command command) {
  command.begin = bytes_.size();
  AppendRedisCommand(words, &bytes_);
  command.end = bytes_.size();
  commands_.push_back(std::move(command));
}

void RedisClusterConnection::Append(std::span<const std::string_view> words) {
  Add(words, {.slot = RedisSlotOf(KeyOf(words))});
}

void RedisClusterConnection::AppendTo(const std::string& server,
                                      std::span<const std::string_view> words) {
  auto address = ParseAddress(server, {});
  GNOMON_CHECK(address.ok(), server);
  Add(words, {.server = *std::move(address)});
}

std::string_view RedisClusterConnection::BytesOf(const Command& command) const {
  return std::string_view(bytes_).substr(command.begin, command.end - command.begin);
}

Result<RedisConnection*> RedisClusterConnection::Open(const Context& context,
                                                      const RedisAddress& address) {
  auto& connection = connections_[address];
  if (connection == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(auto opened, cluster_->Connect(context, address, connect_seconds_));
    GNOMON_RETURN_NOT_OK(LoadRedisScripts(context, opened.get()));
    connection = std::move(opened);
  }
  return connection.get();
}

Result<RedisConnection*> RedisClusterConnection::MasterOf(const Context& context,
                                                          const Command& command) {
  if (command.slot < 0) return Open(context, command.server);
  const RedisAddress* master = slots_->MasterOf(command.slot);
  if (master == nullptr)
    return Error(ErrorKind::kUnavailable, "redis ", place(), ": no server of the cluster has slot ",
                 command.slot);
  return Open(context, *master);
}

Status RedisClusterConnection::SendAll(const Context& context) {
  for (const auto& [address, connection] : connections_) {
    if (connection != nullptr) GNOMON_RETURN_NOT_OK(connection->Send(context));
  }
  return Status::OK();
}

Status RedisClusterConnection::Send(const Context& context) {
  for (; sent_ < commands_.size(); ++sent_) {
    Command& command = commands_[sent_];
    GNOMON_ASSIGN_OR_RETURN(RedisConnection* const connection, MasterOf(context, command));
    connection->AppendBytes(BytesOf(command));
    command.connection = connection;
  }
  return SendAll(context);
}

Result<RedisReply> RedisClusterConnection::Next(const Context& context) {
  GNOMON_CHECK(has_pending(), "no command was appended");
  if (sent_ < commands_.size()) GNOMON_RETURN_NOT_OK(Send(context));
  Command& command = commands_[next_];
  if (!command.reply.has_value()) {
    GNOMON_ASSIGN_OR_RETURN(command.reply, command.connection->Next(context));
    if (IsRedirected(*command.reply)) GNOMON_RETURN_NOT_OK(Settle(context));
  }
  RedisReply reply = *std::move(command.reply);
  ++next_;
  DropAnswered();
  return reply;
}

void RedisClusterConnection::DropAnswered() {
  if (next_ == commands_.size()) {
    commands_.clear();
    bytes_.clear();
    if (bytes_.capacity() > kAnsweredBytes) bytes_.shrink_to_fit();
    next_ = sent_ = 0;
    return;
  }
  const size_t answered = commands_[next_].begin;
  if (answered < kAnsweredBytes || answered * 2 < bytes_.size()) return;
  bytes_.erase(0, answered);
  commands_.erase(commands_.begin(), commands_.begin() + static_cast<std::ptrdiff_t>(next_));
  for (Command& command : commands_) {
    command.begin -= answered;
    command.end -= answered;
  }
  sent_ -= next_;
  next_ = 0;
}

/// Brings every command that was sent to its answer. Answers come in order, so all of those on
/// their way are taken before one is sent again.
Status RedisClusterConnection::Settle(const Context& context) {
  for (size_t i = next_; i < sent_; ++i) {
    Command& command = commands_[i];
    if (command.reply.has_value()) continue;
    GNOMON_ASSIGN_OR_RETURN(command.reply, command.connection->Next(context));
  }
  std::vector<Command*> again;
  for (int redirection = 0; redirection < kRedirections; ++redirection) {
    again.clear();
    for (size_t i = next_; i < sent_; ++i) {
      if (IsRedirected(*commands_[i].reply)) again.push_back(&commands_[i]);
    }
    if (again.empty()) return Status::OK();
    GNOMON_RETURN_NOT_OK(context.Check());
    // The first time it is sure to be news; later the cluster is at something.
    if (redirection > 1)
      std::this_thread::sleep_for(std::chrono::milliseconds(5 << redirection / 2));
    GNOMON_RETURN_NOT_OK(Redirect(context, again));
  }
  return again.front()->reply->ToStatus(place());
}

/// Sends commands once more, where their answers say, and takes the new answers.
Status RedisClusterConnection::Redirect(const Context& context,
                                        const std::vector<Command*>& commands) {
  const auto moved = std::ranges::find_if(commands, [](const Command* command) {
    return VerdictOf(*command->reply) == Verdict::kMoved;
  });
  if (moved != commands.end()) {
    GNOMON_ASSIGN_OR_RETURN(RedisConnection* const connection, TargetOf(context, **moved));
    GNOMON_ASSIGN_OR_RETURN(const RedisAddress address, ParseAddress(connection->place(), {}));
    GNOMON_ASSIGN_OR_RETURN(slots_, cluster_->Ask(context, address, connection));
  }
  for (Command* command : commands) {
    GNOMON_ASSIGN_OR_RETURN(command->connection, TargetOf(context, *command));
    if (VerdictOf(*command->reply) == Verdict::kAsk) command->connection->Append({"ASKING"});
    command->connection->AppendBytes(BytesOf(*command));
  }
  GNOMON_RETURN_NOT_OK(SendAll(context));
  for (Command* command : commands) {
    if (VerdictOf(*command->reply) == Verdict::kAsk)
      GNOMON_RETURN_NOT_OK(command->connection->Next(context).status());
    GNOMON_ASSIGN_OR_RETURN(command->reply, command->connection->Next(context));
  }
  return Status::OK();
}

Result<RedisConnection*> RedisClusterConnection::TargetOf(const Context& context,
                                                          const Command& command) {
  if (VerdictOf(*command.reply) == Verdict::kTryAgain) return command.connection;
  GNOMON_ASSIGN_OR_RETURN(const RedisAddress own, ParseAddress(command.connection->place(), {}));
  GNOMON_ASSIGN_OR_RETURN(const RedisAddress address,
                          ParseAddress(command.reply->ErrorText(), own.host));
  return Open(context, address);
}

}  // namespace gnomon::feature::internal
