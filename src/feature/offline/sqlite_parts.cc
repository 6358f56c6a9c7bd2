#include <filesystem>
#include <map>
#include <utility>

#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/api.h>
#include <arrow/record_batch.h>
#include <arrow/table_builder.h>
#include <arrow/type.h>

#include "base/fault.h"
#include "base/text.h"
#include "feature/offline/database_store_internal.h"
#include "feature/offline/source_columns_internal.h"
#include "feature/offline/sqlite_parts_internal.h"
#include "feature/offline/sqlite_values_internal.h"
#include "gnomon/database_part.pb.h"
#include "sql/sqlite_state.h"

namespace gnomon::feature {

namespace {

using sql::Sqlite;
using sql::SqliteStatement;

constexpr int64_t kBatchRows = int64_t{1} << 16;

// The databases of a plan, each as it was when it was first read.
class SqliteSnapshot : public SourceSnapshot {
 public:
  Result<std::string> StateOf(const std::string& path) {
    const auto known = databases_.find(path);
    if (known != databases_.end()) return known->second.state;
    GNOMON_ASSIGN_OR_RETURN(Sqlite connection,
                            Sqlite::Open(path, {.read_only = true, .create = false}));
    GNOMON_RETURN_NOT_OK(sql::BeginReading(&connection));
    GNOMON_ASSIGN_OR_RETURN(std::string state, sql::CommittedState(&connection));
    GNOMON_RETURN_NOT_OK(connection.Execute("COMMIT"));
    databases_.emplace(path, Database{std::move(connection), state});
    return state;
  }

 private:
  struct Database {
    // The log and its index stay as long as somebody has the database open.
    Sqlite connection;
    std::string state;
  };
  std::map<std::string, Database> databases_;
};

class PartRows : public table::PartitionStream {
 public:
  PartRows(Context context, proto::SqlitePart part, Sqlite database, SqliteStatement select,
           const std::shared_ptr<arrow::Schema>& schema)
      : context_(std::move(context)),
        part_(std::move(part)),
        database_(std::move(database)),
        select_(std::move(select)),
        schema_(schema) {}

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    GNOMON_RETURN_NOT_OK(context_.Check());
    GNOMON_RETURN_NOT_OK(FaultPoint("database.in_part", context_.stop));
    if (ended_) return nullptr;
    GNOMON_ASSIGN_OR_RETURN(auto builder,
                            arrow::RecordBatchBuilder::Make(schema_, arrow::default_memory_pool()));
    const int hash = part_.places_size();
    int64_t rows = 0;
    for (; rows < kBatchRows; ++rows) {
      auto more = select_.Step();
      if (!more.ok()) return InSource(Source(), more.status());
      ended_ = !*more;
      if (ended_) break;
      for (int i = 0; i < hash; ++i) {
        const Status appended = AppendTo(select_, part_.places(i), builder->GetField(i));
        GNOMON_RETURN_NOT_OK(InSource(Source(), appended));
      }
      GNOMON_RETURN_NOT_OK(builder->GetFieldAs<arrow::UInt64Builder>(hash)->Append(
          static_cast<uint64_t>(HashOf(select_))));
    }
    if (rows == 0) return nullptr;
    return builder->Flush();
  }

 private:
  DataSource Source() const {
    DataSource source;
    source.name = part_.source();
    return source;
  }

  const Context context_;
  const proto::SqlitePart part_;
  Sqlite database_;         // in a transaction as long as this is read
  SqliteStatement select_;  // of the database
  const std::shared_ptr<arrow::Schema> schema_;
  bool ended_ = false;
};

Result<std::shared_ptr<arrow::Schema>> SchemaOfPart(const proto::SqlitePart& part) {
  arrow::io::BufferReader bytes(arrow::Buffer::FromString(part.schema()));
  arrow::ipc::DictionaryMemo dictionaries;
  GNOMON_ASSIGN_OR_RETURN(auto schema, arrow::ipc::ReadSchema(&bytes, &dictionaries));
  if (schema->num_fields() != part.places_size() + 1)
    return Error(ErrorKind::kDataLoss, "not a part of a SQLite source");
  return schema;
}

}  // namespace

Result<std::string> StateInSnapshot(const std::string& path,
                                    std::shared_ptr<SourceSnapshot>* snapshot) {
  if (*snapshot == nullptr) *snapshot = std::make_shared<SqliteSnapshot>();
  return static_cast<SqliteSnapshot&>(**snapshot).StateOf(path);
}

Result<SourceParts> SqliteParts(const DataSource& source, const SqliteRequest& request,
                                std::string state) {
  proto::SqlitePart part;
  part.set_source(source.name);
  part.set_path(request.path);
  part.set_statement(request.statement);
  part.set_state(std::move(state));
  for (const int place : request.places) part.add_places(place);
  SourceParts parts;
  GNOMON_ASSIGN_OR_RETURN(parts.schema,
                          request.schema->AddField(request.schema->num_fields(),
                                                   arrow::field(kRowHash, arrow::uint64())));
  GNOMON_ASSIGN_OR_RETURN(const auto schema, arrow::ipc::SerializeSchema(*parts.schema));
  part.set_schema(schema->ToString());
  parts.parts = {part.SerializeAsString()};
  // All of the database, at most.
  std::error_code error;
  const auto bytes = std::filesystem::file_size(request.path, error);
  if (!error && source.query.empty()) parts.bytes = static_cast<int64_t>(bytes);
  return parts;
}

Result<std::unique_ptr<table::PartitionStream>> ReadSqlitePart(const Context& context,
                                                               const std::string& bytes) {
  proto::SqlitePart part;
  if (!part.ParseFromString(bytes))
    return Error(ErrorKind::kDataLoss, "not a part of a SQLite source");
  DataSource source;
  source.name = part.source();
  GNOMON_ASSIGN_OR_RETURN(const auto schema, SchemaOfPart(part));
  auto database = Sqlite::Open(part.path(), {.read_only = true, .create = false});
  if (!database.ok()) return InSource(source, database.status());
  GNOMON_RETURN_NOT_OK(InSource(source, sql::BeginReading(&*database)));
  auto state = sql::CommittedState(&*database);
  if (!state.ok()) return InSource(source, state.status());
  if (*state != part.state()) {
    return MakeError(ErrorKind::kConflict,
                     Concat("data source ", Quoted(part.source()),
                            ": the database was written while it was read: ", part.path()),
                     {},
                     "start again when nobody writes to it, read a copy of the file, or use "
                     "isolation: thread, which reads it once");
  }
  auto select = database->Prepare(part.statement());
  if (!select.ok()) return InSource(source, select.status());
  return std::make_unique<PartRows>(context, std::move(part), *std::move(database),
                                    *std::move(select), schema);
}

}  // namespace gnomon::feature
