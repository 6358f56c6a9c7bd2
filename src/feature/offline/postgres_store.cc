#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/log.h"
#include "base/parallel.h"
#include "base/text.h"
#include "feature/offline/database_store_internal.h"
#include "feature/offline/postgres_parts_internal.h"
#include "feature/offline/postgres_request_internal.h"
#include "feature/offline/source_columns_internal.h"
#include "sql/postgres_batches.h"
#include "sql/postgres_pool.h"
#include "sql/sqlite.h"

namespace gnomon::feature {

namespace {

using sql::Postgres;
using sql::PostgresColumn;

/// Copies the rows of one range into a file.
Result<runtime::SpillFile> CopyRange(const Context& context, Postgres* connection,
                                     const PostgresRequest& request, const std::string& range) {
  std::vector<PostgresColumn> columns = request.columns;
  columns.push_back({kRowHash, sql::oid::kInt8, "bigint", false});
  GNOMON_ASSIGN_OR_RETURN(
      auto reader,
      sql::PostgresBatchReader::Open(
          context, connection, SelectOf(request, connection->server_version(), range), columns));
  GNOMON_ASSIGN_OR_RETURN(const auto schema,
                          request.schema->AddField(request.schema->num_fields(),
                                                   arrow::field(kRowHash, arrow::int64())));
  GNOMON_ASSIGN_OR_RETURN(auto file, runtime::SpillFile::Create(schema));
  for (;;) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, reader.Next());
    if (batch == nullptr) return file;
    GNOMON_RETURN_NOT_OK(
        file.Write(*arrow::RecordBatch::Make(schema, batch->num_rows(), batch->columns())));
  }
}

class PostgresOfflineStore : public OfflineStore {
 public:
  explicit PostgresOfflineStore(const RepositoryConfig::OfflineStore& config)
      : pool_({.host = config.host,
               .port = config.port,
               .database = config.database,
               .user = config.user,
               .password = config.password,
               .db_schema = config.db_schema,
               .sslmode = config.sslmode,
               .sslrootcert = config.sslrootcert,
               .sslcert = config.sslcert,
               .sslkey = config.sslkey},
              {.max_connections = config.max_connections}) {}

  Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                      const DataSource& source) const override {
    GNOMON_ASSIGN_OR_RETURN(const std::string relation, In(source, PostgresRelation(source)));
    GNOMON_ASSIGN_OR_RETURN(const auto columns, Describe(context, source, relation));
    arrow::FieldVector fields;
    for (const PostgresColumn& column : columns) {
      auto type = sql::ArrowTypeOf(column);
      if (type.ok()) {
        fields.push_back(arrow::field(column.name, *std::move(type)));
      } else {
        LogWarning("feature",
                   Concat("data source ", Quoted(source.name), ": ", type.status().message(),
                          "; it is left out"),
                   {{"hint", HintOf(type.status())}});
      }
    }
    return SchemaUnderMappedNames(source, *arrow::schema(std::move(fields)));
  }

  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const DataSource& source,
                                             const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, Open(context, source, options));
    return ReadOpened(context, *rows, options.columns);
  }

  Result<std::shared_ptr<table::PartitionedTable>> Open(const Context& context,
                                                        const DataSource& source,
                                                        const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(const PostgresRequest request, Plan(context, source, options));
    std::vector<runtime::SpillFile> runs;
    const Status status = pool_.Run(context, [&](Postgres* connection) -> Status {
      return Copy(context, connection, source, request).Value(&runs);
    });
    GNOMON_RETURN_NOT_OK(InSource(source, status));
    return OrderedRows(context, std::move(runs), request.schema, source.timestamp_field,
                       Concat("data source ", Quoted(source.name)));
  }

  Result<SourceParts> Parts(const Context& context, const DataSource& source,
                            const ScanOptions& options, int most,
                            std::shared_ptr<SourceSnapshot>* snapshot) const override {
    GNOMON_ASSIGN_OR_RETURN(const PostgresRequest request, Plan(context, source, options));
    return In(source, PostgresParts(context, &pool_, source, request, most, snapshot));
  }

  Result<std::unique_ptr<table::PartitionStream>> ReadPart(const Context& context,
                                                           const std::string& /*type*/,
                                                           const std::string& part) const override {
    return ReadPostgresPart(context, &pool_, part);
  }

  Result<std::shared_ptr<arrow::Table>> Query(const Context& context,
                                              const std::string& query) const override {
    std::shared_ptr<arrow::Table> rows;
    const auto read = [&](Postgres* connection) -> Status {
      GNOMON_ASSIGN_OR_RETURN(const auto columns, sql::DescribeQuery(context, connection, query));
      GNOMON_ASSIGN_OR_RETURN(
          auto reader,
          sql::PostgresBatchReader::Open(context, connection, BracketedQuery(query), columns));
      GNOMON_ASSIGN_OR_RETURN(auto file, runtime::SpillFile::Create(reader.schema()));
      for (;;) {
        GNOMON_ASSIGN_OR_RETURN(const auto batch, reader.Next());
        if (batch == nullptr) break;
        GNOMON_RETURN_NOT_OK(file.Write(*batch));
      }
      GNOMON_ASSIGN_OR_RETURN(const auto stored, file.Read());
      return stored->ToTable().Value(&rows);
    };
    GNOMON_RETURN_NOT_OK(pool_.Run(context, read));
    return rows;
  }

  Status Append(const Context& context, const DataSource& source, const std::string& /*part*/,
                const arrow::Table& rows) const override {
    if (source.table.empty()) {
      return MakeError(ErrorKind::kUser, Concat("data source ", Quoted(source.name), " is a query"),
                       {}, "rows can be added to a table only: name it as `table:`");
    }
    GNOMON_ASSIGN_OR_RETURN(const std::string relation, In(source, PostgresRelation(source)));
    GNOMON_ASSIGN_OR_RETURN(const auto all, Describe(context, source, relation));
    std::vector<PostgresColumn> columns;
    arrow::FieldVector fields;
    for (const std::string& name : rows.schema()->field_names()) {
      const auto found = std::ranges::find(all, SourceName(source, name), &PostgresColumn::name);
      if (found == all.end()) return UnknownColumn(source, name, NamesOf(source, all));
      GNOMON_ASSIGN_OR_RETURN(auto type, In(source, sql::ArrowTypeOf(*found)));
      columns.push_back(*found);
      fields.push_back(arrow::field(name, std::move(type)));
    }
    GNOMON_ASSIGN_OR_RETURN(const auto table,
                            ConformRows(source, rows, *arrow::schema(std::move(fields))));
    // Not Run: rows whose COMMIT got lost would be there twice.
    GNOMON_ASSIGN_OR_RETURN(auto connection, In(source, pool_.Acquire(context)));
    return InSource(source, connection->Transaction(context, [&]() -> Status {
      GNOMON_ASSIGN_OR_RETURN(
          auto writer, sql::PostgresBatchWriter::Open(context, &*connection, relation, columns));
      arrow::TableBatchReader batches(*table);
      for (;;) {
        GNOMON_ASSIGN_OR_RETURN(const auto batch, batches.Next());
        if (batch == nullptr) break;
        GNOMON_RETURN_NOT_OK(writer.Write(*batch));
      }
      return writer.Finish().status();
    }));
  }

  Status Check(const Context& context) const override {
    return pool_.Run(context, [&](Postgres* connection) {
      return connection->Query(context, "SELECT 1").status();
    });
  }

  Result<int64_t> CountRows(const Context& /*context*/,
                            const DataSource& /*source*/) const override {
    return -1;
  }

 private:
  static std::vector<std::string> NamesOf(const DataSource& source,
                                          const std::vector<PostgresColumn>& columns) {
    std::vector<std::string> names;
    for (const PostgresColumn& column : columns) names.push_back(MappedName(source, column.name));
    return names;
  }

  template <typename T>
  static Result<T> In(const DataSource& source, Result<T> result) {
    if (result.ok()) return result;
    return InSource(source, result.status());
  }

  Result<std::vector<PostgresColumn>> Describe(const Context& context, const DataSource& source,
                                               const std::string& relation) const {
    std::vector<PostgresColumn> columns;
    const Status status = pool_.Run(context, [&](Postgres* connection) {
      return sql::DescribeQuery(context, connection,
                                Concat("SELECT * FROM ", relation, " AS ", kPostgresAlias))
          .Value(&columns);
    });
    GNOMON_RETURN_NOT_OK(InSource(source, status));
    return columns;
  }

  /// Which columns and rows, in SQL.
  Result<PostgresRequest> Plan(const Context& context, const DataSource& source,
                               const ScanOptions& options) const {
    PostgresRequest request;
    GNOMON_ASSIGN_OR_RETURN(request.relation, In(source, PostgresRelation(source)));
    GNOMON_ASSIGN_OR_RETURN(const auto all, Describe(context, source, request.relation));
    const std::string time = SourceName(source, source.timestamp_field);
    std::vector<std::string> wanted;
    for (const std::string& column : options.columns) wanted.push_back(SourceName(source, column));
    for (const std::string& column : options.required_columns)
      wanted.push_back(SourceName(source, column));
    arrow::FieldVector fields;
    for (const PostgresColumn& column : all) {
      const auto type = sql::ArrowTypeOf(column);
      request.hashable &= type.ok() && column.type != sql::oid::kJson &&
                          column.type != sql::oid::kXml && column.type != sql::oid::kJsonArray;
      if (MayLookAlike(column)) request.look_alikes.push_back(column);
      const bool asked = std::ranges::find(wanted, column.name) != wanted.end();
      if (!asked && column.name != time && !(options.columns.empty() && type.ok())) continue;
      if (!type.ok()) return InSource(source, type.status());
      request.columns.push_back(column);
      fields.push_back(arrow::field(column.name, *type));
      if (column.name == time && options.time_range.has_value()) {
        request.condition = TimeCondition(
            Concat(kPostgresAlias, ".", sql::QuoteIdentifier(time)), *options.time_range,
            column.type == sql::oid::kTimestamptz ? "TIMESTAMPTZ" : "TIMESTAMP");
      }
    }
    for (const std::string& name : wanted) {
      if (std::ranges::find(all, name, &PostgresColumn::name) == all.end())
        return UnknownColumn(source, MappedName(source, name), NamesOf(source, all));
    }
    GNOMON_ASSIGN_OR_RETURN(request.schema,
                            MappedSchema(source, *arrow::schema(std::move(fields))));
    return request;
  }

  /// All rows as the first connection's snapshot has them, a range of pages by each connection.
  Result<std::vector<runtime::SpillFile>> Copy(const Context& context, Postgres* first,
                                               const DataSource& source,
                                               const PostgresRequest& request) const {
    const int most = std::min(NumCpus(), pool_.pool_options().max_connections);
    GNOMON_ASSIGN_OR_RETURN(const auto ranges, PageRanges(context, first, source, most));
    std::vector<runtime::SpillFile> runs;
    const Status status = first->Transaction(
        context,
        [&]() -> Status {
          if (ranges.size() > 1) return CopyAll(context, first, request, ranges).Value(&runs);
          GNOMON_ASSIGN_OR_RETURN(auto run, CopyRange(context, first, request, ranges[0]));
          runs.push_back(std::move(run));
          return Status::OK();
        },
        sql::PostgresIsolation::kRepeatableRead);
    GNOMON_RETURN_NOT_OK(status);
    return runs;
  }

  Result<std::vector<runtime::SpillFile>> CopyAll(const Context& context, Postgres* first,
                                                  const PostgresRequest& request,
                                                  const std::vector<std::string>& ranges) const {
    GNOMON_ASSIGN_OR_RETURN(const auto exported,
                            first->Query(context, "SELECT pg_export_snapshot()"));
    GNOMON_ASSIGN_OR_RETURN(const std::string_view snapshot, exported.Text(0, 0));
    // The first error stops the others.
    std::stop_source stop;
    const std::stop_callback forward(context.stop, [&] { stop.request_stop(); });
    const Context shared = context.WithStop(stop.get_token());
    std::vector<Result<runtime::SpillFile>> results;
    for (size_t i = 0; i < ranges.size(); ++i) results.emplace_back(Status::Cancelled("not begun"));
    std::atomic<size_t> first_failed = ranges.size();
    const auto run = [&](size_t i) {
      results[i] = i == 0 ? CopyRange(shared, first, request, ranges[0])
                          : CopyIn(shared, std::string(snapshot), request, ranges[i]);
      if (results[i].ok()) return;
      size_t none = ranges.size();
      first_failed.compare_exchange_strong(none, i);
      stop.request_stop();
    };
    {
      std::vector<std::jthread> threads;
      for (size_t i = 1; i < ranges.size(); ++i) threads.emplace_back(run, i);
      run(0);
    }
    if (first_failed < ranges.size()) return results[first_failed].status();
    std::vector<runtime::SpillFile> runs;
    for (auto& result : results) runs.push_back(*std::move(result));
    return runs;
  }

  /// A range by another connection in the first one's snapshot.
  Result<runtime::SpillFile> CopyIn(const Context& context, const std::string& snapshot,
                                    const PostgresRequest& request,
                                    const std::string& range) const {
    GNOMON_ASSIGN_OR_RETURN(auto connection, pool_.Acquire(context));
    std::optional<runtime::SpillFile> run;
    GNOMON_RETURN_NOT_OK(connection->Transaction(
        context,
        [&]() -> Status {
          GNOMON_RETURN_NOT_OK(
              connection->Execute(context, Concat("SET TRANSACTION SNAPSHOT '", snapshot, "'")));
          GNOMON_ASSIGN_OR_RETURN(run, CopyRange(context, &*connection, request, range));
          return Status::OK();
        },
        sql::PostgresIsolation::kRepeatableRead));
    return *std::move(run);
  }

  mutable sql::PostgresPool pool_;
};

}  // namespace

std::unique_ptr<OfflineStore> MakePostgresOfflineStore(
    const RepositoryConfig::OfflineStore& config) {
  return std::make_unique<PostgresOfflineStore>(config);
}

}  // namespace gnomon::feature
