#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/text.h"
#include "feature/offline/database_store_internal.h"
#include "feature/offline/postgres_parts_internal.h"
#include "feature/offline/source_columns_internal.h"
#include "gnomon/database_part.pb.h"
#include "sql/postgres_batches.h"

namespace gnomon::feature {

namespace {

using sql::PostgresColumn;
using sql::PostgresPool;

constexpr const char* kBegin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A transaction that does nothing but keep its snapshot for others.
class PostgresSnapshot : public SourceSnapshot {
 public:
  static Result<std::shared_ptr<PostgresSnapshot>> Take(const Context& context,
                                                        PostgresPool* pool) {
    if (pool->pool_options().max_connections < 2) {
      return Error(ErrorKind::kUnsupported,
                   "max_connections of offline_store leaves no connection for workers beside the "
                   "one that holds the snapshot");
    }
    GNOMON_ASSIGN_OR_RETURN(PostgresPool::Lease connection, pool->Acquire(context));
    GNOMON_RETURN_NOT_OK(connection->Execute(context, kBegin));
    // It is meant to be idle.
    GNOMON_RETURN_NOT_OK(
        connection->Execute(context, "SET LOCAL idle_in_transaction_session_timeout = 0"));
    GNOMON_ASSIGN_OR_RETURN(const auto exported,
                            connection->Query(context, "SELECT pg_export_snapshot()"));
    GNOMON_ASSIGN_OR_RETURN(const std::string_view id, exported.Text(0, 0));
    return std::make_shared<PostgresSnapshot>(std::move(connection), std::string(id));
  }

  PostgresSnapshot(PostgresPool::Lease connection, std::string id)
      : connection_(std::move(connection)), id_(std::move(id)) {}

  sql::Postgres& connection() { return *connection_; }
  const std::string& id() const { return id_; }

 private:
  PostgresPool::Lease connection_;
  const std::string id_;
};

/// The number behind `key` in a line of EXPLAIN; 0 when there is none.
int64_t NumberAfter(std::string_view line, std::string_view key) {
  const size_t place = line.find(key);
  if (place == std::string_view::npos) return 0;
  const std::string_view digits = line.substr(place + key.size());
  int64_t number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

/// What the server thinks that the statement gives, in bytes. Planning it takes the locks that
/// reading takes, until the end of the transaction.
Result<int64_t> EstimateBytes(const Context& context, sql::Postgres* connection,
                              const std::string& statement) {
  GNOMON_ASSIGN_OR_RETURN(const auto plan,
                          connection->Query(context, Concat("EXPLAIN ", statement)));
  if (plan.num_rows() == 0) return -1;
  GNOMON_ASSIGN_OR_RETURN(const std::string_view root, plan.Text(0, 0));
  int64_t bytes = 0;
  const int64_t rows = NumberAfter(root, " rows=");
  return __builtin_mul_overflow(rows, NumberAfter(root, " width="), &bytes) ? -1 : bytes;
}

std::vector<PostgresColumn> WithHash(std::vector<PostgresColumn> columns) {
  columns.push_back({kRowHash, sql::oid::kInt8, "bigint", false});
  return columns;
}

/// The rows of a part, in a transaction of its own that sees the snapshot.
class PartRows : public table::PartitionStream {
 public:
  PartRows(Context context, DataSource source, PostgresPool::Lease connection)
      : context_(std::move(context)),
        source_(std::move(source)),
        connection_(std::move(connection)) {}

  Status Begin(const proto::PostgresPart& part) {
    GNOMON_RETURN_NOT_OK(connection_->Execute(context_, kBegin));
    const Status seen =
        connection_->Execute(context_, Concat("SET TRANSACTION SNAPSHOT '", part.snapshot(), "'"));
    if (!seen.ok() && connection_->usable()) {
      return MakeError(
          ErrorKind::kConflict,
          Concat("the transaction in which the rows are read has ended: ", seen.message()), {},
          "was the server restarted? start again");
    }
    GNOMON_RETURN_NOT_OK(seen);
    std::vector<PostgresColumn> columns;
    for (const proto::PostgresPartColumn& column : part.columns())
      columns.push_back({column.name(), column.type(), column.type_name(), column.is_label()});
    GNOMON_ASSIGN_OR_RETURN(auto reader, sql::PostgresBatchReader::Open(context_, &*connection_,
                                                                        part.statement(), columns));
    reader_.emplace(std::move(reader));
    return Status::OK();
  }

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    if (!reader_) return nullptr;
    auto batch = reader_->Next();
    if (!batch.ok()) return InSource(source_, batch.status());
    GNOMON_RETURN_NOT_OK(FaultPoint("database.in_part", context_.stop));
    if (*batch != nullptr) return WithUnsignedHash(**batch);
    reader_.reset();
    const Status ended = connection_->Execute(context_, "COMMIT");
    if (!ended.ok()) return InSource(source_, ended);
    return nullptr;
  }

 private:
  /// OrderedRows compares hashes as numbers without sign.
  static Result<std::shared_ptr<arrow::RecordBatch>> WithUnsignedHash(
      const arrow::RecordBatch& batch) {
    const int last = batch.num_columns() - 1;
    auto data = batch.column_data(last)->Copy();
    data->type = arrow::uint64();
    return batch.SetColumn(last, arrow::field(kRowHash, arrow::uint64()),
                           arrow::MakeArray(std::move(data)));
  }

  const Context context_;
  const DataSource source_;
  PostgresPool::Lease connection_;
  std::optional<sql::PostgresBatchReader> reader_;  ///< of the connection
};

}  // namespace

Result<SourceParts> PostgresParts(const Context& context, PostgresPool* pool,
                                  const DataSource& source, const PostgresRequest& request,
                                  int most, std::shared_ptr<SourceSnapshot>* snapshot) {
  if (*snapshot == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(*snapshot, PostgresSnapshot::Take(context, pool));
  }
  auto& taken = static_cast<PostgresSnapshot&>(**snapshot);
  sql::Postgres* connection = &taken.connection();
  SourceParts parts;
  GNOMON_ASSIGN_OR_RETURN(
      parts.bytes,
      EstimateBytes(context, connection, SelectOf(request, connection->server_version(), "")));
  const int connections = pool->pool_options().max_connections - 1;
  GNOMON_ASSIGN_OR_RETURN(
      const auto ranges, PageRanges(context, connection, source, std::clamp(most, 1, connections)));
  proto::PostgresPart part;
  part.set_source(source.name);
  part.set_snapshot(taken.id());
  for (const PostgresColumn& column : WithHash(request.columns)) {
    auto* written = part.add_columns();
    written->set_name(column.name);
    written->set_type(column.type);
    written->set_type_name(column.type_name);
    written->set_is_label(column.is_label);
  }
  for (const std::string& range : ranges) {
    part.set_statement(SelectOf(request, connection->server_version(), range));
    parts.parts.push_back(part.SerializeAsString());
  }
  GNOMON_ASSIGN_OR_RETURN(parts.schema,
                          request.schema->AddField(request.schema->num_fields(),
                                                   arrow::field(kRowHash, arrow::uint64())));
  return parts;
}

Result<std::unique_ptr<table::PartitionStream>> ReadPostgresPart(const Context& context,
                                                                 PostgresPool* pool,
                                                                 const std::string& bytes) {
  proto::PostgresPart part;
  if (!part.ParseFromString(bytes))
    return Error(ErrorKind::kDataLoss, "not a part of a PostgreSQL source");
  DataSource source;
  source.name = part.source();
  auto connection = pool->Acquire(context);
  if (!connection.ok()) return InSource(source, connection.status());
  auto rows = std::make_unique<PartRows>(context, source, *std::move(connection));
  GNOMON_RETURN_NOT_OK(InSource(source, rows->Begin(part)));
  return rows;
}

}  // namespace gnomon::feature
