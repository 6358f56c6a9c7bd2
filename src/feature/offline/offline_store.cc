#include "feature/offline/offline_store.h"

#include <filesystem>
#include <set>
#include <utility>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"

namespace gnomon::feature {
namespace {

/// The file store: Parquet, CSV, JSON lines, Arrow IPC below the repository's folder.
class FileOfflineStore : public OfflineStore {
 public:
  explicit FileOfflineStore(std::string folder) : folder_(std::move(folder)) {}

  Result<std::shared_ptr<arrow::Schema>> SourceSchema(const Context& context,
                                                      const DataSource& source) const override {
    GNOMON_ASSIGN_OR_RETURN(auto format, FormatOf(source));
    auto schema = table::ReadSchema(context, PathOf(source), format);
    if (!schema.ok()) return In(source, schema.status());
    return Mapped(source, **schema);
  }

  Result<std::shared_ptr<arrow::Table>> Read(const Context& context, const DataSource& source,
                                             const ScanOptions& options) const override {
    table::ReadOptions read;
    for (const std::string& column : options.columns)
      read.columns.push_back(SourceName(source, column));
    read.time_column = SourceName(source, source.timestamp_field);
    read.time_range = options.time_range;
    GNOMON_ASSIGN_OR_RETURN(read.format, FormatOf(source));
    auto rows = table::ReadTable(context, PathOf(source), read);
    if (!rows.ok()) return In(source, rows.status());
    GNOMON_ASSIGN_OR_RETURN(auto schema, Mapped(source, *(*rows)->schema()));
    return arrow::Table::Make(schema, (*rows)->columns(), (*rows)->num_rows());
  }

  Result<int64_t> CountRows(const Context& context, const DataSource& source) const override {
    table::ReadOptions read;
    GNOMON_ASSIGN_OR_RETURN(read.format, FormatOf(source));
    auto reader = table::TableReader::Open(context, PathOf(source), read);
    if (!reader.ok()) return In(source, reader.status());
    return (*reader)->num_rows();
  }

 private:
  std::string PathOf(const DataSource& source) const {
    if (source.path.find("://") != std::string::npos) return source.path;
    return (std::filesystem::path(folder_) / source.path).lexically_normal().string();
  }

  static Result<std::optional<table::FileFormat>> FormatOf(const DataSource& source) {
    if (source.file_format.empty()) return std::optional<table::FileFormat>();
    GNOMON_ASSIGN_OR_RETURN(table::FileFormat format, table::ParseFileFormat(source.file_format));
    return std::optional(format);
  }

  static Status In(const DataSource& source, const Status& status) {
    return WithContext(status, Concat("data source ", Quoted(source.name)));
  }

  /// The name in the file of a column's name after mapping.
  static std::string SourceName(const DataSource& source, const std::string& column) {
    for (const auto& [from, to] : source.field_mapping) {
      if (to == column) return from;
    }
    return column;
  }

  static Result<std::shared_ptr<arrow::Schema>> Mapped(const DataSource& source,
                                                       const arrow::Schema& schema) {
    if (source.field_mapping.empty()) return arrow::schema(schema.fields());
    std::set<std::string> names;
    arrow::FieldVector fields;
    for (const auto& field : schema.fields()) {
      auto mapped = source.field_mapping.find(field->name());
      const std::string& name =
          mapped == source.field_mapping.end() ? field->name() : mapped->second;
      if (!names.insert(name).second) {
        return Error(ErrorKind::kUser, "field_mapping of data source ", Quoted(source.name),
                     " gives two columns the name ", Quoted(name));
      }
      fields.push_back(field->WithName(name));
    }
    return arrow::schema(std::move(fields));
  }

  const std::string folder_;
};

}  // namespace

Result<std::unique_ptr<OfflineStore>> OpenOfflineStore(const RepositoryConfig& config) {
  const std::string& type = config.offline_store.type;
  if (type == "file" || type == "dask" || type == "duckdb" || type == "ray") {
    return std::make_unique<FileOfflineStore>(config.folder);
  }
  return Error(ErrorKind::kUnsupported, "offline store type is not supported: ", Quoted(type));
}

}  // namespace gnomon::feature
