#include <algorithm>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/sqlite_catalog_internal.h"
#include "feature/online/window_folding.h"

namespace gnomon::feature::internal {
namespace {

constexpr const char* kCreateCatalog = R"(
CREATE TABLE IF NOT EXISTS gnomon_online_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gnomon_online_tables (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, view TEXT NOT NULL, UNIQUE (project, view));
CREATE TABLE IF NOT EXISTS gnomon_online_schemas (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  table_id INTEGER NOT NULL REFERENCES gnomon_online_tables (id) ON DELETE CASCADE,
  schema BLOB NOT NULL);
)";

/// Rows of a table without row ids lie in the key's own tree, one search a read. Lists make rows so
/// long that few fit on a page of that tree; such rows lie beside it.
std::string CreateTableSql(const std::string& name, const arrow::Schema& schema) {
  const bool has_lists = std::ranges::any_of(
      schema.fields(), [](const auto& field) { return field->type()->id() == arrow::Type::LIST; });
  return Concat(
      "CREATE TABLE ", sql::QuoteIdentifier(name),
      " (entity_key BLOB PRIMARY KEY, event_ts INTEGER NOT NULL, created_ts INTEGER NOT NULL, "
      "schema_id INTEGER NOT NULL, value BLOB NOT NULL)",
      has_lists ? "" : " WITHOUT ROWID");
}

Result<std::shared_ptr<arrow::Schema>> ParseSchema(std::string_view bytes) {
  arrow::io::BufferReader reader(std::make_shared<arrow::Buffer>(
      reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size())));
  arrow::ipc::DictionaryMemo memo;
  auto schema = arrow::ipc::ReadSchema(&reader, &memo);
  if (!schema.ok()) {
    return Error(ErrorKind::kDataLoss,
                 "a stored schema cannot be read: ", schema.status().message());
  }
  return schema;
}

}  // namespace

Status CreateCatalog(sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(const bool exists, HasCatalog(database));
  if (exists) return Status::OK();
  GNOMON_RETURN_NOT_OK(database->Execute(kCreateCatalog));
  return database->Execute("INSERT INTO gnomon_online_meta VALUES ('format_version', 1)");
}

Result<bool> HasCatalog(sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(
      auto find,
      database->Prepare("SELECT 1 FROM sqlite_master WHERE name = 'gnomon_online_meta'"));
  GNOMON_ASSIGN_OR_RETURN(const bool exists, find.Step());
  if (!exists) return false;
  GNOMON_ASSIGN_OR_RETURN(
      auto read,
      database->Prepare("SELECT value FROM gnomon_online_meta WHERE key = 'format_version'"));
  GNOMON_ASSIGN_OR_RETURN(const bool found, read.Step());
  if (!found) {
    return Error(ErrorKind::kDataLoss, "online store has no format version: ", database->path());
  }
  const int64_t version = read.Int(0);
  if (version > kPackedFormatVersion) {
    return MakeError(
        ErrorKind::kUnsupported,
        Concat("online store has format version ", version, ", this build reads up to ",
               kPackedFormatVersion, ": ", database->path()),
        {}, "a newer gnomon wrote it: use that one");
  }
  return true;
}

std::string PackedTableName(int64_t id, std::string_view project, std::string_view view) {
  return Concat("gnomon_", id, "_", project, "_", view);
}

Result<std::optional<int64_t>> FindTable(sql::Sqlite* database, std::string_view project,
                                         std::string_view view) {
  GNOMON_ASSIGN_OR_RETURN(const bool exists, HasCatalog(database));
  if (!exists) return std::nullopt;
  GNOMON_ASSIGN_OR_RETURN(
      auto find,
      database->Prepare("SELECT id FROM gnomon_online_tables WHERE project = ? AND view = ?"));
  find.BindText(1, project);
  find.BindText(2, view);
  GNOMON_ASSIGN_OR_RETURN(const bool found, find.Step());
  if (!found) return std::nullopt;
  return find.Int(0);
}

Status CreateTable(sql::Sqlite* database, const OnlineTable& table) {
  GNOMON_ASSIGN_OR_RETURN(const auto existing, FindTable(database, table.project, table.view));
  if (existing.has_value()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(
      auto insert,
      database->Prepare(
          "INSERT INTO gnomon_online_tables (project, view) VALUES (?, ?) RETURNING id"));
  insert.BindText(1, table.project);
  insert.BindText(2, table.view);
  GNOMON_RETURN_NOT_OK(insert.Step().status());
  const int64_t id = insert.Int(0);
  GNOMON_RETURN_NOT_OK(insert.Execute());
  return database->Execute(
      CreateTableSql(PackedTableName(id, table.project, table.view), *table.schema));
}

Status DropTables(sql::Sqlite* database, const std::string& project,
                  std::span<const std::string> keep) {
  GNOMON_ASSIGN_OR_RETURN(const bool exists, HasCatalog(database));
  if (!exists) return Status::OK();
  struct Dropped {
    int64_t id;
    std::string name;
  };
  std::vector<Dropped> dropped;
  {
    GNOMON_ASSIGN_OR_RETURN(
        auto list,
        database->Prepare("SELECT id, view FROM gnomon_online_tables WHERE project = ?"));
    list.BindText(1, project);
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(const bool more, list.Step());
      if (!more) break;
      const std::string_view view = list.Text(1);
      if (std::ranges::find(keep, view) != keep.end()) continue;
      dropped.push_back({list.Int(0), PackedTableName(list.Int(0), project, view)});
    }
  }
  for (const Dropped& table : dropped) {
    GNOMON_RETURN_NOT_OK(
        database->Execute(Concat("DROP TABLE ", sql::QuoteIdentifier(table.name))));
    GNOMON_RETURN_NOT_OK(
        database->Execute(Concat("DELETE FROM gnomon_online_tables WHERE id = ", table.id)));
  }
  return Status::OK();
}

Result<bool> IsEmpty(sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(
      auto others,
      database->Prepare(
          "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
          "AND name NOT IN ('gnomon_online_meta', 'gnomon_online_tables', "
          "'gnomon_online_schemas')"));
  GNOMON_RETURN_NOT_OK(others.Step().status());
  return others.Int(0) == 0;
}

Status NotPrepared(const std::string& path, const OnlineTable& table) {
  return MakeError(ErrorKind::kNotFound,
                   Concat("online store has no table of view ", Quoted(table.view), " of project ",
                          Quoted(table.project), ": ", path),
                   {}, "run: gnomon apply");
}

Result<int64_t> FindOrAddSchema(sql::Sqlite* database, int64_t table, const arrow::Schema& schema) {
  {
    GNOMON_ASSIGN_OR_RETURN(
        auto list,
        database->Prepare("SELECT id, schema FROM gnomon_online_schemas WHERE table_id = ? "
                          "ORDER BY id DESC"));
    list.BindInt(1, table);
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(const bool more, list.Step());
      if (!more) break;
      GNOMON_ASSIGN_OR_RETURN(const auto stored, ParseSchema(list.Blob(1)));
      if (stored->Equals(schema, /*check_metadata=*/false)) return list.Int(0);
    }
  }
  if (schema.GetFieldIndex(std::string(kFolded)) >= 0) {
    GNOMON_RETURN_NOT_OK(database->Execute(
        "UPDATE gnomon_online_meta SET value = 2 WHERE key = 'format_version' AND value < 2"));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto bytes, arrow::ipc::SerializeSchema(*schema.RemoveMetadata()));
  GNOMON_ASSIGN_OR_RETURN(
      auto insert,
      database->Prepare(
          "INSERT INTO gnomon_online_schemas (table_id, schema) VALUES (?, ?) RETURNING id"));
  insert.BindInt(1, table);
  insert.BindBlob(2, std::string_view(*bytes));
  GNOMON_RETURN_NOT_OK(insert.Step().status());
  const int64_t id = insert.Int(0);
  GNOMON_RETURN_NOT_OK(insert.Execute());
  return id;
}

Result<std::shared_ptr<arrow::Schema>> LoadSchema(sql::Sqlite* database, int64_t schema) {
  GNOMON_ASSIGN_OR_RETURN(
      auto find, database->Prepare("SELECT schema FROM gnomon_online_schemas WHERE id = ?"));
  find.BindInt(1, schema);
  GNOMON_ASSIGN_OR_RETURN(const bool found, find.Step());
  if (!found) {
    return Error(ErrorKind::kDataLoss,
                 "online store has rows of a schema that it does not have: ", database->path(),
                 ", schema ", schema);
  }
  return ParseSchema(find.Blob(0));
}

}  // namespace gnomon::feature::internal
