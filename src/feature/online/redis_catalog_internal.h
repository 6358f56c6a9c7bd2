#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "feature/online/redis_pool_internal.h"

/// Which tables Gnomon has prepared in a Redis database, one hash for each project:
/// docs/formats/online_packed.md draws it. Ids are never used twice.
namespace gnomon::feature::internal {

inline constexpr int64_t kRedisFormatVersion = 1;

struct RedisTable {
  OnlineLayout layout = OnlineLayout::kPacked;
  int64_t id = 0;  ///< of the packed rows; 0: there are none
  bool operator==(const RedisTable&) const = default;
};

/// The key of a packed row without the entity key.
std::string RedisRowPrefix(const std::string& project, int64_t id);
/// The key of Feast's hash of an entity, of the version that the store writes.
std::string RedisFeastKey(std::string_view key, const OnlineTable& table, int version);
/// The field of a view's event time in Feast's hashes.
std::string RedisTimeField(std::string_view view);

/// Appends the question for a table's entry; TableOf reads its answer. Absent: not prepared.
/// kUnsupported when a newer Gnomon wrote the catalogue.
void AskForTable(const OnlineTable& table, RedisCommands* connection);
Result<std::optional<RedisTable>> TableOf(const RedisReply& reply, const LayoutOptions& options,
                                          const OnlineTable& table, const std::string& place);

/// kNotFound: "run: gnomon apply".
Status NotInRedis(const OnlineTable& table, const std::string& place);

/// Makes the entry of a table where it is missing. Where the configuration asks for no layout,
/// keys of Feast's decide it.
Status PrepareRedisTable(const Context& context, const LayoutOptions& options,
                         const OnlineTable& table, RedisClient* client);

/// The id under which rows of `schema` are written: a hash of it, noted in the catalogue.
Result<int64_t> NoteRedisSchema(const Context& context, const std::string& project, int64_t table,
                                const arrow::Schema& schema, RedisClient* client);
/// kDataLoss when it is not there.
Result<std::shared_ptr<arrow::Schema>> LoadRedisSchema(const Context& context,
                                                       const std::string& project, int64_t table,
                                                       int64_t schema, RedisClient* client);

/// Calls `body` with pieces of the keys that match a pattern, of all servers, without blocking
/// them. A key may come twice, and be missed while a cluster moves it. `body` may use the
/// connection; false ends the scan.
Status ScanRedis(const Context& context, std::string_view pattern, RedisClient* client,
                 const std::function<Result<bool>(std::span<const std::string> keys)>& body);

/// Of keys that end with the project's name, those that are hashes of Feast's with rows of the
/// view.
Result<std::vector<std::string>> FeastHashesOf(const Context& context, const OnlineTable& table,
                                               std::span<const std::string> keys,
                                               RedisClient* client);

/// Removes the data, then the entries of the project's views that are not in `keep`.
Status DropRedisTables(const Context& context, const std::string& project,
                       std::span<const std::string> keep, RedisClient* client);

}  // namespace gnomon::feature::internal
