#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "feature/definition/validate_internal.h"

namespace gnomon::feature {

namespace {

constexpr std::string_view kDummyEntity = "__dummy";  // Feast's

constexpr std::array<std::string_view, 6> kFileFormats = {"",     "parquet", "csv",
                                                          "json", "ipc",     "arrow"};

/// Files have a path; databases a table or a query.
Status CheckPlace(const DataSource& source) {
  const auto error = [&](std::string_view text, std::string hint = {}) {
    return ObjectError(kSourceKind, source.name, text, std::move(hint));
  };
  const bool is_database = source.type == "postgres" || source.type == "sqlite";
  if (source.type != "file" && !is_database) {
    return MakeError(ErrorKind::kUnsupported,
                     Concat(kSourceKind, " ", Quoted(source.name), ": type ", Quoted(source.type),
                            " is not supported"),
                     {}, "types: file, postgres, sqlite");
  }
  if (!is_database) {
    if (!source.table.empty() || !source.query.empty())
      return error("files have no table and no query", "type: postgres or sqlite");
    return source.path.empty() ? error("path is missing") : Status::OK();
  }
  if (source.table.empty() == source.query.empty())
    return error("exactly one of table and query is needed");
  if (!source.file_format.empty()) return error("a database has no file_format");
  if (source.type == "postgres" && !source.path.empty())
    return error("a PostgreSQL source has no path", "table: or query: says what is read");
  return Status::OK();
}

}  // namespace

Status CheckEntity(const Entity& entity) {
  if (entity.name == kDummyEntity) {
    return ObjectError(kEntityKind, entity.name, "the name is reserved for views without entities");
  }
  if (std::string problem = NameProblem(entity.join_key, kNotInColumnNames); !problem.empty()) {
    return ObjectError(kEntityKind, entity.name, Concat("join key: ", problem));
  }
  switch (entity.value_type.list ? ValueType::kInvalid : entity.value_type.base) {
    case ValueType::kInt64:
    case ValueType::kInt32:
    case ValueType::kString:
    case ValueType::kBytes:
    case ValueType::kUnixTimestamp:
      return Status::OK();
    default:
      return ObjectError(kEntityKind, entity.name,
                         Concat("a join key cannot be ", entity.value_type.ToString()),
                         "value_type: Int64, Int32, String, Bytes or UnixTimestamp");
  }
}

Status CheckDataSource(const DataSource& source) {
  GNOMON_RETURN_NOT_OK(CheckPlace(source));
  for (const std::string* text : {&source.path, &source.table, &source.query,
                                  &source.timestamp_field, &source.created_timestamp_column}) {
    if (!IsUtf8(*text)) return ObjectError(kSourceKind, source.name, "a text is not valid UTF-8");
  }
  if (std::ranges::find(kFileFormats, source.file_format) == kFileFormats.end()) {
    return ObjectError(kSourceKind, source.name,
                       Concat("unknown file_format ", Quoted(source.file_format)),
                       "formats: parquet, csv, json, ipc; left out, the file's suffix decides");
  }
  if (!source.timestamp_field.empty() &&
      source.timestamp_field == source.created_timestamp_column) {
    return ObjectError(kSourceKind, source.name,
                       "timestamp_field and created_timestamp_column are the same column");
  }
  std::map<std::string, std::string> origins;
  for (const auto& [from, to] : source.field_mapping) {
    if (from.empty() || to.empty() || !IsUtf8(from) || !IsUtf8(to)) {
      return ObjectError(kSourceKind, source.name, "field_mapping holds an empty or broken name");
    }
    const auto [place, added] = origins.emplace(to, from);
    if (!added) {
      return ObjectError(kSourceKind, source.name,
                         Concat("field_mapping maps both ", Quoted(place->second), " and ",
                                Quoted(from), " to ", Quoted(to)));
    }
  }
  return Status::OK();
}

}  // namespace gnomon::feature
