#include <algorithm>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/redis_rows_internal.h"

namespace gnomon::feature::internal {
namespace {

/// Of a packed row: event time, created time (both big-endian with the sign flipped, so that their
/// bytes order as they do), the schema's id.
constexpr size_t kHeaderBytes = 24;

int64_t LoadOrdered(std::string_view bytes) {
  uint64_t bits = 0;
  for (size_t i = 0; i < 8; ++i) bits = bits << 8 | static_cast<unsigned char>(bytes[i]);
  return static_cast<int64_t>(bits ^ uint64_t{1} << 63);
}

}  // namespace

void RedisRowReader::AskPacked(std::span<const RedisTable> tables,
                               RedisCommands* connection) const {
  std::string keys;
  std::vector<size_t> ends;
  for (size_t i = 0; i < reads_.size(); ++i) {
    const OnlineRead& read = reads_[i];
    if (tables[i].id == 0) continue;
    const std::string prefix = RedisRowPrefix(read.table->project, tables[i].id);
    for (const std::string_view key : read.keys) {
      keys.append(prefix).append(key);
      ends.push_back(keys.size());
    }
  }
  if (ends.empty()) return;
  std::vector<std::string_view> words{"MGET"};
  size_t begin = 0;
  for (const size_t end : ends) {
    const std::string_view key = std::string_view(keys).substr(begin, end - begin);
    if (connection->keeps_keys_apart()) {
      connection->Append({"GET", key});
    } else {
      words.push_back(key);
    }
    begin = end;
  }
  if (!connection->keeps_keys_apart()) connection->Append(words);
}

void RedisRowReader::Ask(std::span<const RedisTable> tables, RedisCommands* connection) const {
  AskPacked(tables, connection);
  for (size_t i = 0; i < reads_.size(); ++i) {
    const OnlineRead& read = reads_[i];
    if (tables[i].id != 0) continue;
    std::vector<std::string> fields{RedisTimeField(read.table->view)};
    for (const int field : read.fields)
      fields.push_back(FeastFieldName(read.table->view, read.table->schema->field(field)->name()));
    std::vector<std::string_view> words{"HMGET", ""};
    words.insert(words.end(), fields.begin(), fields.end());
    for (const std::string_view key : read.keys) {
      const std::string hash = RedisFeastKey(key, *read.table, options_.key_version);
      words[1] = hash;
      connection->Append(words);
    }
  }
}

size_t RedisRowReader::NumPacked(std::span<const RedisTable> tables) const {
  size_t count = 0;
  for (size_t i = 0; i < reads_.size(); ++i) count += tables[i].id != 0 ? reads_[i].keys.size() : 0;
  return count;
}

Status RedisRowReader::Skip(const Context& context, std::span<const RedisTable> tables,
                            RedisCommands* connection) const {
  const size_t packed = NumPacked(tables);
  size_t answers = connection->keeps_keys_apart() ? packed : std::min<size_t>(packed, 1);
  for (size_t i = 0; i < reads_.size(); ++i)
    answers += tables[i].id == 0 ? reads_[i].keys.size() : 0;
  for (; answers > 0; --answers) GNOMON_RETURN_NOT_OK(connection->Next(context).status());
  return Status::OK();
}

Result<RedisRowReader::PackedAnswers> RedisRowReader::NextPacked(const Context& context,
                                                                 std::span<const RedisTable> tables,
                                                                 RedisCommands* connection) const {
  PackedAnswers answers;
  const size_t count = NumPacked(tables);
  if (!connection->keeps_keys_apart()) {
    if (count == 0) return answers;
    GNOMON_ASSIGN_OR_RETURN(answers.all, connection->NextOk(context));
    return answers;
  }
  answers.each.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto answer, connection->NextOk(context));
    answers.each.push_back(std::move(answer));
  }
  return answers;
}

Result<std::vector<OnlineValues>> RedisRowReader::Take(const Context& context,
                                                       std::span<const RedisTable> tables,
                                                       RedisClient* client) const {
  GNOMON_ASSIGN_OR_RETURN(const PackedAnswers packed,
                          NextPacked(context, tables, client->connection.get()));
  std::vector<OnlineValues> values(reads_.size());
  // Feast's answers are taken first: a packed row may ask for its schema.
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (tables[i].id != 0) continue;
    GNOMON_ASSIGN_OR_RETURN(values[i], TakeFeast(context, reads_[i], client->connection.get()));
  }
  size_t first = 0;
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (tables[i].id == 0) continue;
    auto taken = TakePacked(context, reads_[i], tables[i].id, packed, first, client);
    if (!taken.ok()) {
      client->packed.erase(tables[i].id);
      return WithContext(taken.status(), Concat("redis ", client->connection->place(), ", view ",
                                                Quoted(reads_[i].table->view)));
    }
    values[i] = *std::move(taken);
    first += reads_[i].keys.size();
  }
  return values;
}

Result<OnlineValues> RedisRowReader::TakePacked(const Context& context, const OnlineRead& read,
                                                int64_t id, const PackedAnswers& rows, size_t first,
                                                RedisClient* client) const {
  PackedRows& decoder = client->packed[id];
  GNOMON_RETURN_NOT_OK(decoder.Start(read));
  const PackedRows::LoadSchema load = [&](int64_t schema) {
    return LoadRedisSchema(context, read.table->project, id, schema, client);
  };
  OnlineValues values;
  values.found.resize(read.keys.size());
  values.event_times.resize(read.keys.size());
  for (size_t row = 0; row < read.keys.size(); ++row) {
    const auto stored = rows.TextAt(first + row);
    if (!stored.has_value() || read.keys[row].empty()) {
      GNOMON_RETURN_NOT_OK(decoder.AppendMissing());
      continue;
    }
    const std::string_view bytes = *stored;
    if (bytes.size() < kHeaderBytes)
      return Error(ErrorKind::kDataLoss, "a stored row is truncated: ", bytes.size(), " bytes");
    values.found[row] = true;
    values.event_times[row] = LoadOrdered(bytes);
    GNOMON_RETURN_NOT_OK(
        decoder.Append(LoadOrdered(bytes.substr(16)), bytes.substr(kHeaderBytes), load));
  }
  GNOMON_ASSIGN_OR_RETURN(values.columns, decoder.Finish());
  return values;
}

Result<OnlineValues> RedisRowReader::TakeFeast(const Context& context, const OnlineRead& read,
                                               RedisCommands* connection) const {
  GNOMON_ASSIGN_OR_RETURN(auto columns, FeastColumns::Make(*read.table, read.fields));
  GNOMON_RETURN_NOT_OK(columns.Reserve(static_cast<int64_t>(read.keys.size())));
  OnlineValues values;
  values.found.resize(read.keys.size());
  values.event_times.resize(read.keys.size());
  Status failed;  // the answers behind it are taken nevertheless
  for (size_t row = 0; row < read.keys.size(); ++row) {
    GNOMON_ASSIGN_OR_RETURN(const auto hash, connection->Next(context));
    if (failed.ok()) failed = hash.ToStatus(connection->place());
    const auto stamp = hash.TextAt(0);
    if (!failed.ok() || !stamp.has_value() || read.keys[row].empty()) {
      GNOMON_RETURN_NOT_OK(columns.EndRow());
      continue;
    }
    const auto time = ParseTimestampBytes(*stamp);
    if (!time.has_value()) {
      failed = Error(ErrorKind::kDataLoss, "redis ", connection->place(), ", view ",
                     Quoted(read.table->view), ": a stored event time is damaged");
      continue;
    }
    values.found[row] = true;
    values.event_times[row] = *time;
    for (size_t i = 0; failed.ok() && i < read.fields.size(); ++i) {
      const auto value = hash.TextAt(i + 1);
      if (!value.has_value()) continue;
      failed = columns.Set(i, *value);
      if (!failed.ok()) failed = WithContext(failed, Concat("redis ", connection->place()));
    }
    if (failed.ok()) GNOMON_RETURN_NOT_OK(columns.EndRow());
  }
  GNOMON_RETURN_NOT_OK(failed);
  GNOMON_ASSIGN_OR_RETURN(values.columns, columns.Finish());
  return values;
}

}  // namespace gnomon::feature::internal
