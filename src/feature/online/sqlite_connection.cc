#include <algorithm>
#include <filesystem>
#include <sys/stat.h>
#include <utility>

#include <arrow/array.h>
#include <arrow/array/data.h>
#include <arrow/builder.h>
#include <arrow/type.h>

#include "base/files.h"
#include "base/text.h"
#include "feature/online/sqlite_catalog_internal.h"
#include "feature/online/sqlite_connection_internal.h"

namespace gnomon::feature::internal {
namespace {

// Mapped pages save readers a system call a page, also after another process's commit has emptied
// their cache. The price: the file must never be cut short in place
// (docs/formats/online_packed.md).
constexpr const char* kReadPragmas =
    "PRAGMA query_only=ON; PRAGMA cache_size=-16384; PRAGMA mmap_size=1073741824";
// Writers wait in rounds of 100 ms (sqlite_store.cc). FULL: what a commit has published must
// survive a power cut, because a materialization's interval is recorded next.
constexpr const char* kWritePragmas =
    "PRAGMA synchronous=FULL; PRAGMA cache_size=-32768; PRAGMA busy_timeout=100; "
    "PRAGMA journal_size_limit=67108864";

/// Decodes the fields that the stored schema has, by name and type; the others are null.
Status AppendByName(const arrow::Schema& asked, std::span<const int> fields,
                    const arrow::Schema& stored, const table::RowCodec& codec,
                    std::string_view bytes,
                    std::span<const std::unique_ptr<arrow::ArrayBuilder>> builders) {
  std::vector<int> found;
  std::vector<size_t> places;
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> parts;
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto& field = asked.field(fields[i]);
    const int index = stored.GetFieldIndex(field->name());
    if (index < 0 || !stored.field(index)->type()->Equals(*field->type())) {
      GNOMON_RETURN_NOT_OK(builders[i]->AppendNull());
      continue;
    }
    found.push_back(index);
    places.push_back(i);
    GNOMON_ASSIGN_OR_RETURN(auto part, arrow::MakeBuilder(field->type()));
    parts.push_back(std::move(part));
  }
  GNOMON_RETURN_NOT_OK(codec.Decode(bytes, found, parts));
  for (size_t i = 0; i < parts.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(const auto value, parts[i]->Finish());
    GNOMON_RETURN_NOT_OK(
        builders[places[i]]->AppendArraySlice(arrow::ArraySpan(*value->data()), 0, 1));
  }
  return Status::OK();
}

}  // namespace

SqliteConnection::SqliteConnection(sql::Sqlite database, uint64_t device, uint64_t inode)
    : database_(std::move(database)), device_(device), inode_(inode) {}

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::string& path,
                                                                 Role role) {
  const bool create = role == Role::kCreate;
  if (create) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (!folder.empty()) GNOMON_RETURN_NOT_OK(MakeFolders(folder.string()));
  }
  auto opened = sql::Sqlite::Open(path, {.create = create});
  if (!opened.ok()) {
    const Status status = opened.status();
    if (KindOf(status) != ErrorKind::kNotFound) return WithContext(status, "online store");
    return MakeError(ErrorKind::kNotFound, Concat("online store does not exist: ", path), {},
                     "run: gnomon apply");
  }
  GNOMON_RETURN_NOT_OK(opened->Execute(role == Role::kRead ? kReadPragmas : kWritePragmas));
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return ErrnoError(errno, Concat("online store ", path));
  std::unique_ptr<SqliteConnection> connection(
      new SqliteConnection(*std::move(opened), file.st_dev, file.st_ino));
  sql::Sqlite& database = connection->database_;
  GNOMON_RETURN_NOT_OK(HasCatalog(&database).status());
  GNOMON_ASSIGN_OR_RETURN(connection->begin_, database.Prepare("BEGIN"));
  GNOMON_ASSIGN_OR_RETURN(connection->commit_, database.Prepare("COMMIT"));
  return connection;
}

bool SqliteConnection::IsCurrent() const {
  struct stat file {};
  return ::stat(database_.path().c_str(), &file) == 0 && file.st_dev == device_ &&
         file.st_ino == inode_;
}

Result<std::vector<OnlineValues>> SqliteConnection::Read(std::span<const OnlineRead> reads) {
  std::vector<OnlineValues> values;
  values.reserve(reads.size());
  const bool one_lookup = reads.size() == 1 && reads[0].keys.size() == 1;
  if (!one_lookup) GNOMON_RETURN_NOT_OK(begin_.Execute());
  for (const OnlineRead& read : reads) {
    GNOMON_ASSIGN_OR_RETURN(auto rows, ReadTable(read));
    values.push_back(std::move(rows));
  }
  if (!one_lookup) GNOMON_RETURN_NOT_OK(commit_.Execute());
  return values;
}

Result<OnlineValues> SqliteConnection::ReadTable(const OnlineRead& read) {
  GNOMON_ASSIGN_OR_RETURN(Table * table, FindOrOpenTable(*read.table));
  if (table->schema != read.table->schema || table->fields != read.fields) {
    table->builders.clear();
    for (const int field : read.fields) {
      GNOMON_ASSIGN_OR_RETURN(auto builder,
                              arrow::MakeBuilder(read.table->schema->field(field)->type()));
      table->builders.push_back(std::move(builder));
    }
    table->schema = read.table->schema;
    table->fields = read.fields;
  }
  const size_t num_rows = read.keys.size();
  for (const auto& builder : table->builders) {
    GNOMON_RETURN_NOT_OK(builder->Reserve(static_cast<int64_t>(num_rows)));
  }
  OnlineValues values;
  values.found.resize(num_rows);
  values.event_times.resize(num_rows);
  for (size_t row = 0; row < num_rows; ++row) {
    table->select.BindBlob(1, read.keys[row]);
    GNOMON_ASSIGN_OR_RETURN(const bool found, table->select.Step());
    if (found) {
      values.found[row] = true;
      values.event_times[row] = table->select.Int(0);
      const Status status =
          AppendRow(*read.table, table->select.Blob(2), table->select.Int(1), table);
      if (!status.ok()) {
        return WithContext(
            status, Concat("online store ", database_.path(), ", view ", Quoted(read.table->view)));
      }
    } else {
      for (const auto& builder : table->builders) GNOMON_RETURN_NOT_OK(builder->AppendNull());
    }
    table->select.Reset();
  }
  values.columns.reserve(table->builders.size());
  for (const auto& builder : table->builders) {
    GNOMON_ASSIGN_OR_RETURN(auto column, builder->Finish());
    values.columns.push_back(std::move(column));
  }
  return values;
}

Status SqliteConnection::AppendRow(const OnlineTable& asked, std::string_view bytes,
                                   int64_t schema_id, Table* table) {
  GNOMON_ASSIGN_OR_RETURN(StoredSchema * stored, FindOrLoadSchema(table, schema_id));
  if (stored->same != asked.schema &&
      stored->schema->Equals(*asked.schema, /*check_metadata=*/false)) {
    stored->same = asked.schema;
  }
  if (stored->same == asked.schema)
    return stored->codec->Decode(bytes, table->fields, table->builders);
  return AppendByName(*asked.schema, table->fields, *stored->schema, *stored->codec, bytes,
                      table->builders);
}

Result<SqliteConnection::Table*> SqliteConnection::FindOrOpenTable(const OnlineTable& table) {
  for (const auto& known : tables_) {
    if (known->view == table.view && known->project == table.project) return known.get();
  }
  GNOMON_ASSIGN_OR_RETURN(const int64_t id, TableId(table));
  auto opened = std::make_unique<Table>();
  opened->project = table.project;
  opened->view = table.view;
  opened->id = id;
  const std::string name = sql::QuoteIdentifier(PackedTableName(id, table.project, table.view));
  GNOMON_ASSIGN_OR_RETURN(opened->select,
                          database_.Prepare(Concat("SELECT event_ts, schema_id, value FROM ", name,
                                                   " WHERE entity_key = ?")));
  tables_.push_back(std::move(opened));
  return tables_.back().get();
}

Result<SqliteConnection::StoredSchema*> SqliteConnection::FindOrLoadSchema(Table* table,
                                                                           int64_t id) {
  const auto known = table->schemas.find(id);
  if (known != table->schemas.end()) return &known->second;
  StoredSchema stored;
  GNOMON_ASSIGN_OR_RETURN(stored.schema, LoadSchema(&database_, id));
  GNOMON_ASSIGN_OR_RETURN(stored.codec, table::RowCodec::Make(stored.schema));
  return &table->schemas.emplace(id, std::move(stored)).first->second;
}

Result<int64_t> SqliteConnection::TableId(const OnlineTable& table) {
  GNOMON_ASSIGN_OR_RETURN(const auto id, FindTable(&database_, table.project, table.view));
  if (!id.has_value()) return NotPrepared(database_.path(), table);
  return *id;
}

Result<int64_t> SqliteConnection::CountRows(const OnlineTable& table) {
  GNOMON_ASSIGN_OR_RETURN(const int64_t id, TableId(table));
  const std::string name = sql::QuoteIdentifier(PackedTableName(id, table.project, table.view));
  GNOMON_ASSIGN_OR_RETURN(auto count, database_.Prepare(Concat("SELECT count(*) FROM ", name)));
  GNOMON_RETURN_NOT_OK(count.Step().status());
  return count.Int(0);
}

}  // namespace gnomon::feature::internal
