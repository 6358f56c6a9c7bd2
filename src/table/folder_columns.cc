#include "table/folder_columns.h"

#include <sys/stat.h>

#include <arrow/type.h>

#include "base/text.h"
#include "table/file_internal.h"
#include "table/file_schema_internal.h"
#include "table/file_system_internal.h"
#include "table/folder_columns_internal.h"
#include "table/partition_path.h"

namespace gnomon::table {

namespace internal {

namespace {

/// What of the files' names is not looked at: the folder that was given, or what stands before the
/// first wildcard.
Result<size_t> RootLength(const std::string& address) {
  GNOMON_ASSIGN_OR_RETURN(const std::string path, LocalPath(address));
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) return path.size();
  const size_t wildcard = path.find_first_of("*?[");
  if (wildcard == std::string::npos) return path.size();
  const size_t slash = path.rfind('/', wildcard);
  return slash == std::string::npos ? 0 : slash;
}

}  // namespace

Result<FolderColumns> FolderColumns::Find(const std::string& path,
                                          const std::vector<std::string>& files,
                                          const arrow::Schema& first) {
  GNOMON_ASSIGN_OR_RETURN(const size_t root, RootLength(path));
  std::vector<PartitionPath> found;
  for (const std::string& file : files)
    found.push_back(root < file.size() ? ParsePartitionPath(file.substr(root)) : PartitionPath());
  FolderColumns columns;
  columns.values_.resize(files.size());
  for (size_t i = 0; i < found.size(); ++i) {
    bool same = found[i].size() == found[0].size();
    for (size_t k = 0; same && k < found[i].size(); ++k)
      same = found[i][k].name == found[0][k].name;
    if (same) continue;
    return MakeError(ErrorKind::kUser,
                     Concat("files lie in folders of different partition columns: ", files[0],
                            " and ", files[i]),
                     {}, "every file needs the same name=value folders above it, in one order");
  }
  for (size_t k = 0; !found.empty() && k < found[0].size(); ++k) {
    const std::string& name = found[0][k].name;
    if (!first.GetAllFieldIndices(name).empty()) continue;
    if (columns.Has(name)) {
      return Error(ErrorKind::kUser, "a partition column stands twice in a path: ", Quoted(name),
                   " in ", files[0]);
    }
    bool integers = true;
    for (size_t i = 0; i < found.size(); ++i) {
      const auto& value = found[i][k].value;
      integers = integers && (!value || ParsePartitionInteger(*value));
      columns.values_[i].push_back(value);
    }
    columns.fields_.push_back(arrow::field(name, integers ? arrow::int64() : arrow::utf8()));
  }
  return columns;
}

std::shared_ptr<arrow::Schema> FolderColumns::AddTo(
    const std::shared_ptr<arrow::Schema>& files) const {
  if (fields_.empty()) return files;
  arrow::FieldVector fields = files->fields();
  fields.insert(fields.end(), fields_.begin(), fields_.end());
  return arrow::schema(std::move(fields));
}

int FolderColumns::PlaceOf(const std::string& name) const {
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i]->name() == name) return static_cast<int>(i);
  }
  return -1;
}

Result<std::shared_ptr<arrow::Array>> FolderColumns::Adapt(
    size_t file, const std::shared_ptr<arrow::Array>& column, int64_t num_rows,
    const arrow::Field& field, const std::string& path) const {
  const int place = column == nullptr ? PlaceOf(field.name()) : -1;
  if (place < 0) return AdaptColumn(column, num_rows, field, path);
  return PartitionColumn(values_[file][static_cast<size_t>(place)], field.type(), num_rows);
}

}  // namespace internal

Result<std::shared_ptr<arrow::Schema>> FolderSchema(const Context& context, const std::string& path,
                                                    std::optional<FileFormat> format) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_ASSIGN_OR_RETURN(const auto files, ListDataFiles(path));
  const arrow::Schema none(arrow::FieldVector{});
  GNOMON_ASSIGN_OR_RETURN(auto columns, internal::FolderColumns::Find(path, files, none));
  if (columns.fields().empty()) return arrow::schema({});
  GNOMON_ASSIGN_OR_RETURN(const FileFormat first,
                          format ? Result<FileFormat>(*format) : FormatOfPath(files[0]));
  GNOMON_ASSIGN_OR_RETURN(const auto source, internal::OpenSource(files[0], first, nullptr));
  GNOMON_ASSIGN_OR_RETURN(columns, internal::FolderColumns::Find(path, files, *source->schema()));
  return arrow::schema(columns.fields());
}

}  // namespace gnomon::table
