#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "base/mutex.h"
#include "base/text.h"
#include "feature/online/postgres_rows_internal.h"
#include "feature/online/postgres_store_internal.h"

namespace gnomon::feature::internal {
namespace {

/// Up to here a write is one statement with its rows as parameters.
constexpr size_t kStatementBytes = size_t{4} << 20;
/// What a write keeps back at most before it sends something.
constexpr size_t kBufferBytes = size_t{64} << 20;

using TableName = std::tuple<std::string, std::string>;  // of a project and a view

/// What a store and its open writers share; it lives as long as any of them.
struct Shared {
  Shared(sql::PostgresOptions options, int max_connections, const LayoutOptions& layout_options)
      : pool(std::move(options), {.max_connections = max_connections}), layout(layout_options) {}
  sql::PostgresPool pool;
  const LayoutOptions layout;
  PostgresSchemas schemas;
  Mutex mutex;
  std::map<TableName, std::shared_ptr<const PostgresTable>, std::less<>> tables
      GNOMON_GUARDED_BY(mutex);

  Result<std::shared_ptr<const PostgresTable>> Find(const Context& context,
                                                    const OnlineTable& table,
                                                    sql::Postgres* connection) {
    {
      const MutexLock lock(mutex);
      const auto known = tables.find(std::tie(table.project, table.view));
      if (known != tables.end()) return known->second;
    }
    GNOMON_ASSIGN_OR_RETURN(const auto found,
                            FindPostgresTable(context, layout, table, connection));
    if (!found.has_value()) return NotInPostgres(table, connection->place());
    auto kept = std::make_shared<const PostgresTable>(*found);
    const MutexLock lock(mutex);
    tables[TableName(table.project, table.view)] = kept;
    return kept;
  }

  void Forget() {
    const MutexLock lock(mutex);
    tables.clear();
  }

  /// Runs `body`, and once more when a table that it remembers is not there any more: another
  /// process may have dropped it and made it anew.
  template <typename Body>
  Status WithTables(const Body& body) {
    bool any = false;
    {
      const MutexLock lock(mutex);
      any = !tables.empty();
    }
    Status status = body();
    if (status.ok() || KindOf(status) != ErrorKind::kNotFound || !any) return status;
    Forget();
    return body();
  }
};

class PostgresWriter : public OnlineWriter {
 public:
  PostgresWriter(std::shared_ptr<Shared> shared, PostgresRows rows)
      : shared_(std::move(shared)), rows_(std::move(rows)) {}

  Status Write(const Context& context, const OnlineRows& rows) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(CheckOpen());
    Status status = rows_->Add(context, rows);
    if (status.ok() && rows_->num_bytes() > kBufferBytes) status = SendAhead(context);
    if (!status.ok()) Close();
    return status;
  }

  Status Commit(const Context& context) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(CheckOpen());
    Status status = lease_.has_value() ? FinishCopy(context) : CommitAll(context);
    Close();
    return status;
  }

 private:
  Status CheckOpen() const {
    if (rows_.has_value()) return Status::OK();
    return Error(ErrorKind::kInternal,
                 "the online write has ended: it was committed or has failed");
  }

  /// A lease that is left inside a transaction is closed, which rolls back.
  void Close() {
    rows_.reset();
    lease_.reset();
  }

  Status CommitAll(const Context& context) {
    return shared_->pool.Run(context, [&](sql::Postgres* connection) {
      return connection->Transaction(context, [&]() -> Status {
        if (rows_->num_bytes() <= kStatementBytes) return rows_->Upsert(context, connection);
        GNOMON_RETURN_NOT_OK(rows_->BeginCopy(context, connection));
        GNOMON_RETURN_NOT_OK(rows_->Copy(context, connection));
        return rows_->Merge(context, connection);
      });
    });
  }

  Status SendAhead(const Context& context) {
    if (!lease_.has_value()) {
      GNOMON_ASSIGN_OR_RETURN(auto lease, shared_->pool.Acquire(context));
      lease_.emplace(std::move(lease));
      GNOMON_RETURN_NOT_OK((*lease_)->Execute(context, "BEGIN"));
      GNOMON_RETURN_NOT_OK(rows_->BeginCopy(context, &**lease_));
    }
    GNOMON_RETURN_NOT_OK(rows_->Copy(context, &**lease_));
    rows_->Clear();
    return Status::OK();
  }

  Status FinishCopy(const Context& context) {
    GNOMON_RETURN_NOT_OK(rows_->Copy(context, &**lease_));
    GNOMON_RETURN_NOT_OK(rows_->Merge(context, &**lease_));
    return (*lease_)->Execute(context, "COMMIT");
  }

  std::shared_ptr<Shared> shared_;
  std::optional<PostgresRows> rows_;
  std::optional<sql::PostgresPool::Lease> lease_;  // after shared_: it goes back first
};

class PostgresStore : public OnlineStore {
 public:
  PostgresStore(std::shared_ptr<Shared> shared, std::string db_schema)
      : shared_(std::move(shared)), db_schema_(std::move(db_schema)) {}

  Status Prepare(const Context& context, std::span<const OnlineTable> tables) override {
    shared_->Forget();
    return shared_->pool.Run(context, [&](sql::Postgres* connection) {
      return PreparePostgresTables(context, shared_->layout, db_schema_, tables, connection);
    });
  }

  Status DropExcept(const Context& context, const std::string& project,
                    std::span<const std::string> keep) override {
    const Status status = shared_->pool.Run(context, [&](sql::Postgres* connection) {
      return DropPostgresTables(context, project, keep, connection);
    });
    shared_->Forget();
    return status;
  }

  Status Teardown(const Context& context, const std::string& project) override {
    return DropExcept(context, project, {});
  }

  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context& context,
                                                   const OnlineTable& table) override {
    PostgresTable found;
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(shared_->pool.Run(context, [&](sql::Postgres* connection) -> Status {
      // As it is now: a write should not fail at its end.
      GNOMON_ASSIGN_OR_RETURN(const auto now,
                              FindPostgresTable(context, shared_->layout, table, connection));
      if (!now.has_value()) return NotInPostgres(table, connection->place());
      found = *now;
      return Status::OK();
    }));
    GNOMON_ASSIGN_OR_RETURN(auto rows, PostgresRows::Make(table, found, shared_->layout));
    return std::make_unique<PostgresWriter>(shared_, std::move(rows));
  }

  Result<std::vector<OnlineValues>> Read(const Context& context,
                                         std::span<const OnlineRead> reads) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    std::vector<OnlineValues> values;
    if (reads.empty()) return values;
    const auto read = [&](sql::Postgres* connection) {
      return ReadWith(context, reads, connection).Value(&values);
    };
    GNOMON_RETURN_NOT_OK(
        shared_->WithTables([&] { return shared_->pool.Read(context, std::ref(read)); }));
    return values;
  }

  Status Update(const Context& context, const OnlineRead& read,
                const std::function<Result<OnlineRows>(const OnlineValues&)>& change) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_ASSIGN_OR_RETURN(auto lease, shared_->pool.Acquire(context));
    sql::Postgres* connection = &*lease;
    return shared_->WithTables([&] {
      return connection->Transaction(context, [&]() -> Status {
        GNOMON_ASSIGN_OR_RETURN(const auto table, shared_->Find(context, *read.table, connection));
        // Other writers wait, readers do not.
        GNOMON_RETURN_NOT_OK(connection->Execute(
            context, Concat("LOCK TABLE ", table->id != 0 ? table->packed : table->feast,
                            " IN SHARE ROW EXCLUSIVE MODE")));
        GNOMON_ASSIGN_OR_RETURN(const auto stored, ReadWith(context, {&read, 1}, connection));
        GNOMON_ASSIGN_OR_RETURN(const OnlineRows changed, change(stored.front()));
        if (changed.keys.empty()) return Status::OK();
        GNOMON_ASSIGN_OR_RETURN(auto rows,
                                PostgresRows::Make(*read.table, *table, shared_->layout));
        GNOMON_RETURN_NOT_OK(rows.Add(context, changed));
        return rows.Upsert(context, connection);
      });
    });
  }

  Result<int64_t> CountRows(const Context& context, const OnlineTable& table) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    int64_t count = 0;
    GNOMON_RETURN_NOT_OK(shared_->WithTables([&] {
      return shared_->pool.Run(context, [&](sql::Postgres* connection) -> Status {
        GNOMON_ASSIGN_OR_RETURN(const auto found, shared_->Find(context, table, connection));
        GNOMON_ASSIGN_OR_RETURN(
            const auto counted,
            connection->Query(
                context, found->id != 0
                             ? Concat("SELECT count(*) FROM ", found->packed)
                             : Concat("SELECT count(DISTINCT entity_key) FROM ", found->feast)));
        return counted.Int64(0, 0).Value(&count);
      });
    }));
    return count;
  }

 private:
  Result<std::vector<OnlineValues>> ReadWith(const Context& context,
                                             std::span<const OnlineRead> reads,
                                             sql::Postgres* connection) {
    std::vector<std::shared_ptr<const PostgresTable>> tables;
    tables.reserve(reads.size());
    for (const OnlineRead& read : reads) {
      GNOMON_ASSIGN_OR_RETURN(auto table, shared_->Find(context, *read.table, connection));
      tables.push_back(std::move(table));
    }
    return ReadPostgresRows(context, shared_->layout, reads, tables, &shared_->schemas, connection);
  }

  const std::shared_ptr<Shared> shared_;
  const std::string db_schema_;
};

}  // namespace

Result<std::unique_ptr<OnlineStore>> OpenPostgresStore(
    const RepositoryConfig::OnlineStore& config) {
  GNOMON_ASSIGN_OR_RETURN(const LayoutOptions layout, LayoutOptionsOf(config));
  sql::PostgresOptions options{.host = config.host,
                               .port = config.port,
                               .database = config.database,
                               .user = config.user,
                               .password = config.password,
                               .db_schema = config.db_schema,
                               .sslmode = config.sslmode,
                               .sslrootcert = config.sslrootcert,
                               .sslcert = config.sslcert,
                               .sslkey = config.sslkey,
                               .generic_plans = true};
  return std::make_unique<PostgresStore>(
      std::make_shared<Shared>(std::move(options), config.max_connections, layout),
      config.db_schema);
}

}  // namespace gnomon::feature::internal
