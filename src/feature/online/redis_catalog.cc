#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/entity_key_shape_internal.h"
#include "feature/online/redis_catalog_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr std::string_view kPacked = "packed:";      // and the view: the id of its packed rows
constexpr std::string_view kFeast = "feast:";        // and the view: "1"
constexpr std::string_view kFeatures = "features:";  // and the view: what its hashes hold, a schema
constexpr std::string_view kScanCount = "1000";

std::string CatalogKey(const std::string& project) { return Concat("gnomon:online:", project); }

std::string SchemaField(int64_t table, int64_t schema) {
  return Concat("schema:", table, ":", schema);
}

bool ParseInteger(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

/// FNV-1a, 63 bits, never 0.
int64_t HashOf(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return static_cast<int64_t>(hash >> 1 | 1);
}

Status DropPackedRows(const Context& context, const std::string& prefix, RedisClient* client) {
  return ScanRedis(context, Concat(prefix, "*"), client,
                   [&](std::span<const std::string> keys) -> Result<bool> {
                     for (const std::string& key : keys)
                       client->connection->Append({"UNLINK", key});
                     for (size_t i = 0; i < keys.size(); ++i)
                       GNOMON_RETURN_NOT_OK(client->connection->NextOk(context).status());
                     return true;
                   });
}

Status DropFeastFields(const Context& context, const OnlineTable& table, RedisClient* client) {
  std::vector<std::string> fields{RedisTimeField(table.view)};
  for (const auto& field : table.schema->fields())
    fields.push_back(FeastFieldName(table.view, field->name()));
  return ScanRedis(context, Concat("*", table.project), client,
                   [&](std::span<const std::string> keys) -> Result<bool> {
                     GNOMON_ASSIGN_OR_RETURN(const auto hashes,
                                             FeastHashesOf(context, table, keys, client));
                     for (const std::string& hash : hashes) {
                       std::vector<std::string_view> words{"HDEL", hash};
                       words.insert(words.end(), fields.begin(), fields.end());
                       client->connection->Append(words);
                     }
                     for (size_t i = 0; i < hashes.size(); ++i)
                       GNOMON_RETURN_NOT_OK(client->connection->NextOk(context).status());
                     return true;
                   });
}

/// Has Feast written rows of the view?
Result<bool> HasFeastRows(const Context& context, const OnlineTable& table, RedisClient* client) {
  bool any = false;
  GNOMON_RETURN_NOT_OK(ScanRedis(
      context, Concat("*", table.project), client,
      [&](std::span<const std::string> keys) -> Result<bool> {
        GNOMON_ASSIGN_OR_RETURN(const auto hashes, FeastHashesOf(context, table, keys, client));
        any = !hashes.empty();
        return !any;
      }));
  return any;
}

}  // namespace

std::string RedisRowPrefix(const std::string& project, int64_t id) {
  return Concat("gnomon:", project, ":", id, ":");
}

std::string RedisFeastKey(std::string_view key, const OnlineTable& table, int version) {
  return FeastKey(key, version) + table.project;
}

std::string RedisTimeField(std::string_view view) { return Concat("_ts:", view); }

void AskForTable(const OnlineTable& table, RedisCommands* connection) {
  connection->Append({"HMGET", CatalogKey(table.project), "format", Concat(kPacked, table.view),
                      Concat(kFeast, table.view)});
}

Result<std::optional<RedisTable>> TableOf(const RedisReply& reply, const LayoutOptions& options,
                                          const OnlineTable& table, const std::string& place) {
  GNOMON_RETURN_NOT_OK(reply.ToStatus(place));
  if (reply.At(0).is_nil()) return std::nullopt;
  int64_t version = 0;
  if (!ParseInteger(reply.At(0).Text(), &version))
    return Error(ErrorKind::kDataLoss, "redis ", place, ": ", CatalogKey(table.project),
                 " has no format version");
  if (version > kRedisFormatVersion) {
    return MakeError(ErrorKind::kUnsupported,
                     Concat("online store has format version ", version,
                            ", this build reads up to ", kRedisFormatVersion, ": redis ", place),
                     {}, "a newer gnomon wrote it: use that one");
  }
  RedisTable found;
  if (!reply.At(1).is_nil() && !ParseInteger(reply.At(1).Text(), &found.id))
    return Error(ErrorKind::kDataLoss, "redis ", place, ": ", CatalogKey(table.project),
                 " has no number for view ", Quoted(table.view));
  GNOMON_ASSIGN_OR_RETURN(
      const auto layout,
      LayoutToUse(options, table, {.packed = found.id != 0, .feast = !reply.At(2).is_nil()}));
  if (!layout.has_value()) return std::nullopt;
  found.layout = *layout;
  if (found.layout == OnlineLayout::kFeast && table.features == nullptr) found.id = 0;
  return found;
}

Status NotInRedis(const OnlineTable& table, const std::string& place) {
  return MakeError(ErrorKind::kNotFound,
                   Concat("online store has no table of view ", Quoted(table.view), " of project ",
                          Quoted(table.project), ": redis ", place),
                   {}, "run: gnomon apply");
}

Status PrepareRedisTable(const Context& context, const LayoutOptions& options,
                         const OnlineTable& table, RedisClient* client) {
  RedisCommands& connection = *client->connection;
  const std::string catalog = CatalogKey(table.project);
  AskForTable(table, &connection);
  GNOMON_ASSIGN_OR_RETURN(const auto entry, connection.NextOk(context));
  GNOMON_RETURN_NOT_OK(TableOf(entry, options, table, connection.place()).status());
  FoundTables found{.packed = !entry.At(1).is_nil(), .feast = !entry.At(2).is_nil()};
  if (!found.packed && !found.feast) {
    GNOMON_ASSIGN_OR_RETURN(found.feast, HasFeastRows(context, table, client));
  }
  GNOMON_ASSIGN_OR_RETURN(const OnlineLayout layout, LayoutToPrepare(options, table, found));
  connection.Append({"HSETNX", catalog, "format", Concat(kRedisFormatVersion)});
  GNOMON_RETURN_NOT_OK(connection.NextOk(context).status());
  if (layout == OnlineLayout::kFeast) {
    GNOMON_RETURN_NOT_OK(CheckFeastSchema(table));
    GNOMON_ASSIGN_OR_RETURN(const std::string features, SerializeSchema(*FeastSchema(table)));
    GNOMON_RETURN_NOT_OK(connection
                             .Run(context, {"HSET", catalog, Concat(kFeatures, table.view),
                                            features, Concat(kFeast, table.view), "1"})
                             .status());
  }
  if (found.packed || (layout == OnlineLayout::kFeast && table.features == nullptr))
    return Status::OK();
  const auto codec = table::RowCodec::Make(table.schema);
  if (!codec.ok())
    return WithContext(codec.status(), Concat("online table of view ", Quoted(table.view)));
  // Numbers begin with the time, so that none comes back after a teardown.
  const std::string now = Concat(context.clock->NowMicros());
  GNOMON_RETURN_NOT_OK(connection.Run(context, {"HSETNX", catalog, "next", now}).status());
  GNOMON_ASSIGN_OR_RETURN(const auto next,
                          connection.Run(context, {"HINCRBY", catalog, "next", "1"}));
  // Of two that prepare it at once the first one's number stays.
  return connection
      .Run(context, {"HSETNX", catalog, Concat(kPacked, table.view), Concat(next.Integer())})
      .status();
}

Result<int64_t> NoteRedisSchema(const Context& context, const std::string& project, int64_t table,
                                const arrow::Schema& schema, RedisClient* client) {
  GNOMON_ASSIGN_OR_RETURN(const std::string bytes, SerializeSchema(schema));
  const int64_t id = HashOf(bytes);
  GNOMON_RETURN_NOT_OK(
      client->connection
          ->Run(context, {"HSETNX", CatalogKey(project), SchemaField(table, id), bytes})
          .status());
  return id;
}

Result<std::shared_ptr<arrow::Schema>> LoadRedisSchema(const Context& context,
                                                       const std::string& project, int64_t table,
                                                       int64_t schema, RedisClient* client) {
  GNOMON_ASSIGN_OR_RETURN(
      const auto bytes,
      client->connection->Run(context, {"HGET", CatalogKey(project), SchemaField(table, schema)}));
  if (bytes.is_nil()) {
    return Error(ErrorKind::kDataLoss,
                 "online store has rows of a schema that it does not have: redis ",
                 client->connection->place(), ", schema ", schema);
  }
  return ParseSchema(bytes.Text());
}

Status ScanRedis(const Context& context, std::string_view pattern, RedisClient* client,
                 const std::function<Result<bool>(std::span<const std::string> keys)>& body) {
  for (const std::string& server : client->connection->Servers()) {
    std::string cursor = "0";
    do {
      GNOMON_RETURN_NOT_OK(context.Check());
      const std::array<std::string_view, 6> words = {"SCAN",  cursor,  "MATCH",
                                                     pattern, "COUNT", kScanCount};
      client->connection->AppendTo(server, words);
      GNOMON_ASSIGN_OR_RETURN(const auto piece, client->connection->NextOk(context));
      cursor = piece.At(0).Text();
      const RedisReply names = piece.At(1);
      std::vector<std::string> keys;
      keys.reserve(names.size());
      for (size_t i = 0; i < names.size(); ++i) keys.emplace_back(names.At(i).Text());
      if (keys.empty()) continue;
      GNOMON_ASSIGN_OR_RETURN(const bool more, body(keys));
      if (!more) return Status::OK();
    } while (cursor != "0");
  }
  return Status::OK();
}

Result<std::vector<std::string>> FeastHashesOf(const Context& context, const OnlineTable& table,
                                               std::span<const std::string> keys,
                                               RedisClient* client) {
  std::vector<const std::string*> asked;
  const std::string field = RedisTimeField(table.view);
  for (const std::string& key : keys) {
    if (!key.ends_with(table.project) ||
        !IsEntityKey(std::string_view(key).substr(0, key.size() - table.project.size())))
      continue;
    client->connection->Append({"HEXISTS", key, field});
    asked.push_back(&key);
  }
  std::vector<std::string> hashes;
  for (const std::string* key : asked) {
    // A key that is no hash is somebody else's.
    GNOMON_ASSIGN_OR_RETURN(const auto exists, client->connection->Next(context));
    if (exists.Integer() == 1) hashes.push_back(*key);
  }
  return hashes;
}

Status DropRedisTables(const Context& context, const std::string& project,
                       std::span<const std::string> keep, RedisClient* client) {
  const std::string catalog = CatalogKey(project);
  GNOMON_ASSIGN_OR_RETURN(const auto entries,
                          client->connection->Run(context, {"HGETALL", catalog}));
  const auto is_kept = [&](std::string_view view) {
    return std::ranges::find(keep, view) != keep.end();
  };
  std::vector<std::string> forgotten;
  bool any_kept = false;
  for (size_t i = 0; i + 1 < entries.size(); i += 2) {
    const std::string field(entries.At(i).Text());
    int64_t id = 0;
    if (field.starts_with(kPacked) && !is_kept(field.substr(kPacked.size()))) {
      if (!ParseInteger(entries.At(i + 1).Text(), &id)) continue;
      GNOMON_RETURN_NOT_OK(DropPackedRows(context, RedisRowPrefix(project, id), client));
      for (size_t j = 0; j + 1 < entries.size(); j += 2) {
        if (entries.At(j).Text().starts_with(Concat("schema:", id, ":")))
          forgotten.emplace_back(entries.At(j).Text());
      }
    } else if (field.starts_with(kFeatures) && !is_kept(field.substr(kFeatures.size()))) {
      const std::string view = field.substr(kFeatures.size());
      GNOMON_ASSIGN_OR_RETURN(auto schema, ParseSchema(entries.At(i + 1).Text()));
      GNOMON_RETURN_NOT_OK(DropFeastFields(
          context, {.project = project, .view = view, .schema = std::move(schema)}, client));
      forgotten.push_back(Concat(kFeast, view));
    } else {
      any_kept = any_kept || field.starts_with(kPacked) || field.starts_with(kFeatures);
      continue;
    }
    forgotten.push_back(field);
  }
  if (!forgotten.empty()) {
    std::vector<std::string_view> words{"HDEL", catalog};
    words.insert(words.end(), forgotten.begin(), forgotten.end());
    client->connection->Append(words);
    GNOMON_RETURN_NOT_OK(client->connection->NextOk(context).status());
  }
  return any_kept ? Status::OK() : client->connection->Run(context, {"UNLINK", catalog}).status();
}

}  // namespace gnomon::feature::internal
