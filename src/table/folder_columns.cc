#include "table/folder_columns.h"

#include <charconv>
#include <sys/stat.h>
#include <utility>

#include <arrow/array/util.h>
#include <arrow/scalar.h>
#include <arrow/type.h>

#include "base/text.h"
#include "table/file_internal.h"
#include "table/file_schema_internal.h"
#include "table/file_system_internal.h"
#include "table/folder_columns_internal.h"

namespace gnomon::table {

namespace internal {

namespace {

constexpr std::string_view kNull = "__HIVE_DEFAULT_PARTITION__";

using FolderValues = std::vector<std::pair<std::string, std::optional<std::string>>>;

std::string Unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* begin = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(begin, begin + 2, value, 16).ptr == begin + 2) {
      plain.push_back(static_cast<char>(value));
      i += 2;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

/// The folders of a file's path, without its own name.
FolderValues ValuesOf(std::string_view path) {
  std::vector<std::string> parts = Split(path, '/');
  parts.pop_back();
  FolderValues values;
  for (const std::string& part : parts) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    const std::string_view value = std::string_view(part).substr(equals + 1);
    values.emplace_back(Unescape(part.substr(0, equals)),
                        value == kNull ? std::nullopt : std::optional(Unescape(value)));
  }
  return values;
}

std::optional<int64_t> CanonicalInteger(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || parsed != end || std::to_string(value) != text) return std::nullopt;
  return value;
}

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
  std::vector<FolderValues> found;
  for (const std::string& file : files)
    found.push_back(root < file.size() ? ValuesOf(file.substr(root)) : FolderValues());
  FolderColumns columns;
  columns.values_.resize(files.size());
  for (size_t i = 0; i < found.size(); ++i) {
    bool same = found[i].size() == found[0].size();
    for (size_t k = 0; same && k < found[i].size(); ++k)
      same = found[i][k].first == found[0][k].first;
    if (same) continue;
    return MakeError(ErrorKind::kUser,
                     Concat("files lie in folders of different partition columns: ", files[0],
                            " and ", files[i]),
                     {}, "every file needs the same name=value folders above it, in one order");
  }
  for (size_t k = 0; !found.empty() && k < found[0].size(); ++k) {
    const std::string& name = found[0][k].first;
    if (!first.GetAllFieldIndices(name).empty()) continue;
    if (columns.Has(name)) {
      return Error(ErrorKind::kUser, "a partition column stands twice in a path: ", Quoted(name),
                   " in ", files[0]);
    }
    bool integers = true;
    for (size_t i = 0; i < found.size(); ++i) {
      const auto& value = found[i][k].second;
      integers = integers && (!value || CanonicalInteger(*value));
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
  const auto& value = values_[file][static_cast<size_t>(place)];
  if (!value) return arrow::MakeArrayOfNull(field.type(), num_rows);
  if (const auto number = CanonicalInteger(*value);
      number && field.type()->id() == arrow::Type::INT64)
    return arrow::MakeArrayFromScalar(arrow::Int64Scalar(*number), num_rows);
  return arrow::MakeArrayFromScalar(arrow::StringScalar(*value), num_rows);
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
