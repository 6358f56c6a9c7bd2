#include <algorithm>
#include <vector>

#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/feast_layout_internal.h"
#include "feature/online/packed_rows_internal.h"
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

// Feast's tables that were prepared, so that no other ones are ever dropped: names such as
// `a_b_c` do not say whose they are.
constexpr const char* kCreateFeastList = R"(
CREATE TABLE IF NOT EXISTS gnomon_online_feast (
  project TEXT NOT NULL, view TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE UNIQUE, PRIMARY KEY (project, view))
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

Result<bool> HasTable(sql::Sqlite* database, std::string_view name) {
  GNOMON_ASSIGN_OR_RETURN(auto find,
                          database->Prepare("SELECT 1 FROM sqlite_master WHERE name = ?"));
  find.BindText(1, name);
  return find.Step();
}

struct FeastTable {
  std::string view;
  std::string name;
};

Result<std::vector<FeastTable>> ListFeastTables(sql::Sqlite* database, const std::string& project) {
  std::vector<FeastTable> tables;
  GNOMON_ASSIGN_OR_RETURN(const bool any, HasTable(database, "gnomon_online_feast"));
  if (!any) return tables;
  GNOMON_ASSIGN_OR_RETURN(
      auto list, database->Prepare("SELECT view, name FROM gnomon_online_feast WHERE project = ?"));
  list.BindText(1, project);
  for (;;) {
    GNOMON_ASSIGN_OR_RETURN(const bool more, list.Step());
    if (!more) return tables;
    tables.push_back({std::string(list.Text(0)), std::string(list.Text(1))});
  }
}

Status DropFeastTables(sql::Sqlite* database, const std::string& project,
                       std::span<const std::string> keep) {
  GNOMON_ASSIGN_OR_RETURN(const auto tables, ListFeastTables(database, project));
  for (const FeastTable& table : tables) {
    if (std::ranges::find(keep, table.view) != keep.end()) continue;
    GNOMON_RETURN_NOT_OK(
        database->Execute(Concat("DROP TABLE IF EXISTS ", sql::QuoteIdentifier(table.name))));
    GNOMON_ASSIGN_OR_RETURN(auto forget,
                            database->Prepare("DELETE FROM gnomon_online_feast WHERE name = ?"));
    forget.BindText(1, table.name);
    GNOMON_RETURN_NOT_OK(forget.Execute());
  }
  return Status::OK();
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
  return DropFeastTables(database, project, keep);
}

Result<bool> IsEmpty(sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(
      auto others,
      database->Prepare(
          "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
          "AND name NOT IN ('gnomon_online_meta', 'gnomon_online_tables', "
          "'gnomon_online_schemas', 'gnomon_online_feast')"));
  GNOMON_RETURN_NOT_OK(others.Step().status());
  return others.Int(0) == 0;
}

Result<bool> HasFeastTable(sql::Sqlite* database, const OnlineTable& table) {
  const std::string name = FeastTableName(table);  // outlives the statement, which borrows it
  GNOMON_ASSIGN_OR_RETURN(
      auto columns,
      database->Prepare("SELECT count(*) FROM pragma_table_info(?) WHERE name IN "
                        "('entity_key', 'feature_name', 'value', 'event_ts', 'created_ts')"));
  columns.BindText(1, name);
  GNOMON_RETURN_NOT_OK(columns.Step().status());
  return columns.Int(0) == 5;
}

Status CreateFeastTable(sql::Sqlite* database, const OnlineTable& table) {
  GNOMON_RETURN_NOT_OK(database->Execute(kCreateFeastList));
  const std::string name = FeastTableName(table);
  {
    GNOMON_ASSIGN_OR_RETURN(
        auto find,
        database->Prepare("SELECT project, view FROM gnomon_online_feast WHERE name = ?"));
    find.BindText(1, name);
    GNOMON_ASSIGN_OR_RETURN(const bool known, find.Step());
    if (known && (find.Text(0) != table.project || find.Text(1) != table.view)) {
      return MakeError(ErrorKind::kConflict,
                       Concat("view ", Quoted(table.view), " of project ", Quoted(table.project),
                              " would share Feast's table ", name, " with view ",
                              Quoted(find.Text(1)), " of project ", Quoted(find.Text(0))),
                       {}, "rename one of them, or use layout: packed");
    }
  }
  // As Feast writes it, to the letter.
  const std::string quoted = sql::QuoteIdentifier(name);
  GNOMON_RETURN_NOT_OK(database->Execute(
      Concat("CREATE TABLE IF NOT EXISTS ", quoted,
             " (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT,  vector_value "
             "BLOB, event_ts timestamp, created_ts timestamp,  PRIMARY KEY(entity_key, "
             "feature_name))")));
  GNOMON_RETURN_NOT_OK(
      database->Execute(Concat("CREATE INDEX IF NOT EXISTS ", sql::QuoteIdentifier(name + "_ek"),
                               " ON ", quoted, " (entity_key)")));
  GNOMON_ASSIGN_OR_RETURN(const bool ours, HasFeastTable(database, table));
  if (!ours) {
    return Error(ErrorKind::kConflict, "table ", name, " is none of Feast's: ", database->path());
  }
  GNOMON_ASSIGN_OR_RETURN(const bool has_text, HasFeastColumn(database, table, "value_text"));
  if (!has_text) {  // made by a Feast of 2024
    GNOMON_RETURN_NOT_OK(
        database->Execute(Concat("ALTER TABLE ", quoted, " ADD COLUMN value_text TEXT")));
  }
  GNOMON_ASSIGN_OR_RETURN(
      auto note, database->Prepare("INSERT OR IGNORE INTO gnomon_online_feast VALUES (?, ?, ?)"));
  note.BindText(1, table.project);
  note.BindText(2, table.view);
  note.BindText(3, name);
  return note.Execute();
}

Result<bool> HasFeastColumn(sql::Sqlite* database, const OnlineTable& table,
                            std::string_view column) {
  const std::string name = FeastTableName(table);
  GNOMON_ASSIGN_OR_RETURN(auto find,
                          database->Prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?"));
  find.BindText(1, name);
  find.BindText(2, column);
  return find.Step();
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
  GNOMON_ASSIGN_OR_RETURN(const std::string bytes, SerializeSchema(schema));
  GNOMON_ASSIGN_OR_RETURN(
      auto insert,
      database->Prepare(
          "INSERT INTO gnomon_online_schemas (table_id, schema) VALUES (?, ?) RETURNING id"));
  insert.BindInt(1, table);
  insert.BindBlob(2, bytes);
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
