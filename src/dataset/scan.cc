#include "dataset/scan.h"

#include <charconv>
#include <sys/stat.h>
#include <unordered_map>

#include <arrow/type.h>

#include "base/parallel.h"
#include "base/text.h"
#include "dataset/plan_internal.h"
#include "dataset/scan_internal.h"
#include "table/file_system.h"
#include "table/partition_path.h"
#include "table/wider_type.h"

namespace gnomon::dataset {

namespace {

using SchemaPtr = std::shared_ptr<arrow::Schema>;

/// Takes in the schemas of the files one after the other.
class SchemaUnion {
 public:
  Status Add(const arrow::Schema& schema, const std::string& path) {
    GNOMON_RETURN_NOT_OK(internal::CheckNames(schema, path));
    ++num_files_;
    for (const auto& field : schema.fields()) {
      const auto [place, added] = columns_.try_emplace(field->name(), fields_.size());
      if (added) {
        fields_.push_back({field->RemoveMetadata(), path, 1});
        continue;
      }
      GNOMON_RETURN_NOT_OK(Merge(&fields_[place->second], *field, path));
    }
    last_path_ = path;
    return Status::OK();
  }

  Result<SchemaPtr> Finish() const {
    arrow::FieldVector fields;
    for (const Column& column : fields_) {
      if (column.num_files < num_files_ && !column.field->nullable()) {
        return Error(ErrorKind::kUser, "column ", Quoted(column.field->name()), " of ",
                     column.first_path, " may not be null, and ", num_files_ - column.num_files,
                     " other files lack it");
      }
      fields.push_back(column.field);
    }
    return arrow::schema(std::move(fields));
  }

 private:
  struct Column {
    std::shared_ptr<arrow::Field> field;
    std::string first_path;
    int64_t num_files;
  };

  static Status Merge(Column* column, const arrow::Field& field, const std::string& path) {
    const auto type = table::CommonType(column->field->type(), field.type());
    if (type == nullptr) {
      return MakeError(
          ErrorKind::kUser,
          Concat("column ", Quoted(field.name()), " is ", field.type()->ToString(), " in ", path,
                 " but ", column->field->type()->ToString(), " in ", column->first_path),
          {}, "no type holds both: convert one of the files");
    }
    column->field =
        column->field->WithType(type)->WithNullable(column->field->nullable() || field.nullable());
    ++column->num_files;
    return Status::OK();
  }

  std::vector<Column> fields_;
  std::unordered_map<std::string, size_t> columns_;
  int64_t num_files_ = 0;
  std::string last_path_;
};

bool HasFooter(table::FileFormat format) {
  return format == table::FileFormat::kParquet || format == table::FileFormat::kIpc;
}

/// The files' schema; files of text but the first one take its types.
Result<SchemaPtr> FindSchema(const Context& context, const std::vector<ScanFile>& files) {
  std::vector<SchemaPtr> schemas(files.size());
  GNOMON_RETURN_NOT_OK(
      ParallelFor(context, static_cast<int64_t>(files.size()), [&](int64_t i) -> Status {
        const ScanFile& file = files[static_cast<size_t>(i)];
        if (i > 0 && !HasFooter(file.format)) return Status::OK();
        GNOMON_ASSIGN_OR_RETURN(schemas[static_cast<size_t>(i)],
                                table::ReadSchema(context, file.path, file.format));
        return Status::OK();
      }));
  SchemaUnion schema;
  for (size_t i = 0; i < files.size(); ++i) {
    if (schemas[i] != nullptr) GNOMON_RETURN_NOT_OK(schema.Add(*schemas[i], files[i].path));
  }
  return schema.Finish();
}

/// What of a path is not looked at for partitions: the folder that was given, or what stands before
/// the first wildcard. A file address has its files' local names.
size_t RootLength(const std::string& address) {
  constexpr std::string_view kScheme = "file://";
  const size_t slash_of_path = address.find('/', kScheme.size());
  const bool is_address = address.starts_with(kScheme) && slash_of_path != std::string::npos;
  const std::string path = is_address ? address.substr(slash_of_path) : address;
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return path.size();
  const size_t wildcard = path.find_first_of("*?[");
  const size_t slash = path.rfind('/', wildcard);
  if (wildcard == std::string::npos || slash == std::string::npos)
    return wildcard == std::string::npos ? path.size() : 0;
  return slash;
}

Status AddPartitionColumns(const std::vector<table::PartitionPath>& paths, ScanSpec* spec) {
  const auto& first = paths[0];
  std::vector<bool> is_integer(first.size(), true);
  for (size_t i = 0; i < paths.size(); ++i) {
    const auto& path = paths[i];
    bool same = path.size() == first.size();
    for (size_t k = 0; same && k < path.size(); ++k) same = path[k].name == first[k].name;
    if (!same) {
      return MakeError(ErrorKind::kUser,
                       Concat("files lie in folders of different partition columns: ",
                              spec->files[0].path, " and ", spec->files[i].path),
                       {}, "read them one by one, or without hive_partitions");
    }
    for (size_t k = 0; k < path.size(); ++k) {
      if (path[k].value && !table::ParsePartitionInteger(*path[k].value)) is_integer[k] = false;
      spec->files[i].partition_values.push_back(path[k].value);
    }
  }
  arrow::FieldVector fields;
  for (size_t k = 0; k < first.size(); ++k)
    fields.push_back(arrow::field(first[k].name, is_integer[k] ? arrow::int64() : arrow::utf8()));
  if (!fields.empty()) spec->partition_schema = arrow::schema(std::move(fields));
  return Status::OK();
}

}  // namespace

namespace internal {

Status StatFile(const std::string& path, int64_t* size, int64_t* modified_nanos) {
  GNOMON_ASSIGN_OR_RETURN(const table::FileStamp stamp, table::StampOf(path));
  *size = stamp.size;
  *modified_nanos = stamp.state;
  return Status::OK();
}

}  // namespace internal

Result<Plan> OpenScan(const Context& context, const std::vector<std::string>& paths,
                      const ScanOptions& options) {
  ScanSpec spec;
  std::vector<table::PartitionPath> partitions;
  for (const std::string& path : paths) {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_ASSIGN_OR_RETURN(const auto files, table::ListDataFiles(path));
    const size_t root = RootLength(path);
    for (const std::string& name : files) {
      ScanFile file{.path = name};
      GNOMON_ASSIGN_OR_RETURN(file.format, options.format
                                               ? Result<table::FileFormat>(*options.format)
                                               : table::FormatOfPath(name));
      GNOMON_RETURN_NOT_OK(internal::StatFile(name, &file.size, &file.modified_nanos));
      spec.files.push_back(std::move(file));
      partitions.push_back(options.hive_partitions && root < name.size()
                               ? table::ParsePartitionPath(name.substr(root))
                               : table::PartitionPath{});
    }
  }
  if (spec.files.empty()) return Error(ErrorKind::kUser, "a scan needs at least one path");
  GNOMON_RETURN_NOT_OK(AddPartitionColumns(partitions, &spec));
  spec.declared = options.schema != nullptr;
  spec.file_schema = options.schema;
  if (spec.file_schema == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(spec.file_schema, FindSchema(context, spec.files));
  }
  spec.field_mapping = options.field_mapping;
  return MakeNode(std::move(spec));
}

}  // namespace gnomon::dataset
