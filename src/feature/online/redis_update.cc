#include <unordered_map>
#include <utility>

#include "feature/online/redis_scripts_internal.h"
#include "feature/online/redis_update_internal.h"

namespace gnomon::feature::internal {

Result<bool> RedisUpdate::Try(const Context& context, const RedisTable& table,
                              RedisClient* client) {
  return client->connection->keeps_keys_apart() ? TryEach(context, table, client)
                                                : TryTogether(context, table, client);
}

std::vector<std::string> RedisUpdate::Keys(const RedisTable& table) const {
  std::vector<std::string> keys;
  for (const std::string_view key : read_.keys) {
    keys.push_back(table.id != 0 ? RedisRowPrefix(read_.table->project, table.id).append(key)
                                 : RedisFeastKey(key, *read_.table, layout_.key_version));
  }
  return keys;
}

/// Asks for the rows, and takes the answer to that only: what was asked before is to be taken
/// before.
Result<RedisRowWriter> RedisUpdate::Changed(const Context& context, const RedisTable& table,
                                            RedisClient* client) const {
  const RedisRowReader reader(layout_, {&read_, 1});
  reader.Ask({&table, 1}, client->connection.get());
  GNOMON_ASSIGN_OR_RETURN(const auto stored, reader.Take(context, {&table, 1}, client));
  GNOMON_ASSIGN_OR_RETURN(const OnlineRows rows, change_(stored.front()));
  GNOMON_ASSIGN_OR_RETURN(auto writer,
                          RedisRowWriter::Make(*read_.table, table, layout_, key_ttl_seconds_));
  if (!rows.keys.empty()) GNOMON_RETURN_NOT_OK(writer.Add(context, rows));
  return writer;
}

Result<bool> RedisUpdate::TryTogether(const Context& context, const RedisTable& table,
                                      RedisClient* client) {
  RedisCommands* connection = client->connection.get();
  const std::vector<std::string> keys = Keys(table);
  std::vector<std::string_view> watch{"WATCH"};
  watch.insert(watch.end(), keys.begin(), keys.end());
  if (!keys.empty()) connection->Append(watch);
  if (!keys.empty()) GNOMON_RETURN_NOT_OK(connection->NextOk(context).status());
  auto rows = Changed(context, table, client);
  if (!rows.ok() || rows->empty()) {
    GNOMON_RETURN_NOT_OK(connection->Run(context, {"UNWATCH"}).status());
    GNOMON_RETURN_NOT_OK(rows.status());
    return true;
  }
  GNOMON_RETURN_NOT_OK(rows->Begin(context, client));
  size_t pieces = 0;
  connection->Append({"MULTI"});
  for (size_t begin = 0; begin < rows->num_rows(); ++pieces)
    begin += rows->Append(begin, connection);
  connection->Append({"EXEC"});
  for (size_t i = 0; i < 1 + pieces * rows->num_answers_of_piece(); ++i)
    GNOMON_RETURN_NOT_OK(connection->Next(context).status());  // QUEUED; EXEC tells what was not
  GNOMON_ASSIGN_OR_RETURN(const auto done, connection->NextOk(context));
  if (done.is_nil()) return false;
  for (size_t i = 0; i < done.size(); ++i)
    GNOMON_RETURN_NOT_OK(done.At(i).ToStatus(connection->place()));
  return true;
}

Result<bool> RedisUpdate::TryEach(const Context& context, const RedisTable& table,
                                  RedisClient* client) {
  RedisCommands* connection = client->connection.get();
  const std::vector<std::string> keys = Keys(table);
  std::unordered_map<std::string, std::string> digests;
  // The digest is taken before the row: a row that changes in between is then not what it was.
  for (const std::string& key : keys)
    connection->Append({"EVALSHA", GetRedisScripts().digest, "1", key});
  for (const std::string& key : keys) {
    GNOMON_ASSIGN_OR_RETURN(const auto digest, connection->NextOk(context));
    digests.emplace(key, digest.Text());
  }
  GNOMON_ASSIGN_OR_RETURN(auto rows, Changed(context, table, client));
  if (rows.empty()) return true;
  GNOMON_RETURN_NOT_OK(rows.Begin(context, client));
  std::vector<size_t> asked;
  for (size_t row = 0; row < rows.num_rows(); ++row) {
    const std::string key = rows.KeyOf(row);
    if (done_.contains(key)) continue;
    rows.AppendUnlessChanged(row, digests[key], connection);
    asked.push_back(row);
  }
  std::vector<size_t> written;
  Status failed;
  for (const size_t row : asked) {
    GNOMON_ASSIGN_OR_RETURN(const auto answer, connection->Next(context));
    if (failed.ok()) failed = answer.ToStatus(connection->place());
    if (answer.is_nil() || !answer.ErrorText().empty()) continue;
    written.push_back(row);
    done_.insert(rows.KeyOf(row));
  }
  GNOMON_RETURN_NOT_OK(failed);
  GNOMON_RETURN_NOT_OK(WriteSecondKeys(context, rows, written, client));
  return written.size() == asked.size();
}

Status RedisUpdate::WriteSecondKeys(const Context& context, const RedisRowWriter& rows,
                                    const std::vector<size_t>& written, RedisClient* client) {
  if (!rows.has_second_key()) return Status::OK();
  for (const size_t row : written) rows.AppendSecondKey(row, client->connection.get());
  for (size_t i = 0; i < written.size(); ++i)
    GNOMON_RETURN_NOT_OK(client->connection->NextOk(context).status());
  return Status::OK();
}

}  // namespace gnomon::feature::internal
