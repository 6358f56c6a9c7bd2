#include "feature/offline/offline_store.h"

#include <filesystem>
#include <set>
#include <utility>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "table/column.h"

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
    for (const std::string& column : options.required_columns)
      read.required_columns.push_back(SourceName(source, column));
    read.time_column = SourceName(source, source.timestamp_field);
    read.time_range = options.time_range;
    GNOMON_ASSIGN_OR_RETURN(read.format, FormatOf(source));
    auto rows = table::ReadTable(context, PathOf(source), read);
    if (!rows.ok()) return In(source, rows.status());
    GNOMON_ASSIGN_OR_RETURN(auto schema, Mapped(source, *(*rows)->schema()));
    return arrow::Table::Make(schema, (*rows)->columns(), (*rows)->num_rows());
  }

  Status Append(const Context& context, const DataSource& source, const std::string& part,
                const arrow::Table& rows) const override {
    const std::filesystem::path folder = PathOf(source);
    const bool parquet = source.file_format.empty() || source.file_format == "parquet";
    if (std::filesystem::is_regular_file(folder) || folder.has_extension() || !parquet) {
      return MakeError(ErrorKind::kUser,
                       Concat("data source ", Quoted(source.name),
                              " is no folder of Parquet files: ", folder.string()),
                       {},
                       "rows can be added to a folder only: move the file into one and name it");
    }
    std::shared_ptr<const arrow::Table> table = rows.Slice(0);
    auto schema = SourceSchema(context, source);
    if (schema.ok()) {
      GNOMON_ASSIGN_OR_RETURN(table, Conform(source, rows, **schema));
    } else if (KindOf(schema.status()) != ErrorKind::kNotFound) {
      return schema.status();
    }
    arrow::FieldVector fields;
    for (const auto& field : table->schema()->fields())
      fields.push_back(field->WithName(SourceName(source, field->name())));
    const auto named =
        arrow::Table::Make(arrow::schema(std::move(fields)), table->columns(), table->num_rows());
    return In(source, table::WriteTable(context, *named, (folder / (part + ".parquet")).string()));
  }

  Result<std::shared_ptr<table::PartitionedTable>> Open(
      const Context& context, const DataSource& source,
      const std::vector<std::string>& required_columns) const override {
    GNOMON_ASSIGN_OR_RETURN(auto format, FormatOf(source));
    std::vector<std::string> required = {SourceName(source, source.timestamp_field)};
    for (const std::string& column : required_columns)
      required.push_back(SourceName(source, column));
    auto files =
        table::PartitionedTable::Open(context, PathOf(source), format, std::move(required));
    if (!files.ok()) return In(source, files.status());
    GNOMON_ASSIGN_OR_RETURN(auto schema, Mapped(source, *(*files)->schema()));
    return table::PartitionedTable::Renamed(
        *std::move(files), Concat("data source ", Quoted(source.name)), std::move(schema));
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

  /// The rows in the columns and types of the source.
  static Result<std::shared_ptr<const arrow::Table>> Conform(const DataSource& source,
                                                             const arrow::Table& rows,
                                                             const arrow::Schema& schema) {
    for (const std::string& name : rows.schema()->field_names()) {
      if (schema.GetFieldIndex(name) >= 0) continue;
      return In(source, MakeError(ErrorKind::kUser, Concat("there is no column ", Quoted(name)), {},
                                  DidYouMean(name, schema.field_names())));
    }
    std::vector<std::shared_ptr<arrow::ChunkedArray>> columns;
    for (const auto& field : schema.fields()) {
      const auto column = rows.GetColumnByName(field->name());
      std::shared_ptr<arrow::Array> array;
      if (column == nullptr) {
        GNOMON_ASSIGN_OR_RETURN(array, arrow::MakeArrayOfNull(field->type(), rows.num_rows()));
      } else {
        GNOMON_ASSIGN_OR_RETURN(array, table::SingleChunk(*column));
        auto cast = table::CastLossless(array, field->type());
        if (!cast.ok())
          return In(source, WithContext(cast.status(), Concat("column ", Quoted(field->name()))));
        array = *std::move(cast);
      }
      columns.push_back(std::make_shared<arrow::ChunkedArray>(std::move(array)));
    }
    return arrow::Table::Make(arrow::schema(schema.fields()), std::move(columns), rows.num_rows());
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
