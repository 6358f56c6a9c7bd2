#include "feature/offline/offline_store.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/offline/database_store_internal.h"
#include "feature/offline/source_columns_internal.h"
#include "gnomon/database_part.pb.h"
#include "table/column.h"
#include "table/data_version.h"
#include "table/file_system.h"
#include "table/folder_columns.h"
#include "table/partition_rows.h"

namespace gnomon::feature {
namespace {

constexpr const char* kWildcards = "*?[";

/// The file store: Parquet, CSV, JSON lines, Arrow IPC below the repository's folder, or on S3.
class FileOfflineStore : public OfflineStore {
 public:
  explicit FileOfflineStore(std::string folder) : folder_(std::move(folder)) {}

  Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                      const DataSource& source) const override {
    GNOMON_ASSIGN_OR_RETURN(auto format, FormatOf(source));
    auto schema = table::ReadSchema(context, PathOf(source), format);
    if (!schema.ok()) return InSource(source, schema.status());
    return SchemaUnderMappedNames(source, **schema);
  }

  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const DataSource& source,
                                             const ScanOptions& options) const override {
    table::ReadOptions read;
    for (const std::string& column : options.columns)
      read.columns.push_back(SourceName(source, column));
    for (const std::string& column : options.required_columns)
      read.required_columns.push_back(SourceName(source, column));
    read.time_column = SourceName(source, source.timestamp_field);
    read.time_range = options.time_range;
    GNOMON_ASSIGN_OR_RETURN(read.format, FormatOf(source));
    auto rows = table::ReadTable(context, PathOf(source), read);
    if (!rows.ok()) return InSource(source, rows.status());
    GNOMON_ASSIGN_OR_RETURN(auto schema, MappedSchema(source, *(*rows)->schema()));
    return arrow::Table::Make(schema, (*rows)->columns(), (*rows)->num_rows());
  }

  Status Append(const Context& context, const DataSource& source, const std::string& part,
                const arrow::Table& rows) const override {
    const std::filesystem::path folder = PathOf(source);
    const bool parquet = source.file_format.empty() || source.file_format == "parquet";
    const auto is_file = table::IsFile(folder.string());
    if (!is_file.ok()) return InSource(source, is_file.status());
    if (*is_file || folder.has_extension() || IsGlob(folder) || !parquet) {
      return MakeError(ErrorKind::kUser,
                       Concat("data source ", Quoted(source.name),
                              " is no folder of Parquet files: ", folder.string()),
                       {},
                       "rows can be added to a folder only: move the file into one and name it");
    }
    GNOMON_ASSIGN_OR_RETURN(const auto folder_columns, FolderColumns(context, source, rows));
    std::shared_ptr<const arrow::Table> table = rows.Slice(0);
    auto schema = SourceSchema(context, source);
    if (schema.ok()) {
      GNOMON_ASSIGN_OR_RETURN(table, ConformRows(source, rows, **schema));
    } else if (KindOf(schema.status()) != ErrorKind::kNotFound) {
      return schema.status();
    }
    arrow::FieldVector fields;
    for (const auto& field : table->schema()->fields())
      fields.push_back(field->WithName(SourceName(source, field->name())));
    const auto named =
        arrow::Table::Make(arrow::schema(std::move(fields)), table->columns(), table->num_rows());
    if (!folder_columns.empty())
      return InSource(source, WriteParts(context, folder.string(), part, *named, folder_columns));
    return InSource(source,
                    table::WriteTable(context, *named, (folder / (part + ".parquet")).string()));
  }

  Result<std::shared_ptr<table::PartitionedTable>> Open(const Context& context,
                                                        const DataSource& source,
                                                        const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(auto format, FormatOf(source));
    std::vector<std::string> required = {SourceName(source, source.timestamp_field)};
    for (const std::string& column : options.required_columns)
      required.push_back(SourceName(source, column));
    auto files =
        table::PartitionedTable::Open(context, PathOf(source), format, std::move(required));
    if (!files.ok()) return InSource(source, files.status());
    GNOMON_ASSIGN_OR_RETURN(auto schema, MappedSchema(source, *(*files)->schema()));
    const std::string name = Concat("data source ", Quoted(source.name));
    return table::PartitionedTable::Renamed(*std::move(files), name, std::move(schema), name);
  }

  Result<std::string> Version(const Context&, const DataSource& source) const override {
    auto version = table::DataVersion(PathOf(source));
    return version.ok() ? version : InSource(source, version.status());
  }

  Result<int64_t> CountRows(const Context& context, const DataSource& source) const override {
    table::ReadOptions read;
    GNOMON_ASSIGN_OR_RETURN(read.format, FormatOf(source));
    auto reader = table::TableReader::Open(context, PathOf(source), read);
    if (!reader.ok()) return InSource(source, reader.status());
    return (*reader)->num_rows();
  }

  Result<SourceFiles> Files(const DataSource& source) const override {
    SourceFiles files{.path = PathOf(source), .format = {}};
    GNOMON_ASSIGN_OR_RETURN(files.format, FormatOf(source));
    return files;
  }

 private:
  /// The columns in the names of the folders below a folder that rows are added to, which may not
  /// exist yet. kUser when the rows lack one of them: a file would lie in no partition.
  Result<std::vector<std::string>> FolderColumns(const Context& context, const DataSource& source,
                                                 const arrow::Table& rows) const {
    GNOMON_ASSIGN_OR_RETURN(const auto format, FormatOf(source));
    const auto columns = table::FolderSchema(context, PathOf(source), format);
    if (!columns.ok() && KindOf(columns.status()) == ErrorKind::kNotFound)
      return std::vector<std::string>();
    if (!columns.ok()) return InSource(source, columns.status());
    for (const std::string& name : (*columns)->field_names()) {
      const std::string column = MappedName(source, name);
      if (rows.GetColumnByName(column) != nullptr) continue;
      return MakeError(ErrorKind::kUser,
                       Concat("rows for data source ", Quoted(source.name), " have no column ",
                              Quoted(column), ", by which its files lie in folders"),
                       {}, DidYouMean(column, rows.schema()->field_names()));
    }
    return (*columns)->field_names();
  }

  /// A file for each partition, all of them or, after an error, none.
  static Status WriteParts(const Context& context, const std::string& folder,
                           const std::string& part, const arrow::Table& rows,
                           const std::vector<std::string>& folder_columns) {
    GNOMON_ASSIGN_OR_RETURN(const auto partitions, table::SplitByPartition(rows, folder_columns));
    std::vector<std::string> written;
    for (const table::PartitionRows& partition : partitions) {
      const std::string path = Concat(folder, "/", partition.folder, "/", part, ".parquet");
      const Status status = table::WriteTable(context, *partition.rows, path);
      if (!status.ok()) {
        for (const std::string& file : written) static_cast<void>(table::DeleteFile(file));
        return status;
      }
      written.push_back(path);
    }
    return DeleteOthers(folder, Concat("/", part, ".parquet"), written);
  }

  /// Of a part that was written before, the files in folders that it has no rows for any more.
  static Status DeleteOthers(const std::string& folder, const std::string& ending,
                             const std::vector<std::string>& written) {
    GNOMON_ASSIGN_OR_RETURN(const auto files, table::ListDataFiles(folder));
    for (const std::string& file : files) {
      if (file.ends_with(ending) && std::ranges::find(written, file) == written.end())
        GNOMON_RETURN_NOT_OK(table::DeleteFile(file));
    }
    return Status::OK();
  }

  std::string PathOf(const DataSource& source) const {
    if (!source.s3_endpoint_override.empty()) {
      table::UseS3(source.path.substr(0, source.path.find_first_of(kWildcards)),
                   {.endpoint_url = source.s3_endpoint_override});
    }
    return table::PathBelow(folder_, source.path);
  }

  static bool IsGlob(const std::filesystem::path& path) {
    std::error_code ignored;
    return path.string().find_first_of(kWildcards) != std::string::npos &&
           !std::filesystem::is_directory(path, ignored);
  }

  static Result<std::optional<table::FileFormat>> FormatOf(const DataSource& source) {
    if (source.file_format.empty()) return std::optional<table::FileFormat>();
    GNOMON_ASSIGN_OR_RETURN(table::FileFormat format, table::ParseFileFormat(source.file_format));
    return std::optional(format);
  }

  const std::string folder_;
};

/// Asks the store that a source's own type names.
class OfflineStores : public OfflineStore {
 public:
  OfflineStores(std::string default_type,
                std::map<std::string, std::unique_ptr<OfflineStore>> stores, Secret access)
      : default_type_(std::move(default_type)),
        stores_(std::move(stores)),
        access_(std::move(access)) {}

  Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                      const DataSource& source) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->SourceSchema(context, source);
  }
  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const DataSource& source,
                                             const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->Read(context, source, options);
  }
  Status Append(const Context& context, const DataSource& source, const std::string& part,
                const arrow::Table& rows) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->Append(context, source, part, rows);
  }
  Result<std::shared_ptr<table::PartitionedTable>> Open(const Context& context,
                                                        const DataSource& source,
                                                        const ScanOptions& options) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->Open(context, source, options);
  }
  Result<std::shared_ptr<arrow::Table>> Query(const Context& context,
                                              const std::string& query) const override {
    return stores_.at(default_type_)->Query(context, query);
  }
  Result<std::string> Version(const Context& context, const DataSource& source) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->Version(context, source);
  }
  Result<SourceFiles> Files(const DataSource& source) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->Files(source);
  }
  Result<SourceParts> Parts(const Context& context, const DataSource& source,
                            const ScanOptions& options, int most,
                            std::shared_ptr<SourceSnapshot>* snapshot) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->Parts(context, source, options, most, snapshot);
  }
  Result<std::unique_ptr<table::PartitionStream>> ReadPart(const Context& context,
                                                           const std::string& type,
                                                           const std::string& part) const override {
    DataSource source;
    source.type = type;
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->ReadPart(context, type, part);
  }
  Secret Access() const override { return access_; }
  Status Check(const Context& context) const override {
    return stores_.at(default_type_)->Check(context);
  }
  Result<int64_t> CountRows(const Context& context, const DataSource& source) const override {
    GNOMON_ASSIGN_OR_RETURN(const OfflineStore* store, StoreOf(source));
    return store->CountRows(context, source);
  }

 private:
  Result<const OfflineStore*> StoreOf(const DataSource& source) const {
    const auto found = stores_.find(source.type);
    if (found != stores_.end()) return found->second.get();
    return Error(ErrorKind::kUnsupported, "data source ", Quoted(source.name), " has type ",
                 Quoted(source.type));
  }

  std::string default_type_;
  std::map<std::string, std::unique_ptr<OfflineStore>> stores_;
  const Secret access_;
};

Secret AccessOf(const RepositoryConfig& config) {
  const RepositoryConfig::OfflineStore& store = config.offline_store;
  proto::DatabaseAccess message;
  message.set_folder(config.folder);
  message.set_type(store.type);
  message.set_path(store.path);
  message.set_host(store.host);
  message.set_port(store.port);
  message.set_database(store.database);
  message.set_user(store.user);
  message.set_password(store.password.Reveal());
  message.set_db_schema(store.db_schema);
  message.set_sslmode(store.sslmode);
  message.set_sslrootcert(store.sslrootcert);
  message.set_sslcert(store.sslcert);
  message.set_sslkey(store.sslkey);
  message.set_max_connections(store.max_connections);
  return Secret(message.SerializeAsString());
}

}  // namespace

Result<std::unique_ptr<OfflineStore>> OpenOfflineStore(const RepositoryConfig& config) {
  const std::string& type = config.offline_store.type;
  const bool is_file = type == "file" || type == "dask" || type == "duckdb" || type == "ray";
  if (!is_file && type != "postgres" && type != "sqlite")
    return Error(ErrorKind::kUnsupported, "offline store type is not supported: ", Quoted(type));
  std::map<std::string, std::unique_ptr<OfflineStore>> stores;
  stores["file"] = std::make_unique<FileOfflineStore>(config.folder);
  stores["postgres"] = MakePostgresOfflineStore(config.offline_store);
  stores["sqlite"] = MakeSqliteOfflineStore(config);
  return std::make_unique<OfflineStores>(is_file ? "file" : type, std::move(stores),
                                         AccessOf(config));
}

Result<std::unique_ptr<OfflineStore>> OpenOfflineStore(const Secret& access) {
  proto::DatabaseAccess message;
  if (!message.ParseFromString(access.Reveal()))
    return Error(ErrorKind::kDataLoss, "not the access to databases");
  RepositoryConfig config;
  config.folder = message.folder();
  config.offline_store = {.type = message.type(),
                          .path = message.path(),
                          .host = message.host(),
                          .port = message.port(),
                          .database = message.database(),
                          .user = message.user(),
                          .password = Secret(message.password()),
                          .db_schema = message.db_schema(),
                          .sslmode = message.sslmode(),
                          .sslrootcert = message.sslrootcert(),
                          .sslcert = message.sslcert(),
                          .sslkey = message.sslkey(),
                          .max_connections = message.max_connections()};
  return OpenOfflineStore(config);
}

}  // namespace gnomon::feature
