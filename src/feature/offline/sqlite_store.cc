#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/table_builder.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/offline/database_store_internal.h"
#include "feature/offline/source_columns_internal.h"
#include "feature/offline/sqlite_parts_internal.h"
#include "feature/offline/sqlite_values_internal.h"
#include "sql/sqlite.h"
#include "table/file_system.h"

namespace gnomon::feature {

namespace {

using sql::QuoteIdentifier;
using sql::Sqlite;
using sql::SqliteStatement;

constexpr int64_t kBatchRows = int64_t{1} << 16;
// How many rows may say what a column without declared type holds.
constexpr int kRowsToLookAt = 1000;

class SqliteOfflineStore : public OfflineStore {
 public:
  SqliteOfflineStore(std::string folder, std::string path)
      : folder_(std::move(folder)), path_(std::move(path)) {}

  Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                      const DataSource& source) const override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_ASSIGN_OR_RETURN(Sqlite database, OpenDatabase(source, true));
    auto schema = SchemaOf(&database, source);
    if (!schema.ok()) return InSource(source, schema.status());
    return SchemaUnderMappedNames(source, **schema);
  }

  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const DataSource& source,
                                             const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, Open(context, source, options));
    return ReadOpened(context, *rows, options.columns);
  }

  Result<std::shared_ptr<table::PartitionedTable>> Open(const Context& context,
                                                        const DataSource& source,
                                                        const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(Sqlite database, OpenDatabase(source, true));
    auto schema = SchemaOf(&database, source);
    if (!schema.ok()) return InSource(source, schema.status());
    GNOMON_ASSIGN_OR_RETURN(const auto places, PlacesOf(source, **schema, options));
    arrow::FieldVector fields;
    for (const int place : places) fields.push_back((*schema)->field(place));
    GNOMON_ASSIGN_OR_RETURN(const auto mapped, MappedSchema(source, *arrow::schema(fields)));
    auto run = Copy(context, &database, source, places, mapped);
    if (!run.ok()) return InSource(source, run.status());
    std::vector<runtime::SpillFile> runs;
    runs.push_back(*std::move(run));
    return OrderedRows(context, std::move(runs), mapped, source.timestamp_field,
                       Concat("data source ", Quoted(source.name)));
  }

  Result<SourceParts> Parts(const Context& context, const DataSource& source,
                            const ScanOptions& options, int /*most*/,
                            std::shared_ptr<SourceSnapshot>* snapshot) const override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_ASSIGN_OR_RETURN(Sqlite database, OpenDatabase(source, true));
    // Before the schema is looked at: a later one is a later state.
    auto state = StateInSnapshot(database.path(), snapshot);
    if (!state.ok()) return InSource(source, state.status());
    auto schema = SchemaOf(&database, source);
    if (!schema.ok()) return InSource(source, schema.status());
    SqliteRequest request{
        .path = database.path(), .statement = SelectText(source), .places = {}, .schema = nullptr};
    GNOMON_ASSIGN_OR_RETURN(request.places, PlacesOf(source, **schema, options));
    arrow::FieldVector fields;
    for (const int place : request.places) fields.push_back((*schema)->field(place));
    GNOMON_ASSIGN_OR_RETURN(request.schema, MappedSchema(source, *arrow::schema(fields)));
    return SqliteParts(source, request, *std::move(state));
  }

  Result<std::unique_ptr<table::PartitionStream>> ReadPart(const Context& context,
                                                           const std::string& /*type*/,
                                                           const std::string& part) const override {
    return ReadSqlitePart(context, part);
  }

  Result<std::shared_ptr<arrow::Table>> Query(const Context& context,
                                              const std::string& query) const override {
    DataSource source;
    source.name = "of the query";
    source.query = query;
    GNOMON_ASSIGN_OR_RETURN(Sqlite database, OpenDatabase(source, true));
    GNOMON_ASSIGN_OR_RETURN(const auto schema, SchemaOf(&database, source));
    std::vector<int> places(static_cast<size_t>(schema->num_fields()));
    std::iota(places.begin(), places.end(), 0);
    GNOMON_ASSIGN_OR_RETURN(auto file, Copy(context, &database, source, places, schema));
    GNOMON_ASSIGN_OR_RETURN(const auto reader, file.Read());
    GNOMON_ASSIGN_OR_RETURN(const auto rows, reader->ToTable());
    return rows->RemoveColumn(schema->num_fields());  // the hash
  }

  Status Append(const Context& context, const DataSource& source, const std::string& /*part*/,
                const arrow::Table& rows) const override {
    if (source.table.empty()) {
      return MakeError(ErrorKind::kUser, Concat("data source ", Quoted(source.name), " is a query"),
                       {}, "rows can be added to a table only: name it as `table:`");
    }
    GNOMON_ASSIGN_OR_RETURN(Sqlite database, OpenDatabase(source, false));
    auto all = SchemaOf(&database, source);
    if (!all.ok()) return InSource(source, all.status());
    arrow::FieldVector fields;
    std::string names;
    std::string marks;
    for (const std::string& name : rows.schema()->field_names()) {
      const std::string stored = SourceName(source, name);
      const auto field = (*all)->GetFieldByName(stored);
      if (field == nullptr) return UnknownColumn(source, name, NamesOf(source, **all));
      fields.push_back(field->WithName(name));
      names += Concat(names.empty() ? "" : ", ", QuoteIdentifier(stored));
      marks += marks.empty() ? "?" : ", ?";
    }
    GNOMON_ASSIGN_OR_RETURN(const auto table,
                            ConformRows(source, rows, *arrow::schema(std::move(fields))));
    const std::string insert = Concat("INSERT INTO ", QuoteIdentifier(source.table), " (", names,
                                      ") VALUES (", marks, ")");
    return InSource(source, database.Transaction([&]() -> Status {
      GNOMON_ASSIGN_OR_RETURN(SqliteStatement statement, database.Prepare(insert));
      arrow::TableBatchReader batches(*table);
      for (;;) {
        GNOMON_RETURN_NOT_OK(context.Check());
        GNOMON_ASSIGN_OR_RETURN(const auto batch, batches.Next());
        if (batch == nullptr) return Status::OK();
        GNOMON_RETURN_NOT_OK(InsertRows(*batch, &statement));
      }
    }));
  }

  Status Check(const Context& context) const override {
    GNOMON_RETURN_NOT_OK(context.Check());
    if (path_.empty()) return Status::OK();
    return Sqlite::Open(table::PathBelow(folder_, path_), {.read_only = true}).status();
  }

  Result<int64_t> CountRows(const Context& /*context*/,
                            const DataSource& /*source*/) const override {
    return -1;
  }

 private:
  Result<Sqlite> OpenDatabase(const DataSource& source, bool read_only) const {
    const std::string& path = source.path.empty() ? path_ : source.path;
    if (path.empty()) {
      return InSource(source,
                      MakeError(ErrorKind::kUser, "no database file is named", {},
                                "path: FILE in the source, or in offline_store of type sqlite"));
    }
    auto database =
        Sqlite::Open(table::PathBelow(folder_, path), {.read_only = read_only, .create = false});
    if (!database.ok()) return InSource(source, database.status());
    return database;
  }

  static std::vector<std::string> NamesOf(const DataSource& source, const arrow::Schema& schema) {
    std::vector<std::string> names;
    for (const auto& field : schema.fields()) names.push_back(MappedName(source, field->name()));
    return names;
  }

  static std::string SelectText(const DataSource& source) {
    if (source.query.empty()) return Concat("SELECT * FROM ", QuoteIdentifier(source.table));
    std::string query(Trim(source.query));
    while (query.ends_with(';')) query = Trim(query.substr(0, query.size() - 1));
    return query;
  }

  static Result<SqliteStatement> Select(Sqlite* database, const DataSource& source) {
    auto select = database->Prepare(SelectText(source));
    if (select.ok()) return select;
    // SQLite has one code for a missing table, a missing column and wrong SQL.
    const bool missing = select.status().message().find("no such ") != std::string::npos;
    return MakeError(missing ? ErrorKind::kNotFound : ErrorKind::kUser, select.status().message());
  }

  static Result<std::shared_ptr<arrow::Schema>> SchemaOf(Sqlite* database,
                                                         const DataSource& source) {
    GNOMON_ASSIGN_OR_RETURN(SqliteStatement select, Select(database, source));
    std::vector<std::shared_ptr<arrow::DataType>> types;
    for (int column = 0; column < select.ColumnCount(); ++column)
      types.push_back(DeclaredType(select.DeclaredType(column)));
    for (int row = 0; row < kRowsToLookAt; ++row) {
      if (std::ranges::find(types, nullptr) == types.end()) break;
      GNOMON_ASSIGN_OR_RETURN(const bool more, select.Step());
      if (!more) break;
      for (int column = 0; column < select.ColumnCount(); ++column) {
        auto& type = types[static_cast<size_t>(column)];
        if (type == nullptr && !select.IsNull(column)) type = TypeOfValue(select.Type(column));
      }
    }
    arrow::FieldVector fields;
    for (int column = 0; column < select.ColumnCount(); ++column) {
      const auto& type = types[static_cast<size_t>(column)];
      fields.push_back(
          arrow::field(select.ColumnName(column), type == nullptr ? arrow::utf8() : type));
    }
    return arrow::schema(std::move(fields));
  }

  static Result<std::vector<int>> PlacesOf(const DataSource& source, const arrow::Schema& schema,
                                           const ScanOptions& options) {
    std::vector<std::string> wanted = {SourceName(source, source.timestamp_field)};
    for (const std::string& column : options.columns) wanted.push_back(SourceName(source, column));
    for (const std::string& column : options.required_columns)
      wanted.push_back(SourceName(source, column));
    for (const std::string& name : wanted) {
      if (name.empty() || schema.GetFieldIndex(name) >= 0) continue;
      return UnknownColumn(source, MappedName(source, name), NamesOf(source, schema));
    }
    std::vector<int> places;
    for (int place = 0; place < schema.num_fields(); ++place) {
      if (options.columns.empty() ||
          std::ranges::find(wanted, schema.field(place)->name()) != wanted.end()) {
        places.push_back(place);
      }
    }
    return places;
  }

  static Result<runtime::SpillFile> Copy(const Context& context, Sqlite* database,
                                         const DataSource& source, const std::vector<int>& places,
                                         const std::shared_ptr<arrow::Schema>& mapped) {
    GNOMON_ASSIGN_OR_RETURN(SqliteStatement select, Select(database, source));
    GNOMON_ASSIGN_OR_RETURN(
        const auto schema,
        mapped->AddField(mapped->num_fields(), arrow::field(kRowHash, arrow::int64())));
    GNOMON_ASSIGN_OR_RETURN(auto file, runtime::SpillFile::Create(schema));
    GNOMON_ASSIGN_OR_RETURN(auto builder, arrow::RecordBatchBuilder::Make(
                                              schema, arrow::default_memory_pool(), kBatchRows));
    for (int64_t rows = 0;;) {
      GNOMON_ASSIGN_OR_RETURN(const bool more, select.Step());
      if (more) {
        for (size_t i = 0; i < places.size(); ++i) {
          GNOMON_RETURN_NOT_OK(AppendTo(select, places[i], builder->GetField(static_cast<int>(i))));
        }
        GNOMON_RETURN_NOT_OK(
            builder->GetFieldAs<arrow::Int64Builder>(mapped->num_fields())->Append(HashOf(select)));
        ++rows;
      }
      if (rows == kBatchRows || !more) {
        GNOMON_RETURN_NOT_OK(context.Check());
        GNOMON_ASSIGN_OR_RETURN(const auto batch, builder->Flush());
        if (batch->num_rows() > 0) GNOMON_RETURN_NOT_OK(file.Write(*batch));
        rows = 0;
      }
      if (!more) return file;
    }
  }

  const std::string folder_;
  const std::string path_;
};

}  // namespace

std::unique_ptr<OfflineStore> MakeSqliteOfflineStore(const RepositoryConfig& config) {
  return std::make_unique<SqliteOfflineStore>(
      config.folder, config.offline_store.type == "sqlite" ? config.offline_store.path : "");
}

}  // namespace gnomon::feature
