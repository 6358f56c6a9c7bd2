#include <chrono>
#include <map>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>

#include "base/mutex.h"
#include "base/text.h"
#include "feature/online/redis_rows_internal.h"
#include "feature/online/redis_store_internal.h"
#include "feature/online/redis_update_internal.h"

namespace gnomon::feature::internal {
namespace {

/// What a write keeps back at most before it sends something.
constexpr size_t kBufferBytes = size_t{64} << 20;

std::shared_ptr<RedisTls> TlsOf(const RepositoryConfig::OnlineStore& config) {
  if (config.sslmode.empty()) return nullptr;
  return std::make_shared<RedisTls>(RedisTlsOptions{.ca_file = config.sslrootcert,
                                                    .certificate_file = config.sslcert,
                                                    .key_file = config.sslkey,
                                                    .verify = config.sslmode != "require",
                                                    .check_host = config.sslmode == "verify-full"});
}

RedisOptions OptionsOf(const RepositoryConfig::OnlineStore& config) {
  return {.host = config.host.empty() ? "localhost" : config.host,
          .port = config.port == 0 ? 6379 : config.port,
          .database = config.database,
          .user = config.user,
          .password = config.password,
          .timeout_seconds = config.socket_timeout_seconds,
          .tls = TlsOf(config)};
}

std::vector<RedisAddress> ServersOf(const RepositoryConfig::OnlineStore& config) {
  std::vector<RedisAddress> servers;
  for (const auto& [host, port] : config.servers) servers.push_back({host, port});
  return servers;
}

/// What a store and its open writers share; it lives as long as any of them.
struct Shared {
  Shared(const RepositoryConfig::OnlineStore& config, const LayoutOptions& layout_options)
      : pool(OptionsOf(config), ServersOf(config), config.max_connections),
        layout(layout_options),
        key_ttl_seconds(config.key_ttl_seconds) {}
  RedisPool pool;
  const LayoutOptions layout;
  const int64_t key_ttl_seconds;
};

class RedisWriter : public OnlineWriter {
 public:
  RedisWriter(std::shared_ptr<Shared> shared, RedisRowWriter rows)
      : shared_(std::move(shared)), rows_(std::move(rows)) {}

  Status Write(const Context& context, const OnlineRows& rows) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(CheckOpen());
    Status status = rows_->Add(context, rows);
    if (status.ok() && rows_->num_bytes() > kBufferBytes) status = Send(context);
    if (!status.ok()) rows_.reset();
    return status;
  }

  Status Commit(const Context& context) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(CheckOpen());
    Status status = Send(context);
    rows_.reset();
    return status;
  }

 private:
  Status CheckOpen() const {
    if (rows_.has_value()) return Status::OK();
    return Error(ErrorKind::kInternal,
                 "the online write has ended: it was committed or has failed");
  }

  Status Send(const Context& context) {
    const Status status = shared_->pool.Run(
        context, [&](RedisClient* client) { return rows_->Send(context, client); });
    if (status.ok()) rows_->Clear();
    return status;
  }

  std::shared_ptr<Shared> shared_;
  std::optional<RedisRowWriter> rows_;
};

class RedisStore : public OnlineStore {
 public:
  explicit RedisStore(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  Status Prepare(const Context& context, std::span<const OnlineTable> tables) override {
    return shared_->pool.Run(context, [&](RedisClient* client) -> Status {
      for (const OnlineTable& table : tables)
        GNOMON_RETURN_NOT_OK(PrepareRedisTable(context, shared_->layout, table, client));
      return Status::OK();
    });
  }

  Status Check(const Context& context) override {
    return shared_->pool.Run(context, [&](RedisClient* client) -> Status {
      const std::vector<std::string> servers = client->connection->Servers();
      for (const std::string& server : servers) {
        const std::string_view ping = "PING";
        client->connection->AppendTo(server, {&ping, 1});
      }
      for (size_t i = 0; i < servers.size(); ++i)
        GNOMON_RETURN_NOT_OK(client->connection->NextOk(context).status());
      return Status::OK();
    });
  }

  Status DropExcept(const Context& context, const std::string& project,
                    std::span<const std::string> keep) override {
    return shared_->pool.Run(context, [&](RedisClient* client) {
      return DropRedisTables(context, project, keep, client);
    });
  }

  Status Teardown(const Context& context, const std::string& project) override {
    return DropExcept(context, project, {});
  }

  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context& context,
                                                   const OnlineTable& table) override {
    RedisTable found;
    GNOMON_RETURN_NOT_OK(shared_->pool.Run(context, [&](RedisClient* client) -> Status {
      GNOMON_ASSIGN_OR_RETURN(found, Find(context, table, client));
      return Status::OK();
    }));
    GNOMON_ASSIGN_OR_RETURN(
        auto rows, RedisRowWriter::Make(table, found, shared_->layout, shared_->key_ttl_seconds));
    return std::make_unique<RedisWriter>(shared_, std::move(rows));
  }

  Result<std::vector<OnlineValues>> Read(const Context& context,
                                         std::span<const OnlineRead> reads) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    std::vector<OnlineValues> values;
    if (reads.empty()) return values;
    GNOMON_RETURN_NOT_OK(shared_->pool.Read(context, [&](RedisClient* client) -> Status {
      GNOMON_ASSIGN_OR_RETURN(values, ReadWith(context, reads, client));
      return Status::OK();
    }));
    return values;
  }

  Status Update(const Context& context, const OnlineRead& read,
                const std::function<Result<OnlineRows>(const OnlineValues&)>& change) override {
    RedisUpdate update(shared_->layout, shared_->key_ttl_seconds, read, change);
    for (;;) {
      GNOMON_RETURN_NOT_OK(context.Check());
      bool changed = false;
      GNOMON_RETURN_NOT_OK(shared_->pool.RunOnce(context, [&](RedisClient* client) -> Status {
        GNOMON_ASSIGN_OR_RETURN(const RedisTable table, Find(context, *read.table, client));
        GNOMON_ASSIGN_OR_RETURN(changed, update.Try(context, table, client));
        return Status::OK();
      }));
      if (changed) return Status::OK();
      std::this_thread::sleep_for(std::chrono::microseconds(100));  // another writer was faster
    }
  }

  Result<int64_t> CountRows(const Context& context, const OnlineTable& table) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    std::unordered_set<size_t> keys;  // a scan may name a key twice
    GNOMON_RETURN_NOT_OK(shared_->pool.Run(context, [&](RedisClient* client) -> Status {
      keys.clear();
      GNOMON_ASSIGN_OR_RETURN(const RedisTable found, Find(context, table, client));
      const auto add = [&](std::span<const std::string> names) {
        for (const std::string& name : names) keys.insert(std::hash<std::string>()(name));
      };
      if (found.id != 0) {
        return ScanRedis(context, Concat(RedisRowPrefix(table.project, found.id), "*"), client,
                         [&](std::span<const std::string> names) -> Result<bool> {
                           add(names);
                           return true;
                         });
      }
      return ScanRedis(context, Concat("*", table.project), client,
                       [&](std::span<const std::string> names) -> Result<bool> {
                         GNOMON_ASSIGN_OR_RETURN(const auto hashes,
                                                 FeastHashesOf(context, table, names, client));
                         add(hashes);
                         return true;
                       });
    }));
    return static_cast<int64_t>(keys.size());
  }

 private:
  using TableName = std::pair<std::string, std::string>;

  Result<RedisTable> Find(const Context& context, const OnlineTable& table, RedisClient* client) {
    AskForTable(table, client->connection.get());
    GNOMON_ASSIGN_OR_RETURN(const auto entry, client->connection->Next(context));
    GNOMON_ASSIGN_OR_RETURN(const auto found,
                            TableOf(entry, shared_->layout, table, client->connection->place()));
    if (!found.has_value()) return NotInRedis(table, client->connection->place());
    return *found;
  }

  /// What was found last time; absent when any of the tables is new to us.
  std::optional<std::vector<RedisTable>> Remembered(std::span<const OnlineRead> reads) {
    const MutexLock lock(mutex_);
    std::vector<RedisTable> tables;
    for (const OnlineRead& read : reads) {
      const auto known = tables_.find(TableName(read.table->project, read.table->view));
      if (known == tables_.end()) return std::nullopt;
      tables.push_back(known->second);
    }
    return tables;
  }

  /// Asks for the rows where they were last time, and whether they still lie there: one round
  /// trip, unless a table was made anew.
  Result<std::vector<OnlineValues>> ReadWith(const Context& context,
                                             std::span<const OnlineRead> reads,
                                             RedisClient* client) {
    RedisCommands* connection = client->connection.get();
    const RedisRowReader reader(shared_->layout, reads);
    const auto remembered = Remembered(reads);
    for (const OnlineRead& read : reads) AskForTable(*read.table, connection);
    if (remembered.has_value()) reader.Ask(*remembered, connection);
    std::vector<RedisTable> tables;
    Status failed;
    for (const OnlineRead& read : reads) {
      GNOMON_ASSIGN_OR_RETURN(const auto entry, connection->Next(context));
      const auto found = TableOf(entry, shared_->layout, *read.table, connection->place());
      if (failed.ok()) failed = found.status();
      if (failed.ok() && !found->has_value()) failed = NotInRedis(*read.table, connection->place());
      if (failed.ok()) tables.push_back(**found);
    }
    if (failed.ok() && remembered == tables) return reader.Take(context, tables, client);
    if (remembered.has_value()) GNOMON_RETURN_NOT_OK(reader.Skip(context, *remembered, connection));
    GNOMON_RETURN_NOT_OK(failed);
    {
      const MutexLock lock(mutex_);
      for (size_t i = 0; i < reads.size(); ++i)
        tables_[TableName(reads[i].table->project, reads[i].table->view)] = tables[i];
    }
    reader.Ask(tables, connection);
    return reader.Take(context, tables, client);
  }

  const std::shared_ptr<Shared> shared_;
  Mutex mutex_;
  std::map<TableName, RedisTable> tables_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<OnlineStore>> OpenRedisStore(const RepositoryConfig::OnlineStore& config) {
  GNOMON_ASSIGN_OR_RETURN(const LayoutOptions layout, LayoutOptionsOf(config));
  return std::make_unique<RedisStore>(std::make_shared<Shared>(config, layout));
}

}  // namespace gnomon::feature::internal
