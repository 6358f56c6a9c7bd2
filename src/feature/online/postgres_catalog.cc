#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/postgres_catalog_internal.h"
#include "sql/sqlite.h"
#include "table/row_codec.h"

namespace gnomon::feature::internal {
namespace {

using sql::Postgres;
using sql::PostgresParameters;
using sql::PostgresResult;
using sql::QuoteIdentifier;

/// The greatest that this build reads.
constexpr int64_t kFormatVersion = 2;
constexpr size_t kMaxNameBytes = 63;  // the server cuts longer names

constexpr const char* kCreateCatalog = R"(
CREATE TABLE IF NOT EXISTS gnomon_online_meta (key TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS gnomon_online_tables (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, project TEXT NOT NULL, view TEXT NOT NULL,
  UNIQUE (project, view));
CREATE TABLE IF NOT EXISTS gnomon_online_schemas (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  table_id BIGINT NOT NULL REFERENCES gnomon_online_tables (id) ON DELETE CASCADE, schema BYTEA NOT NULL);
CREATE TABLE IF NOT EXISTS gnomon_online_feast (
  project TEXT NOT NULL, view TEXT NOT NULL, name TEXT NOT NULL UNIQUE, PRIMARY KEY (project, view));
INSERT INTO gnomon_online_meta VALUES ('format_version', 2) ON CONFLICT DO NOTHING;
)";

/// Two that apply at once would both create the same.
constexpr const char* kTakeTurn = "SELECT pg_advisory_xact_lock(7308327598)";

std::string PackedName(int64_t id, const OnlineTable& table) {
  std::string name = Concat("gnomon_", id, "_", table.project, "_", table.view);
  if (name.size() > kMaxNameBytes) name = Concat("gnomon_", id);
  return QuoteIdentifier(name);
}

std::string FeastName(const OnlineTable& table) {
  std::string name = FeastTableName(table);
  size_t size = std::min(name.size(), kMaxNameBytes);
  while (size < name.size() && (static_cast<unsigned char>(name[size]) & 0xc0) == 0x80) --size;
  name.resize(size);
  return name;
}

Result<bool> HasCatalog(const Context& context, Postgres* connection) {
  GNOMON_ASSIGN_OR_RETURN(
      const auto exists,
      connection->QueryPrepared(context, "SELECT to_regclass('gnomon_online_feast') IS NOT NULL"));
  return exists.Bool(0, 0);
}

/// How many of the columns that every table of Feast's has are there, and whether value_num is.
struct FeastColumnsFound {
  int64_t columns = 0;
  bool text = false;
  bool numbers = false;
  bool exists = false;
};
Result<FeastColumnsFound> LookAtFeastTable(const Context& context, const OnlineTable& table,
                                           Postgres* connection) {
  PostgresParameters name;
  name.Text(QuoteIdentifier(FeastName(table)));
  GNOMON_ASSIGN_OR_RETURN(
      const auto found,
      connection->QueryPrepared(
          context,
          "SELECT count(*) FILTER (WHERE attname IN ('entity_key', 'feature_name', 'value', "
          "'event_ts', 'created_ts')), count(*) FILTER (WHERE attname = 'value_text') = 1, "
          "count(*) "
          "FILTER (WHERE attname = 'value_num') = 1, to_regclass($1) IS NOT NULL FROM pg_attribute "
          "WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
          name));
  FeastColumnsFound look;
  GNOMON_ASSIGN_OR_RETURN(look.columns, found.Int64(0, 0));
  GNOMON_ASSIGN_OR_RETURN(look.text, found.Bool(0, 1));
  GNOMON_ASSIGN_OR_RETURN(look.numbers, found.Bool(0, 2));
  GNOMON_ASSIGN_OR_RETURN(look.exists, found.Bool(0, 3));
  return look;
}

/// The id of a view's packed table; 0: there is none.
Result<int64_t> FindPackedId(const Context& context, const OnlineTable& table,
                             Postgres* connection) {
  GNOMON_ASSIGN_OR_RETURN(const bool catalog, HasCatalog(context, connection));
  if (!catalog) return 0;
  PostgresParameters names;
  names.Text(table.project).Text(table.view);
  GNOMON_ASSIGN_OR_RETURN(
      const auto found,
      connection->QueryPrepared(
          context,
          "SELECT m.value, t.id FROM gnomon_online_meta m LEFT JOIN gnomon_online_tables t ON "
          "t.project = $1 AND t.view = $2 WHERE m.key = 'format_version'",
          names));
  if (found.num_rows() == 0) {
    return Error(ErrorKind::kDataLoss, "online store has no format version: postgres ",
                 connection->place());
  }
  GNOMON_ASSIGN_OR_RETURN(const int64_t version, found.Int64(0, 0));
  if (version > kFormatVersion) {
    return MakeError(
        ErrorKind::kUnsupported,
        Concat("online store has format version ", version, ", this build reads up to ",
               kFormatVersion, ": postgres ", connection->place()),
        {}, "a newer gnomon wrote it: use that one");
  }
  if (found.IsNull(0, 1)) return 0;
  return found.Int64(0, 1);
}

Status CreatePackedTable(const Context& context, const OnlineTable& table, Postgres* connection) {
  const auto codec = table::RowCodec::Make(table.schema);
  if (!codec.ok())
    return WithContext(codec.status(), Concat("online table of view ", Quoted(table.view)));
  PostgresParameters names;
  names.Text(table.project).Text(table.view);
  GNOMON_ASSIGN_OR_RETURN(
      const auto added,
      connection->Query(
          context, "INSERT INTO gnomon_online_tables (project, view) VALUES ($1, $2) RETURNING id",
          names));
  GNOMON_ASSIGN_OR_RETURN(const int64_t id, added.Int64(0, 0));
  return connection->Execute(
      context, Concat("CREATE TABLE ", PackedName(id, table),
                      " (entity_key BYTEA PRIMARY KEY, event_ts BIGINT NOT NULL, created_ts BIGINT "
                      "NOT NULL, schema_id BIGINT NOT NULL, value BYTEA NOT NULL)"));
}

/// As Feast creates it.
Status CreateFeastTable(const Context& context, const OnlineTable& table, Postgres* connection) {
  const std::string name = FeastName(table);
  PostgresParameters parameters;
  parameters.Text(name);
  GNOMON_ASSIGN_OR_RETURN(
      const auto owner,
      connection->Query(context, "SELECT project, view FROM gnomon_online_feast WHERE name = $1",
                        parameters));
  if (owner.num_rows() > 0) {
    GNOMON_ASSIGN_OR_RETURN(const auto project, owner.Text(0, 0));
    GNOMON_ASSIGN_OR_RETURN(const auto view, owner.Text(0, 1));
    if (project != table.project || view != table.view) {
      return MakeError(ErrorKind::kConflict,
                       Concat("view ", Quoted(table.view), " of project ", Quoted(table.project),
                              " would share Feast's table ", name, " with view ", Quoted(view),
                              " of project ", Quoted(project)),
                       {}, "rename one of them, or use layout: packed");
    }
  }
  const std::string quoted = QuoteIdentifier(name);
  GNOMON_ASSIGN_OR_RETURN(const auto before, LookAtFeastTable(context, table, connection));
  if (before.exists && before.columns < 5)
    return Error(ErrorKind::kConflict, "table ", name, " is none of Feast's: postgres ",
                 connection->place());
  if (!before.exists) {
    GNOMON_RETURN_NOT_OK(connection->Execute(
        context, Concat("CREATE TABLE ", quoted,
                        " (entity_key BYTEA, feature_name TEXT, value BYTEA, value_text TEXT NULL, "
                        "vector_value BYTEA NULL, event_ts TIMESTAMPTZ, created_ts TIMESTAMPTZ, "
                        "PRIMARY KEY(entity_key, feature_name)); CREATE INDEX IF NOT EXISTS ",
                        QuoteIdentifier(name + "_ek"), " ON ", quoted, " (entity_key)")));
    const bool any_text = std::ranges::any_of(FeastSchema(table)->fields(), [](const auto& field) {
      return field->type()->id() == arrow::Type::STRING;
    });
    if (any_text) {
      GNOMON_RETURN_NOT_OK(connection->Execute(
          context, Concat("CREATE INDEX IF NOT EXISTS ", QuoteIdentifier(name + "_fts_idx"), " ON ",
                          quoted, " USING GIN (to_tsvector('english', value_text))")));
    }
  } else if (!before.text) {  // made by a Feast of 2024
    GNOMON_RETURN_NOT_OK(connection->Execute(
        context, Concat("ALTER TABLE ", quoted, " ADD COLUMN value_text TEXT NULL")));
  }
  PostgresParameters note;
  note.Text(table.project).Text(table.view).Text(name);
  return connection
      ->Query(context, "INSERT INTO gnomon_online_feast VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
              note)
      .status();
}

Status PrepareTable(const Context& context, const LayoutOptions& options, const OnlineTable& table,
                    Postgres* connection) {
  GNOMON_ASSIGN_OR_RETURN(const int64_t id, FindPackedId(context, table, connection));
  GNOMON_ASSIGN_OR_RETURN(const auto look, LookAtFeastTable(context, table, connection));
  GNOMON_ASSIGN_OR_RETURN(
      const OnlineLayout layout,
      LayoutToPrepare(options, table, {.packed = id != 0, .feast = look.columns == 5}));
  if (layout == OnlineLayout::kFeast) {
    GNOMON_RETURN_NOT_OK(CheckFeastSchema(table));
    GNOMON_RETURN_NOT_OK(CreateFeastTable(context, table, connection));
  }
  if (id != 0 || (layout == OnlineLayout::kFeast && table.features == nullptr)) return Status::OK();
  return CreatePackedTable(context, table, connection);
}

}  // namespace

Result<std::optional<PostgresTable>> FindPostgresTable(const Context& context,
                                                       const LayoutOptions& options,
                                                       const OnlineTable& table,
                                                       Postgres* connection) {
  PostgresTable found;
  GNOMON_ASSIGN_OR_RETURN(found.id, FindPackedId(context, table, connection));
  GNOMON_ASSIGN_OR_RETURN(const auto look, LookAtFeastTable(context, table, connection));
  GNOMON_ASSIGN_OR_RETURN(
      const auto layout,
      LayoutToUse(options, table, {.packed = found.id != 0, .feast = look.columns == 5}));
  if (!layout.has_value()) return std::nullopt;
  found.layout = *layout;
  found.feast_numbers = look.numbers;
  if (found.layout == OnlineLayout::kFeast) found.feast = QuoteIdentifier(FeastName(table));
  if (found.layout == OnlineLayout::kFeast && table.features == nullptr) found.id = 0;
  if (found.id != 0) found.packed = PackedName(found.id, table);
  return found;
}

Status NotInPostgres(const OnlineTable& table, const std::string& place) {
  return MakeError(ErrorKind::kNotFound,
                   Concat("online store has no table of view ", Quoted(table.view), " of project ",
                          Quoted(table.project), ": postgres ", place),
                   {}, "run: gnomon apply");
}

Status PreparePostgresTables(const Context& context, const LayoutOptions& options,
                             const std::string& db_schema, std::span<const OnlineTable> tables,
                             Postgres* connection) {
  return connection->Transaction(context, [&]() -> Status {
    GNOMON_RETURN_NOT_OK(connection->Execute(context, kTakeTurn));
    if (!db_schema.empty()) {
      PostgresParameters name;
      name.Text(db_schema);
      GNOMON_ASSIGN_OR_RETURN(
          const auto exists,
          connection->Query(context, "SELECT 1 FROM pg_namespace WHERE nspname = $1", name));
      if (exists.num_rows() == 0) {
        GNOMON_RETURN_NOT_OK(
            connection->Execute(context, Concat("CREATE SCHEMA ", QuoteIdentifier(db_schema))));
      }
    }
    GNOMON_ASSIGN_OR_RETURN(const bool catalog, HasCatalog(context, connection));
    if (!catalog) GNOMON_RETURN_NOT_OK(connection->Execute(context, kCreateCatalog));
    for (const OnlineTable& table : tables)
      GNOMON_RETURN_NOT_OK(PrepareTable(context, options, table, connection));
    return Status::OK();
  });
}

Status DropPostgresTables(const Context& context, const std::string& project,
                          std::span<const std::string> keep, Postgres* connection) {
  return connection->Transaction(context, [&]() -> Status {
    GNOMON_RETURN_NOT_OK(connection->Execute(context, kTakeTurn));
    GNOMON_ASSIGN_OR_RETURN(const bool catalog, HasCatalog(context, connection));
    if (!catalog) return Status::OK();
    PostgresParameters name;
    name.Text(project);
    GNOMON_ASSIGN_OR_RETURN(
        const auto packed,
        connection->Query(context, "SELECT view, id FROM gnomon_online_tables WHERE project = $1",
                          name));
    GNOMON_ASSIGN_OR_RETURN(
        const auto feast,
        connection->Query(context, "SELECT view, name FROM gnomon_online_feast WHERE project = $1",
                          name));
    std::string statements;
    const auto is_kept = [&](std::string_view view) {
      return std::ranges::find(keep, view) != keep.end();
    };
    for (int64_t row = 0; row < packed.num_rows(); ++row) {
      GNOMON_ASSIGN_OR_RETURN(const auto view, packed.Text(row, 0));
      GNOMON_ASSIGN_OR_RETURN(const int64_t id, packed.Int64(row, 1));
      if (is_kept(view)) continue;
      const OnlineTable table{.project = project, .view = std::string(view), .schema = nullptr};
      statements += Concat("DROP TABLE IF EXISTS ", PackedName(id, table),
                           "; DELETE FROM gnomon_online_tables WHERE id = ", id, "; ");
    }
    std::vector<std::optional<std::string_view>> forgotten;
    for (int64_t row = 0; row < feast.num_rows(); ++row) {
      GNOMON_ASSIGN_OR_RETURN(const auto view, feast.Text(row, 0));
      GNOMON_ASSIGN_OR_RETURN(const auto table, feast.Text(row, 1));
      if (is_kept(view)) continue;
      statements += Concat("DROP TABLE IF EXISTS ", QuoteIdentifier(table), "; ");
      forgotten.emplace_back(table);
    }
    if (!statements.empty()) GNOMON_RETURN_NOT_OK(connection->Execute(context, statements));
    PostgresParameters names;
    names.TextArray(forgotten);
    return connection->Query(context, "DELETE FROM gnomon_online_feast WHERE name = ANY($1)", names)
        .status();
  });
}

Result<int64_t> FindOrAddPostgresSchema(const Context& context, int64_t table,
                                        const arrow::Schema& schema, Postgres* connection) {
  PostgresParameters id;
  id.Int64(table);
  GNOMON_ASSIGN_OR_RETURN(
      const auto list,
      connection->QueryPrepared(
          context,
          "SELECT id, schema FROM gnomon_online_schemas WHERE table_id = $1 ORDER BY id DESC", id));
  for (int64_t row = 0; row < list.num_rows(); ++row) {
    GNOMON_ASSIGN_OR_RETURN(const auto bytes, list.Bytea(row, 1));
    GNOMON_ASSIGN_OR_RETURN(const auto stored, ParseSchema(bytes));
    if (stored->Equals(schema, /*check_metadata=*/false)) return list.Int64(row, 0);
  }
  GNOMON_ASSIGN_OR_RETURN(const std::string bytes, SerializeSchema(schema));
  PostgresParameters added;
  added.Int64(table).Bytea(bytes);
  GNOMON_ASSIGN_OR_RETURN(
      const auto inserted,
      connection->QueryPrepared(
          context,
          "INSERT INTO gnomon_online_schemas (table_id, schema) VALUES ($1, $2) RETURNING id",
          added));
  return inserted.Int64(0, 0);
}

Result<std::shared_ptr<arrow::Schema>> LoadPostgresSchema(const Context& context, int64_t schema,
                                                          Postgres* connection) {
  PostgresParameters id;
  id.Int64(schema);
  GNOMON_ASSIGN_OR_RETURN(
      const auto found, connection->QueryPrepared(
                            context, "SELECT schema FROM gnomon_online_schemas WHERE id = $1", id));
  if (found.num_rows() == 0) {
    return Error(ErrorKind::kDataLoss,
                 "online store has rows of a schema that it does not have: postgres ",
                 connection->place(), ", schema ", schema);
  }
  GNOMON_ASSIGN_OR_RETURN(const auto bytes, found.Bytea(0, 0));
  return ParseSchema(bytes);
}

}  // namespace gnomon::feature::internal
